"""The fast form of QLinearConv and QLinearAdd: float32 arithmetic that is proved exact.

A float32 holds every integer up to 2^24. While :func:`weight_bound` is not larger, each partial
sum of a float32 matrix product is an exact integer, in whatever order it is summed; up to 2^31,
where int32 would wrap, float64 does the same. An addition has 65,536 pairs of codes: all of them
are compared with its definition. Where neither proves the fast form, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from . import _operands as operands
from ._bounds import centred, code_range, weight_bound
from ._operands import Codes, Float32, Int32, OperandError, ScaleLike
from ._qlinear_add import add_table
from ._requantize import clip_and_round, conv_multiplier
from ._window import window_output_size

EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31 - 1
BLOCK = 16
"""Images of one block: few enough for the caches, and for the copies of their taps."""

SCRATCH = 1 << 28
"""Bytes of copied taps; more are made in two halves of the images."""

Float: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Interleaved:
    """Codes as the fast form keeps them: ``code - zero_point``, the images innermost.

    A padded tap, which holds the code ``zero_point``, is then 0; a line of pixels is a long run
    of memory; and the rows that one output row needs follow each other.

    Attributes
    ----------
    blocks : float32 ``[H, C, W, n]``, n <= 16 images each
    zero_point : int8 or uint8, shape ``()``; its dtype is the dtype of the codes
    """

    blocks: tuple[Float32, ...]
    zero_point: Codes

    @classmethod
    def of(cls, codes: Codes, zero_point: Codes) -> Interleaved:
        """Return the same codes, given as ``[N, C, H, W]``, N >= 1."""
        real = codes.astype(np.float32) - np.float32(zero_point)
        parts = (real[begin : begin + BLOCK] for begin in range(0, len(real), BLOCK))
        blocks = tuple(np.ascontiguousarray(part.transpose(2, 1, 3, 0)) for part in parts)
        return cls(blocks, zero_point)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in ONNX layout: ``(N, C, H, W)``."""
        height, channels, width, _ = self.blocks[0].shape
        return sum(block.shape[-1] for block in self.blocks), channels, height, width

    @cached_property
    def codes(self) -> Codes:
        """The codes ``[N, C, H, W]``, read-only, made at the first access."""
        zero, dtype = np.float32(self.zero_point), self.zero_point.dtype
        parts = [(block + zero).astype(dtype).transpose(3, 1, 0, 2) for block in self.blocks]
        codes = np.concatenate(parts)
        codes.flags.writeable = False
        return codes


