"""QLinearConv, fast: exact integer arithmetic by float32 matrix products.

A float32 holds every integer up to 2^24.  While ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|`` stays
below that, every partial sum of the product is an exact integer, whatever the order of summation;
up to 2^31, where int32 would wrap, float64 does the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.layers import params
from bitbybit.execution.planes import Float, Geometry, Scratch
from bitbybit.execution.window import Split, Window
from bitbybit.model.types import Conv, Edge

EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31


class FastConv:
    """One convolution, prepared: :meth:`run` computes a group of images.

    Parameters
    ----------
    layer, x, y
        The convolution and its quantized input and output edge.
    window, geometry
        Its window and the planes of its output.
    """

    def __init__(self, layer: Conv, x: Edge, y: Edge, window: Window, geometry: Geometry) -> None:
        self.window, self.y = window, geometry
        self.dtype = np.float32 if accumulator_bound(layer, x) < EXACT_FLOAT32 else np.float64
        weight = centred_weight(layer).astype(self.dtype)
        bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.values
        self.split = Split.of(window, weight, bias)
        self.in_place = window.row == geometry.row
        self.start = geometry.start if self.in_place else 0
        self.size = geometry.size if self.in_place else window.cells
        multiplier = conv_multiplier(layer, x, y).reshape(-1, 1)
        self.multiplier = np.broadcast_to(multiplier, (len(weight), 1)).copy()
        y_params = params(y, layer)
        self.low = np.float32(y_params.qmin - int(y_params.zero_point))
        self.high = np.float32(y_params.qmax - int(y_params.zero_point))

    def run(self, x: Float, y: Float, scratch: Scratch) -> None:
        """Compute planes ``y`` ``[M, size, images]`` from planes ``x`` ``[C, size, images]``."""
        window, images = self.window, x.shape[2]
        acc = self._accumulators(x, scratch)
        np.multiply(acc, self.multiplier, out=acc)
        np.clip(acc, self.low, self.high, out=acc)
        # Empty cells are 0 and stay 0, since 0 is a legal centred code.
        if self.in_place:
            np.rint(acc, out=y.reshape(acc.shape))
            self.y.rows(y)[:, :, window.width :] = 0
        else:
            np.rint(acc, out=acc)
            rows = acc.reshape(-1, window.height, window.row, images)
            self.y.pixels(y)[...] = rows[:, :, : window.width]

    def _accumulators(self, x: Float, scratch: Scratch) -> Float:
        """Return the accumulators ``[M, size * images]``, as float32, with zeros around them."""
        images = x.shape[2]
        shape = (len(self.multiplier), self.size * images)
        inner = slice(self.start * images, (self.start + self.window.cells) * images)
        columns = self._columns(x, scratch)
        total = scratch.zeros((self.start, self.window.row, "total"), shape, self.dtype)
        part = scratch.zeros((self.start, self.window.row, "part"), shape, self.dtype)
        for number, product in enumerate(self.split.products):
            begin = product.row * self.window.row * images
            taps = columns[product.block][:, begin : begin + self.window.cells * images]
            target = part if number else total
            np.matmul(product.weight, taps, out=target[:, inner])
            if number:
                np.add(total, part, out=total)
        return total.astype(np.float32, copy=False)

    def _columns(self, x: Float, scratch: Scratch) -> NDArray[Any]:
        """Return the blocks of taps, ``[blocks, (tap, c) and a row of ones, cells]``."""
        channels, _, images = x.shape
        blocks, rows = self.split.blocks, self.split.rows
        count, cells = len(blocks[0]), rows * self.window.row * images
        columns = scratch.flat((len(blocks), count * channels + 1, cells), self.dtype)
        columns[:, -1] = 1  # meets the bias
        taps = columns[:, :-1].reshape(len(blocks), count, channels, cells)
        for block, firsts in enumerate(blocks):
            for tap, first in enumerate(firsts):
                self.window.copy_tap(x, first, rows, taps[block, tap])
        return columns


def centred_weight(layer: Conv) -> NDArray[np.int64]:
    """Return ``w - w_zp``, int64 ``[M, C/G, kH, kW]``."""
    zero = params(layer.weight, layer).zero_point.astype(np.int64)
    return layer.weight.values.astype(np.int64) - zero.reshape(-1, 1, 1, 1)


def accumulator_bound(layer: Conv, x: Edge) -> int:
    """Return ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|``: no partial sum is larger."""
    x_params = params(x, layer)
    zero = int(x_params.zero_point)
    reach = max(x_params.qmax - zero, zero - x_params.qmin)
    sums = np.abs(centred_weight(layer)).sum(axis=(1, 2, 3)) * reach
    if layer.bias is not None:
        sums = sums + np.abs(layer.bias.values.astype(np.int64))
    return int(sums.max())


def conv_multiplier(layer: Conv, x: Edge, y: Edge) -> Float:
    """Return the multiplier of a convolution: float32 ``()`` or ``[M]``."""
    return arithmetic.conv_multiplier(
        params(x, layer).scale, params(layer.weight, layer).scale, params(y, layer).scale
    )
