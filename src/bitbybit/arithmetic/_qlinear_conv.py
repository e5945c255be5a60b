"""QLinearConv: a quantized 2-D convolution.

https://onnx.ai/onnx/operators/onnx__QLinearConv.html (opset 10)
"""

from __future__ import annotations

from collections.abc import Sequence

from . import _operands as operands
from ._conv_integer import accumulate_conv
from ._operands import Codes, Int32, ScaleLike, ZeroPointLike
from ._requantize import conv_multiplier, requantize


def qlinear_conv(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    w: Codes,
    w_scale: ScaleLike,
    w_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    b: Int32 | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Codes:
    """Convolve in two stages: accumulate in int32, then requantize.

    ``acc = b + Σ (x - x_zp)(w - w_zp)``, ``m = (x_scale * w_scale) / y_scale``,
    ``y = RNE(clip(f32(acc) * m, qmin - y_zp, qmax - y_zp)) + y_zp``.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
    x_scale, y_scale : float32, shape ``()``, > 0
    x_zero_point, y_zero_point : dtype of ``x``, shape ``()``
    w : int8, or uint8 where ``x`` is uint8, ``[M, C/group, kH, kW]``
    w_scale : float32, shape ``()`` per tensor or ``[M]`` per channel, > 0
    w_zero_point : dtype of ``w``, shape ``()`` or ``[M]``
    b : int32, ``[M]``, or None
        Bias at scale ``x_scale * w_scale[m]``, zero point 0.
    strides, pads, dilations, group, auto_pad
        As for :func:`conv_integer`.

    Returns
    -------
    dtype of ``x``, ``[N, M, H_out, W_out]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand or attribute outside these ranges, or without a kernel in ONNX Runtime.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.int8([[[[-128, 0], [1, 127]]]])
    >>> w = np.int8([[[[3]]]])
    >>> qlinear_conv(x, 0.5, np.int8(-128), w, 0.25, np.int8(0), 1.0, np.int8(-128))
    array([[[[-128,  -80],
             [ -80,  -32]]]], dtype=int8)
    """
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    acc = accumulate_conv(
        x, x_zero_point, w, w_zero_point, b,
        strides=strides, pads=pads, dilations=dilations, group=group, auto_pad=auto_pad,
    )  # fmt: skip
    operands.runtime_has_kernel(x, y_zero, w)
    operands.scale(w_scale, "w_scale", w.shape[:1])
    return requantize(acc, conv_multiplier(x_scale, w_scale, y_scale), y_zero, axis=1)