@dataclass(frozen=True, eq=False)
class FastConv:
    """One convolution, prepared by :func:`fast_conv`."""

    weight: Float
    kernel: tuple[int, int, int]
    strides: Sequence[int]
    pads: Sequence[int]
    multiplier: Float32
    zero_point: Codes

    def __call__(self, x: Interleaved) -> Interleaved | None:
        """Return the output's codes; None of an input that the definition refuses."""
        size = self._size(x)
        if size is None:
            return None
        blocks = (self._codes(self._sums(block, *size), size[1]) for block in x.blocks)
        return Interleaved(tuple(blocks), self.zero_point)

    def accumulators(self, x: Interleaved) -> Iterator[Int32] | None:
        """Yield int32 accumulators ``[H_out, M, W_out, n]``, bias included, for each block of x.

        None of an input that the definition refuses.
        """
        size = self._size(x)
        if size is None:
            return None
        sums = (self._sums(block, *size) for block in x.blocks)
        return (part.astype(np.int32).reshape(*part.shape[:2], size[1], -1) for part in sums)

    def _size(self, x: Interleaved) -> tuple[int, int] | None:
        """Return height and width of the output, None where there is none."""
        channels, *kernel = self.kernel
        images, found, *size = x.shape
        try:
            height, width = window_output_size(size, kernel, self.strides, (1, 1), self.pads)
        except OperandError:
            return None
        made, taps = (images, len(self.weight), height, width), (*self._taps(height), width)
        too_large = operands.too_large(made, 4) or operands.too_large(taps, self.weight.itemsize)
        return None if found != channels or too_large else (height, width)

    def _taps(self, height: int) -> tuple[int, int]:
        """Return how many rows of the input are copied, and lines of each."""
        kh = self.kernel[1]
        return (height - 1) * self.strides[0] + kh, self.weight.shape[1] // kh

    def _sums(self, x: Float32, height: int, width: int) -> Float:
        """Compute ``[H_out, M, W_out * n]`` from ``[H, C, W, n]``: a matrix product per row."""
        images = x.shape[-1]
        copies = images * width * math.prod(self._taps(height)) * self.weight.itemsize
        if images > 1 and copies > SCRATCH:
            halves = (x[..., : images // 2], x[..., images // 2 :])
            shape = (height, len(self.weight), width, -1)
            parts = [self._sums(half, height, width).reshape(shape) for half in halves]
            return np.concatenate(parts, axis=-1).reshape(*shape[:2], -1)
        return np.asarray(np.matmul(self.weight, self._lines(x, height, width)))

    def _codes(self, sums: Float, width: int) -> Float32:
        """Requantize sums to centred codes ``[H_out, M, W_out, n]``."""
        y = np.asarray(sums, np.float32)
        with np.errstate(over="ignore", under="ignore"):
            y *= self.multiplier
        return _rounded(y, self.zero_point).reshape(*y.shape[:2], width, -1)

    def _lines(self, x: Float32, height: int, width: int) -> Float:
        """Return what meets the weights, ``[H_out, kH * (kW * C + 1), W_out * n]``.

        The taps of an *input* row are copied once, one below the other: ``kW * C`` lines, and a
        line of ones, which meets the bias. Rows follow each other in memory, so an output row
        meets the lines that begin at its first input row, and neighbours share most of them.
        """
        (channels, kh, kw), (sy, sx), (top, left, *_) = self.kernel, self.strides, self.pads
        images = x.shape[-1]
        rows, lines = self._taps(height)
        bottom = max(top, min(rows, top + len(x)))
        copied = np.empty((rows, lines, width * images), self.weight.dtype)
        copied[:top] = copied[bottom:] = 0
        copied[:, -1] = 1
        taps = copied[top:bottom, :-1].reshape(bottom - top, kw, channels, width, images)
        for kx in range(kw):
            # Output pixel j meets input pixel j * sx + kx - left, if there is one.
            first = min(width, max(0, -(-(left - kx) // sx)))
            last = max(first, min(width, (x.shape[2] - 1 + left - kx) // sx + 1))
            begin = first * sx + kx - left
            taps[:, kx, :, :first] = taps[:, kx, :, last:] = 0
            pixels = slice(begin, begin + (last - first) * sx, sx)
            taps[:, kx, :, first:last] = x[: bottom - top, :, pixels]
        row, line, number = copied.strides
        shape = (height, kh * lines, width * images)
        return as_strided(copied, shape, (sy * row, line, number))


def fast_conv(
    x_scale: ScaleLike,
    x_zero_point: Codes,
    w: Codes,
    w_scale: ScaleLike,
    w_zero_point: Codes,
    y_scale: ScaleLike,
    y_zero_point: Codes,
    b: Int32 | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
) -> FastConv | None:
    """Prepare a convolution for the fast form, if its exactness can be proved.

    Parameters
    ----------
    x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b
        As for :func:`qlinear_conv`.
    strides, pads, dilations, group
        As for :func:`qlinear_conv`.

    Returns
    -------
    A function of the input's :class:`Interleaved` codes, equal to :func:`qlinear_conv`; or None:
    sums may reach 2^31, a multiplier is infinite, or the convolution is grouped or dilated.

    Raises
    ------
    OperandError, UnsupportedError
        Scales, zero points or dtypes that :func:`qlinear_conv` refuses.
    """
    operands.array(x_zero_point, "x_zero_point", operands.EIGHT_BIT, max_rank=0)
    operands.runtime_has_kernel(x_zero_point, y_zero_point, w)
    multiplier = np.atleast_1d(conv_multiplier(x_scale, w_scale, y_scale))[:, None]
    if group != 1 or tuple(dilations) != (1, 1) or not w.size or not np.isfinite(multiplier).all():
        return None
    weight = centred(w, w_zero_point, 0)
    bias = 0 if b is None else b
    filters, channels, kh, kw = w.shape
    each = weight.reshape(filters, channels * kh * kw)
    bounds = weight_bound(each, code_range(x_zero_point), bias)
    if bounds.max() > EXACT_INT32:
        return None
    exact = np.float32 if bounds.max() <= EXACT_FLOAT32 else np.float64
    rows = np.zeros((filters, kh, kw * channels + 1), exact)
    rows[:, :, :-1] = weight.transpose(0, 2, 3, 1).reshape(filters, kh, kw * channels)
    rows[:, 0, -1] = bias  # meets the line of ones
    return FastConv(
        weight=rows.reshape(filters, kh * rows.shape[2]),
        kernel=(channels, kh, kw),
        strides=strides,
        pads=pads,
        multiplier=multiplier,
        zero_point=y_zero_point,
    )


@dataclass(frozen=True, eq=False)
class FastAdd:
    """One addition, prepared by :func:`fast_add`.

    ``RNE(clip(a * ratio_a + b * ratio_b))`` where that is right for all pairs, else a look-up.
    """

    table: Float32
    first: tuple[int, int]
    zero_point: Codes
    ratios: tuple[np.float32, np.float32] | None = None

    def __call__(self, a: Interleaved, b: Interleaved) -> Interleaved | None:
        """Return the sum's codes; None where an operand would be repeated, or may be swapped."""
        if a.shape != b.shape or max(a.shape[1:]) == 1:
            return None
        return Interleaved(tuple(map(self.block, a.blocks, b.blocks)), self.zero_point)

    def block(self, a: Float32, b: Float32) -> Float32:
        """Add centred codes; the arrays broadcast."""
        if self.ratios is None:
            row, column = a - np.float32(self.first[0]), b - np.float32(self.first[1])
            return self.table[(row * np.float32(256) + column).astype(np.intp)]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = a * self.ratios[0]
            return _rounded(total + b * self.ratios[1], self.zero_point)


def fast_add(
    a_scale: ScaleLike,
    a_zero_point: Codes,
    b_scale: ScaleLike,
    b_zero_point: Codes,
    c_scale: ScaleLike,
    c_zero_point: Codes,
) -> FastAdd:
    """Prepare an addition for the fast form: a short formula, or a table of all pairs.

    The definition adds raw codes with fused multiply-adds. Plain products of centred codes give
    the same for all but about one of the 65,536 pairs; mostly a ratio that is an ulp away makes
    it all of them, which is settled by comparing them.

    Parameters
    ----------
    a_scale, a_zero_point, b_scale, b_zero_point, c_scale, c_zero_point
        As for :func:`qlinear_add`.

    Returns
    -------
    A function of two :class:`Interleaved` operands of one shape, equal to :func:`qlinear_add`.

    Raises
    ------
    OperandError
        As :func:`qlinear_add`.
    """
    table = add_table(a_scale, a_zero_point, b_scale, b_zero_point, c_scale, c_zero_point)
    expected = table.astype(np.float32) - np.float32(c_zero_point)
    (first_a, last_a), (first_b, last_b) = code_range(a_zero_point), code_range(b_zero_point)
    a = np.arange(first_a, last_a + 1).astype(np.float32)[:, None]
    b = np.arange(first_b, last_b + 1).astype(np.float32)[None, :]
    look_up = FastAdd(expected.ravel(), (first_a, first_b), c_zero_point)
    with np.errstate(over="ignore", under="ignore"):
        ratio_a, ratio_b = (np.float32(s) / np.float32(c_scale) for s in (a_scale, b_scale))
        for step_a, step_b in _NEARBY:
            near = ratio_a * (1 + step_a * _ULP), ratio_b * (1 + step_b * _ULP)
            formula = replace(look_up, ratios=near)
            if np.array_equal(formula.block(a, b), expected):
                return formula
    return look_up


_ULP = np.float32(2.0**-23)
_NEARBY = sorted(product(range(-2, 3), repeat=2), key=lambda steps: sum(map(abs, steps)))
"""Steps of about an ulp to add to both ratios; none first."""


def _rounded(real: Float32, zero_point: Codes) -> Float32:
    """Round to centred codes, in place."""
    low, high = map(np.float32, code_range(zero_point))
    return clip_and_round(real, low, high, out=real)
