"""QuantizeLinear: float32 to integer codes.

https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html (opset 10; per axis 13; 16 bit 21)
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._operands import Codes, Float32, ScaleLike, ZeroPointLike
from ._requantize import round_to_codes


def quantize_linear(
    x: Float32, scale: ScaleLike, zero_point: ZeroPointLike, axis: int | None = None
) -> Codes:
    r"""Quantize: ``q = RNE(clip(x / scale, qmin - zero_point, qmax - zero_point)) + zero_point``.

    ``eq-boundary-quantize`` of the book, saturated first. The order is divide, saturate, round
    half to even, add the zero point. It is a true float32 division; multiplying by ``1 / scale``
    gives other codes. NaN becomes qmin.

    Parameters
    ----------
    x : float32, any shape
        Real values.
    scale : float32, shape ``()`` or ``[C]`` with C = ``x.shape[axis]``
        Finite and > 0, in real units per code.
    zero_point : int8, uint8, int16 or uint16, shape of ``scale``
        Its dtype is the dtype of the result.
    axis : int or None
        The channel axis, -rank to rank-1; None means per tensor. A single scale ignores it.

    Returns
    -------
    codes, shape of ``x``, dtype of ``zero_point``, qmin to qmax

    Raises
    ------
    OperandError
        A dtype, shape, axis or scale outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> quantize_linear(np.float32([0.5, 1.5, 2.5, -0.5, 300]), 1.0, np.int8(0))
    array([  0,   2,   2,   0, 127], dtype=int8)
    """
    x = operands.array(x, "x", (np.float32,))
    per = operands.channels(x, axis)
    scale = operands.scale(scale, "y_scale", per)
    zero = operands.output_zero_point(zero_point, "y_zero_point", operands.QUANTIZED, per)
    with np.errstate(over="ignore", invalid="ignore"):
        real = x / operands.along(scale, axis, x.ndim)
    return round_to_codes(real, operands.along(zero, axis, x.ndim))
