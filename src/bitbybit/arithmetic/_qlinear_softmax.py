"""QLinearSoftmax: from codes to probabilities.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearSoftmax
"""

from __future__ import annotations

import math

import numpy as np

from bitbybit.errors import UnsupportedError

from . import _operands as operands
from ._operands import Codes, OperandError, ScaleLike, ZeroPointLike

HEADROOM = math.exp(5)
"""The largest exponential is the largest float32 divided by this and by the number of terms."""


def qlinear_softmax(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    *,
    axis: int = -1,
    opset: int = 13,
) -> Codes:
    """Normalise exponentials: ``y = sat(RNE(e[x] * floor(1 / y_scale) / Σ e[x]) + y_zp)``.

    ``e[x] = f32(exp(x_scale * (x - max x) + t))`` comes from a table of 256; ``t`` lifts the
    largest term to just below what float32 can sum, and cancels. The sum runs from first to last
    in float32. The reciprocal of the output scale is cut off to a whole number: a scale of 1/255
    that is rounded up counts as 1/254 (``onnxruntime/contrib_ops/cpu/quantization/
    qlinear_softmax.cc``).

    Parameters
    ----------
    x : int8 or uint8, any shape
    x_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    x_zero_point, y_zero_point : dtype of ``x``, shape ``()``
        The former cancels.
    axis : int
        -rank to rank-1.
    opset : int
        Before 13 the terms of one sum are all elements from ``axis`` on.

    Returns
    -------
    dtype of ``x``, shape of ``x``

    Raises
    ------
    OperandError
        An operand outside these ranges.
    UnsupportedError
        An output scale so small that ONNX Runtime's product overflows.

    Examples
    --------
    >>> import numpy as np
    >>> x, zero = np.int8([[0, 0, 10]]), np.int8(0)
    >>> qlinear_softmax(x, 0.5, zero, 1 / 256, np.int8(-128))
    array([[-126, -126,  125]], dtype=int8)
    """
    x = operands.array(x, "X", operands.EIGHT_BIT, min_rank=1)
    operands.zero_point(x_zero_point, "x_zero_point", x.dtype)
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    operands.runtime_has_kernel(x, y_zero)
    if not -x.ndim <= axis < x.ndim:
        raise OperandError(
            "there is no such axis",
            where="axis",
            expected=f"{-x.ndim} to {x.ndim - 1}",
            found=axis,
            next_step="Choose one of the input's.",
        )
    turned = np.moveaxis(x, axis, -1) if opset >= 13 else x
    terms = x.shape[axis] if opset >= 13 else math.prod(x.shape[axis % x.ndim :])
    rows = turned.reshape(-1, terms).astype(np.int64)
    scale = float(operands.scale(x_scale, "x_scale"))
    wholes = np.floor(np.float32(1) / operands.scale(y_scale, "y_scale"))
    if wholes >= HEADROOM * terms:
        raise UnsupportedError(
            "the probabilities overflow in ONNX Runtime",
            where="y_scale",
            expected=f"1 / y_scale below {HEADROOM:.0f} times the number of terms, {terms}",
            found=wholes,
            next_step="Choose a larger output scale: 1/256 is right for probabilities.",
        )
    e = _exponentials(scale, terms)[rows - rows.max(axis=1, keepdims=True) + 255]
    total = np.add.accumulate(e, axis=1)[:, -1:]
    real = np.rint(e * wholes / total) + np.float32(y_zero)
    codes = operands.codes_of_whole(real, x.dtype).reshape(turned.shape)
    return np.ascontiguousarray(np.moveaxis(codes, -1, axis)) if opset >= 13 else codes


def _exponentials(scale: float, terms: int) -> operands.Float32:
    """Return the exponentials of -255 to 0 units, lifted to just below what can be summed."""
    log = float(np.float32(math.log(np.finfo(np.float32).max / np.float32(terms))))
    shift = max(0.0, log - 5) / scale
    return np.array([math.exp((i - 255 + shift) * scale) for i in range(256)]).astype(np.float32)
