"""QLinearMatMul: a quantized matrix product, 2-D or batched.

https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html (opset 10)
"""

from __future__ import annotations

from . import _operands as operands
from ._matmul_integer import accumulate_matmul, per_column
from ._operands import Codes, ScaleLike, ZeroPointLike
from ._requantize import conv_multiplier, requantize


def qlinear_matmul(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
) -> Codes:
    """Multiply in two stages: accumulate in int32, then requantize.

    ``acc = Σ (a - a_zp)(b - b_zp)``, ``m = (a_scale * b_scale) / y_scale``,
    ``y = RNE(clip(f32(acc) * m, qmin - y_zp, qmax - y_zp)) + y_zp``.

    Parameters
    ----------
    a : int8 or uint8, ``[..., I, K]``
    a_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    a_zero_point, y_zero_point : dtype of ``a``, shape ``()``
    b : int8, or uint8 where ``a`` is uint8, ``[..., K, J]``
    b_scale : float32, shape ``()`` per tensor; per column ``[J]``, or ``[..., 1, J]`` for a
        batched ``b``
    b_zero_point : dtype of ``b``, shapes as for ``b_scale``

    Returns
    -------
    dtype of ``a``, ``[..., I, J]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.int8([[2, 4]]), np.int8([[1], [3]])
    >>> qlinear_matmul(a, 0.5, np.int8(0), b, 0.5, np.int8(0), 1.0, np.int8(0))
    array([[4]], dtype=int8)
    """
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    acc = accumulate_matmul(a, a_zero_point, b, b_zero_point)
    operands.runtime_has_kernel(a, y_zero, b, "B")
    columns = operands.scale(b_scale, "b_scale", per_column(b))
    multiplier = conv_multiplier(a_scale, columns, y_scale)
    if multiplier.ndim:
        multiplier = multiplier.reshape((1,) * (acc.ndim - multiplier.ndim) + multiplier.shape)
    return requantize(acc, multiplier, y_zero)
