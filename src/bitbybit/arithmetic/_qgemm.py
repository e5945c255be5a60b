"""QGemm: a quantized fully connected layer with bias.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QGemm
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._matmul_integer import accumulate_matmul
from ._operands import Codes, Float32, Int32, OperandError, ScaleLike, ZeroPointLike
from ._requantize import accumulator_scale, gemm_multiplier, requantize


def qgemm(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c: Int32 | None = None,
    y_scale: ScaleLike | None = None,
    y_zero_point: ZeroPointLike | None = None,
    *,
    alpha: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
) -> Codes | Float32:
    """Multiply, add the bias, and requantize; or return the real values.

    ``acc = c + Σ (a - a_zp)(b - b_zp)``, ``m = ((alpha * a_scale) * b_scale) / y_scale``,
    ``y = RNE(clip(f32(acc) * m, qmin - y_zp, qmax - y_zp)) + y_zp``; without an output scale
    ``y = f32(acc) * ((alpha * a_scale) * b_scale)``.

    Parameters
    ----------
    a : int8 or uint8, ``[I, K]``, or ``[K, I]`` with ``trans_a``
    a_scale : float32, shape ``()``
    a_zero_point : dtype of ``a``, shape ``()``
    b : int8, or uint8 where ``a`` is uint8, ``[K, J]``, or ``[J, K]`` with ``trans_b``
    b_scale : float32, shape ``()`` per tensor or ``[J]`` per column
    b_zero_point : dtype of ``b``, shape ``()`` or ``[J]``
    c : int32, broadcastable to ``[I, J]``, or None
        Bias at scale ``alpha * a_scale * b_scale[j]``, zero point 0.
    y_scale, y_zero_point : float32 and dtype of ``a``, shape ``()``, or both None
    alpha : float
        Factor of the product, rounded to float32.
    trans_a, trans_b : bool
        Whether ``a`` and ``b`` are stored transposed.

    Returns
    -------
    ``[I, J]``, dtype of ``a``; float32 without an output scale

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.int8([[2, 4]]), np.int8([[1], [3]])
    >>> qgemm(a, 0.5, np.int8(0), b, 0.5, np.int8(0), np.int32([2]), 1.0, np.int8(0))
    array([[4]], dtype=int8)
    >>> qgemm(a, 0.5, np.int8(0), b, 0.5, np.int8(0), np.int32([2]))
    array([[4.]], dtype=float32)
    """
    a = operands.array(a, "A", operands.EIGHT_BIT, min_rank=2, max_rank=2)
    b = operands.array(b, "B", operands.EIGHT_BIT, min_rank=2, max_rank=2)
    acc = accumulate_matmul(
        a.T if trans_a else a, a_zero_point, b.T if trans_b else b, b_zero_point, c
    )
    operands.scale(b_scale, "b_scale", acc.shape[1:])
    if y_scale is None and y_zero_point is None:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return acc.astype(np.float32) * accumulator_scale(a_scale, b_scale, alpha)
    if y_scale is None or y_zero_point is None:
        where = "y_scale, y_zero_point"
        raise OperandError(
            "an output scale comes with an output zero point",
            where=where,
            expected="both or none",
            found=1,
            next_step="Give both, or leave both out for a float32 output.",
        )
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    operands.runtime_has_kernel(a, y_zero, b, "B")
    return requantize(acc, gemm_multiplier(a_scale, b_scale, y_scale, alpha), y_zero, axis=1)
