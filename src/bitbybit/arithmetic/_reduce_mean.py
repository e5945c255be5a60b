"""ReduceMean over the image, between DequantizeLinear and QuantizeLinear.

https://onnx.ai/onnx/operators/onnx__ReduceMean.html (opset 13, 18). ONNX Runtime has no integer
kernel for it: it sums real values in float32, in the order of the Eigen library's ``redux``.
"""

from __future__ import annotations

import math

import numpy as np

from bitbybit.errors import UnsupportedError

from . import _operands as operands
from ._dequantize_linear import dequantize_linear
from ._operands import Codes, Float32, ScaleLike, ZeroPointLike
from ._quantize_linear import quantize_linear

LANES = 4
"""Float32 numbers of one register of x86-64 without extensions, for which Eigen is compiled."""


def reduce_mean(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    *,
    keepdims: int = 1,
) -> Codes:
    """Average the pixels of each channel: ``QuantizeLinear((Σ x_scale * (x - x_zp)) / f32(H*W))``.

    The sum of a channel begins with eight numbers at a time from the first address that is a
    multiple of 16 bytes, in two registers of four; then these are added up, then the numbers
    before and behind. Where a channel begins depends on its number, so the channels of one image
    must fill whole registers: otherwise images in one batch would differ from those alone.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
        C*H*W is a multiple of 4.
    x_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    x_zero_point : dtype of ``x``, shape ``()``
    y_zero_point : int8 or uint8, shape ``()``
    keepdims : 0 or 1

    Returns
    -------
    dtype of ``y_zero_point``, ``[N, C, 1, 1]``, or ``[N, C]`` without ``keepdims``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> reduce_mean(np.int8([[[[1, 2], [3, 5]]]]), 1.0, np.int8(0), 1.0, np.int8(0))
    array([[[[3]]]], dtype=int8)
    """
    x = operands.array(x, "data", operands.EIGHT_BIT, min_rank=4, max_rank=4)
    pixels = math.prod(x.shape[2:])
    if x.shape[1] * pixels % LANES:
        raise UnsupportedError(
            "the mean of an image would depend on its place in the batch",
            where="data",
            expected=f"channels times pixels: a multiple of {LANES}",
            found=x.shape,
            next_step=None,
        )
    rows = dequantize_linear(x, x_scale, x_zero_point).reshape(-1, pixels)
    means = _sums(rows) / np.float32(pixels)
    codes = quantize_linear(means.reshape(x.shape[:2]), y_scale, y_zero_point)
    return codes.reshape(*x.shape[:2], 1, 1) if keepdims else codes


def _sums(rows: Float32) -> Float32:
    """Return the sum of each row, in Eigen's order, as if the first row began a register."""
    count, size = rows.shape
    sums = np.zeros(count, np.float32)
    starts = -np.arange(count) * size % LANES
    for start in range(LANES):
        chosen = starts == start
        sums[chosen] = _in_order(rows[chosen], min(start, size))
    return sums


def _in_order(rows: Float32, start: int) -> Float32:
    """Return sums of rows that reach the start of a register at ``start``."""
    ends = np.arange(start, rows.shape[1] - LANES + 1, LANES)
    if not ends.size:
        return np.add.accumulate(rows, axis=1)[:, -1]
    fours = [rows[:, end : end + LANES] for end in ends]
    pairs = len(fours) // 2 * 2
    total = fours[0]
    if pairs:
        other = fours[1]
        for first, second in zip(fours[2:pairs:2], fours[3:pairs:2], strict=True):
            total, other = total + first, other + second
        total = total + other
        if len(fours) > pairs:
            total = total + fours[-1]
    summed = (total[:, 0] + total[:, 2]) + (total[:, 1] + total[:, 3])
    for place in (*range(start), *range(int(ends[-1]) + LANES, rows.shape[1])):
        summed = summed + rows[:, place]
    return summed
