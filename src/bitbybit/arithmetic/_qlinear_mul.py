"""QLinearMul: the product of two quantized tensors, each with its own scale.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearMul
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._bounds import centred
from ._operands import Codes, ScaleLike, ZeroPointLike
from ._requantize import gemm_multiplier


def qlinear_mul(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
    c_zero_point: ZeroPointLike,
) -> Codes:
    """Multiply: ``c = sat(RNE(f32((a - a_zp)(b - b_zp)) * m + c_zp))``.

    ``m = (a_scale * b_scale) / c_scale``. Unlike in a convolution the zero point is added before
    rounding. Products of 2^31 and more output codes, and NaN, become qmin.

    Parameters
    ----------
    a, b : int8 or uint8, the same dtype, broadcastable
    a_scale, b_scale, c_scale : float32, shape ``()``
        Finite and > 0.
    a_zero_point, b_zero_point, c_zero_point : dtype of ``a``, shape ``()``

    Returns
    -------
    dtype of ``a``, broadcast shape

    Raises
    ------
    OperandError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> a, zero = np.int8([1, 2, 100]), np.int8(0)
    >>> qlinear_mul(a, 0.5, zero, a, 1.0, zero, 1.0, zero)
    array([  0,   2, 127], dtype=int8)
    """
    a, b = operands.pair(a, b)
    zeros = (("A", a_zero_point), ("B", b_zero_point))
    a_zero, b_zero = (operands.zero_point(z, f"{n}_zero_point", a.dtype) for n, z in zeros)
    c_zero = operands.output_zero_point(c_zero_point, "C_zero_point", (a.dtype.type,))
    multiplier = gemm_multiplier(
        operands.scale(a_scale, "A_scale"),
        operands.scale(b_scale, "B_scale"),
        operands.scale(c_scale, "C_scale"),
    )
    product = (centred(a, a_zero) * centred(b, b_zero)).astype(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return operands.codes_of_whole(np.rint(product * multiplier + np.float32(c_zero)), a.dtype)
