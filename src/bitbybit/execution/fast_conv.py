"""QLinearConv, fast: exact integer arithmetic by float32 matrix products.

A float32 holds every integer up to 2^24.  While ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|`` stays
below that, every partial sum of the product is an exact integer, whatever the order of summation;
up to 2^31, where int32 would wrap, float64 does the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.interleaved import Float, FloatType, Scratch, centred_range
from bitbybit.execution.layers import params
from bitbybit.model.accumulators import centred_rows
from bitbybit.model.types import Conv, Edge

EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31


class FastConv:
    """One convolution, prepared: :meth:`run` computes a group of images.

    The taps of each *input* row are copied once, one below the other: ``kW * C`` lines of
    ``W_out * images`` numbers and a line of ones, which meets the bias.  The lines of kH such rows
    follow each other in memory; so an output row is one product of the weights with the lines
    that begin at its first input row, and neighbouring products read overlapping lines.

    Parameters
    ----------
    layer, x, y
        The convolution and its quantized input and output edge.
    """

    def __init__(self, layer: Conv, x: Edge, y: Edge) -> None:
        self.pads, self.strides = layer.pads, layer.strides
        self.kernel = layer.weight.values.shape[2:]
        self.dtype: FloatType = (
            np.float32 if accumulator_bound(layer, x) < EXACT_FLOAT32 else np.float64
        )
        self.weight = _lines(layer).astype(self.dtype)
        multiplier = conv_multiplier(layer, x, y).reshape(-1, 1)
        self.multiplier = np.broadcast_to(multiplier, (len(self.weight), 1))
        self.low, self.high = centred_range(params(y, layer))

    def run(self, inputs: list[Float], y: Float, scratch: Scratch) -> None:
        """Compute ``y`` ``[H_out, M, W_out, images]`` from ``[H, C, W, images]``."""
        (x,) = inputs
        height, channels, width, images = y.shape
        codes = y.reshape(height, channels, width * images)
        lines = self._columns(x, height, width, scratch)
        if self.dtype is np.float32:
            np.matmul(self.weight, lines, out=codes)
        else:
            codes[...] = np.matmul(self.weight, lines)
        # A multiplier per number: NumPy is slow where short lines meet a column.
        multiplier = scratch.flat("multiplier", codes.shape[1:], np.float32)
        multiplier[...] = self.multiplier
        np.multiply(codes, multiplier, out=codes)
        np.clip(codes, self.low, self.high, out=codes)
        np.rint(codes, out=codes)

    def _columns(self, x: Float, height: int, width: int, scratch: Scratch) -> NDArray[Any]:
        """Return the view ``[H_out, kH * (kW * C + 1), W_out * images]`` of the copied taps."""
        (kh, kw), sy, (rows_of_x, channels, _, images) = self.kernel, self.strides[0], x.shape
        top = self.pads[0]
        rows, lines = (height - 1) * sy + kh, kw * channels + 1
        columns = scratch.flat("columns", (rows, lines, width * images), self.dtype)
        bottom = min(rows, top + rows_of_x)
        columns[:top] = columns[bottom:] = 0
        self._copy(
            x[: bottom - top],
            columns[top:bottom, :-1].reshape(bottom - top, kw, channels, width, images),
        )
        columns[:, -1] = 1
        row, line, number = columns.strides
        shape = (height, kh * lines, width * images)
        return as_strided(columns, shape, (sy * row, line, number), writeable=False)

    def _copy(self, x: Float, target: NDArray[Any]) -> None:
        """Copy what each kernel column meets into ``target`` ``[rows, kW, C, W_out, images]``."""
        (sx, left), (*_, width, images) = (self.strides[1], self.pads[1]), target.shape
        pixels, source = target, x
        if target.dtype == x.dtype:
            # All images of a pixel as one item: NumPy copies few long items faster.
            pixel = np.dtype((np.void, images * x.itemsize))
            pixels, source = target.view(pixel), x.view(pixel)
        for kx in range(self.kernel[1]):
            # Output pixel j meets input pixel j * sx + kx - left, if there is one.
            first = min(width, max(0, -(-(left - kx) // sx)))
            last = max(first, min(width, (x.shape[2] - 1 + left - kx) // sx + 1))
            target[:, kx, :, :first] = target[:, kx, :, last:] = 0
            begin = first * sx + kx - left
            end = begin + (last - first - 1) * sx + 1
            if last > first:
                pixels[:, kx, :, first:last] = source[:, :, begin:end:sx]


def _lines(layer: Conv) -> NDArray[np.int64]:
    """Return the weights in the order of the lines: ``[M, kH * (kW * C + 1)]``, bias once."""
    channels, _, kh, _ = shape = layer.weight.values.shape
    weight = centred_rows(layer).reshape(shape).transpose(0, 2, 3, 1)
    ones = np.zeros((channels, kh, 1), np.int64)
    if layer.bias is not None:
        ones[:, 0, 0] = layer.bias.values
    lines = np.concatenate([weight.reshape(channels, kh, -1), ones], axis=2)
    return lines.reshape(channels, -1)


def accumulator_bound(layer: Conv, x: Edge) -> int:
    """Return ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|``: no partial sum is larger."""
    bias = 0 if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(params(x, layer).zero_point)
    return int(arithmetic.weight_bound(centred_rows(layer), x_range, bias).max())


def conv_multiplier(layer: Conv, x: Edge, y: Edge) -> Float:
    """Return the multiplier of a convolution: float32 ``()`` or ``[M]``."""
    return arithmetic.conv_multiplier(
        params(x, layer).scale, params(layer.weight, layer).scale, params(y, layer).scale
    )
