"""QLinearConv, fast: exact integer arithmetic by float32 matrix products.

A float32 holds every integer up to 2^24.  While ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|`` stays
below that, every partial sum of the product is an exact integer, whatever the order of summation;
up to 2^31, where int32 would wrap, float64 does the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.layers import params
from bitbybit.execution.planes import Float, Geometry, aligned
from bitbybit.model.types import Conv, Edge

EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31


class Scratch:
    """Memory that the steps of one plan share."""

    def __init__(self) -> None:
        self._flat: dict[type[np.floating[Any]], NDArray[Any]] = {}
        self._zeros: dict[tuple[object, ...], NDArray[Any]] = {}

    def flat(self, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """Return memory with any finite content; the next call may return the same memory."""
        count = math.prod(shape)
        block = self._flat.get(dtype)
        if block is None or block.size < count:
            block = self._flat[dtype] = aligned((count,), dtype)
        return block[:count].reshape(shape)

    def zeros(self, key: object, shape: tuple[int, ...]) -> Float:
        """Return memory that only users of ``key`` write: zeros at first."""
        block = self._zeros.get((key, shape))
        if block is None:
            block = self._zeros[key, shape] = aligned(shape)
        return block


@dataclass(frozen=True)
class Window:
    """How the taps of a convolution lie in the planes of its input.

    One output cell follows the other as in its own plane.  Of the input, row ``ky`` of the kernel
    meets every ``sy``-th row from row ``ky`` on: row phase ``ky % sy``, ``ky // sy`` rows down.

    Attributes
    ----------
    kernel, strides : (height, width)
    height, width : of the output
    row : cells of an output row; those behind the first ``width`` get garbage
    first : the cell of the input that the first tap of the first output reads
    x_row : cells of an input row
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    height: int
    width: int
    row: int
    first: int
    x_row: int

    @classmethod
    def of(cls, conv: Conv, x: Geometry, y_row: int) -> Window:
        """Lay the convolution over its input; ``y_row`` is the row that its output prefers."""
        (kh, kw), (sy, sx) = conv.weight.values.shape[2:], conv.strides
        top, left, bottom, right = conv.pads
        height = (x.height + top + bottom - kh) // sy + 1
        width = (x.width + left + right - kw) // sx + 1
        row = x.row if (sy, sx) == (1, 1) else max(width, y_row)
        first = x.start - top * x.row - left
        return cls((kh, kw), (sy, sx), height, width, row, first, x.row)

    @property
    def phases(self) -> int:
        """Row phases that are read."""
        return min(self.kernel[0], self.strides[0])

    @property
    def rows(self) -> int:
        """Rows of a phase: those of the output, and those that the kernel reaches below."""
        return self.height + (self.kernel[0] - 1) // self.strides[0]

    @property
    def last(self) -> int:
        """The last cell of the input that is read."""
        (sy, sx), (_, kw) = self.strides, self.kernel
        row = (self.rows - 1) * sy + self.phases - 1
        return self.first + row * self.x_row + (self.row - 1) * sx + kw - 1


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
        channels, rows = geometry.channels, window.kernel[0]
        taps = centred_weight(layer).transpose(2, 0, 3, 1).reshape(rows, channels, -1)
        bias = np.zeros((rows, channels, 1))
        if layer.bias is not None:
            bias[0, :, 0] = layer.bias.values
        self.weight = np.concatenate([taps, bias], axis=2).astype(self.dtype)
        self.in_place = window.row == geometry.row
        self.start = geometry.start if self.in_place else 0
        self.size = geometry.size if self.in_place else window.height * window.row
        multiplier = conv_multiplier(layer, x, y).reshape(-1, 1)
        self.multiplier = np.broadcast_to(multiplier, (channels, 1)).copy()
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
        window, images = self.window, x.shape[2]
        columns = self._columns(x, scratch)
        shape = (len(self.weight[0]), self.size * images)
        cells = slice(self.start * images, (self.start + window.height * window.row) * images)
        acc = scratch.zeros((self.start, window.row, "sum"), shape)
        part = scratch.zeros((self.start, window.row, "part"), shape)
        for ky, weight in enumerate(self.weight):
            begin = ky // window.strides[0] * window.row * images
            taps = columns[ky % window.strides[0], :, begin : begin + cells.stop - cells.start]
            target = part if ky else acc
            if self.dtype is np.float32:
                np.matmul(weight, taps, out=target[:, cells])
            else:
                target[:, cells] = np.matmul(weight, taps)
            if ky:
                np.add(acc, part, out=acc)
        return acc

    def _columns(self, x: Float, scratch: Scratch) -> NDArray[Any]:
        """Return the taps of each row phase, ``[phases, (kx, c) and a row of ones, cells]``."""
        window = self.window
        (sy, sx), kw = window.strides, window.kernel[1]
        channels, _, images = x.shape
        cells = window.rows * window.row
        shape = (window.phases, kw * channels + 1, cells * images)
        columns = scratch.flat(shape, self.dtype)
        columns[:, -1] = 1  # meets the bias
        taps = columns[:, :-1].reshape(window.phases, kw, channels, cells * images)
        for phase in range(window.phases):
            for kx in range(kw):
                first = window.first + phase * window.x_row + kx
                if (sy, sx) == (1, 1):
                    taps[phase, kx] = x[:, first : first + cells].reshape(channels, -1)
                else:
                    _copy_strided(x[:, first:], taps[phase, kx], window)
        return columns


def _copy_strided(x: Float, taps: NDArray[Any], window: Window) -> None:
    """Copy every sy-th row and sx-th column of ``x``, the first included, into ``taps``.

    ``x`` is ``[C, cells, images]``, ``taps`` ``[C, rows * row * images]``.
    """
    channels, _, images = x.shape
    (sy, sx), shape = window.strides, (channels, window.rows, window.row)
    target = taps.reshape(*shape, images)
    if target.dtype == x.dtype:
        # A cell as one item: NumPy copies a few long items faster than many short runs.
        cell = np.dtype((np.void, images * x.itemsize))
        x, target = x.view(cell), target.view(cell)
    channel, step, *rest = x.strides
    strides = (channel, sy * window.x_row * step, sx * step, *rest[: x.ndim - 2])
    target[...] = as_strided(x, target.shape, strides)


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
