"""DequantizeLinear: integer codes to float32.

https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html (opset 10; per axis 13; 16 bit 21)
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._bounds import centred
from ._operands import Codes, Float32, OperandError, ScaleLike, ZeroPointLike


def dequantize_linear(
    q: Codes, scale: ScaleLike, zero_point: ZeroPointLike = 0, axis: int | None = None
) -> Float32:
    """Dequantize: ``float32(int32(q) - zero_point) * scale``, one float32 product.

    ``eq-boundary-dequantize`` of the book.

    Parameters
    ----------
    q : int8, uint8, int16, uint16 or int32, any shape
        Codes; int32 is the dtype of biases.
    scale : float32, shape ``()`` or ``[C]`` with C = ``q.shape[axis]``
        Finite and > 0, in real units per code.
    zero_point : dtype of ``q``, shape of ``scale``
        0 for int32 codes.
    axis : int or None
        The channel axis, -rank to rank-1; None means per tensor. A single scale ignores it.

    Returns
    -------
    float32, shape of ``q``

    Raises
    ------
    OperandError
        A dtype, shape, axis or scale outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> dequantize_linear(np.int8([-128, 0, 127]), 0.5, np.int8(-128))
    array([  0. ,  64. , 127.5], dtype=float32)
    """
    q = operands.array(q, "x", (*operands.QUANTIZED, np.int32))
    per = operands.channels(q, axis)
    scale = operands.scale(scale, "x_scale", per)
    zero = operands.zero_point(zero_point, "x_zero_point", q.dtype, per)
    if q.dtype == np.int32 and zero.any():
        raise OperandError(
            "int32 codes have no zero point",
            where="x_zero_point",
            expected=0,
            found=zero[zero != 0].flat[0],
            next_step="Leave x_zero_point out.",
        )
    with np.errstate(over="ignore", under="ignore"):
        real = centred(q, zero, axis).astype(np.float32) * operands.along(scale, axis, q.ndim)
    return np.asarray(real)
