"""Curves on axes: growing sums, accumulators, requantization, the grid and error of a quantizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus, short
from bitbybit.model.types import QuantParams

from .picture import Axis, Canvas, Ends, Picture, Tick, steps

INT16 = (-(2**15), 2**15 - 1)
WIDTH, LEFT, RIGHT, TOP, BOTTOM, HEAD = 720, 76, 18, 14, 46, 34
DASH = "4 3"
LABEL = 96
"""Room for a label in CSS pixels, where a curve must not cross it."""


class _Axes:
    """A canvas with two axes, ``x`` and ``y``, which turn values into places on it."""

    def __init__(self, height: int, x: Ends, y: Ends, names: tuple[str, str]) -> None:
        self.canvas = Canvas(WIDTH, height)
        self.bottom = height - BOTTOM
        self.x, self.y = Axis(*x, LEFT, WIDTH - RIGHT), Axis(*y, self.bottom, TOP)
        self.canvas.text((LEFT + WIDTH - RIGHT) / 2, height - 8, names[0])
        self.canvas.text(16, (TOP + self.bottom) / 2, names[1], turned=True)

    def frame(self, y_ticks: Sequence[Tick] = ()) -> None:
        """Draw ticks at round values, unless others are given, with a pale line across."""
        for value, text in self.x.ticks():
            self.canvas.line(self.x(value), self.bottom, self.x(value), self.bottom + 4)
            self.canvas.text(self.x(value), self.bottom + 18, text, 12)
        for value, text in y_ticks or self.y.ticks(6):
            self.canvas.line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), width=0.35)
            self.canvas.text(LEFT - 6, self.y(value) + 4, text, 12, "end")
        self.canvas.line(LEFT, TOP, LEFT, self.bottom)
        self.canvas.line(LEFT, self.bottom, WIDTH - RIGHT, self.bottom)

    def line(self, start: Ends, end: Ends, colour: str = "ink", dash: str = DASH) -> None:
        (x1, y1), (x2, y2) = start, end
        self.canvas.line(self.x(x1), self.y(y1), self.x(x2), self.y(y2), colour, dash=dash)

    def dot(self, x: float, y: float, note: str, offset: Ends) -> None:
        """Draw a point, and write beside it."""
        self.canvas.dot(self.x(x), self.y(y), "accumulator")
        self.note(x, y, note, offset)

    def note(self, x: float, y: float, text: str, offset: Ends) -> None:
        place = self.x(x) + offset[0], self.y(y) + offset[1]
        self.canvas.text(*place, minus(text), 12, "start")


class Rows:
    """A canvas with a row for each name over one axis; a title and ticks are drawn.

    Attributes
    ----------
    canvas : to draw on
    x : turns values into places
    middles : the height of each row's middle
    """

    def __init__(
        self, names: Sequence[str], axis: Axis, ticks: Sequence[Tick], *, pitch: int, title: str
    ) -> None:
        left = 14 + 7.2 * max(map(len, names), default=0)
        bottom = HEAD + pitch * len(names)
        self.canvas, self.x = Canvas(WIDTH, bottom + 30), replace(axis, start=left, end=WIDTH - 76)
        self.middles = [HEAD + pitch * (i + 0.5) for i in range(len(names))]
        for value, text in ticks:
            self.canvas.line(self.x(value), HEAD - 4, self.x(value), bottom, "soft", 0.5)
            self.canvas.text(self.x(value), bottom + 17, text, 12)
        if title:
            self.canvas.text(left, 16, title, 12.5, "start", weight=600)
        for name, middle in zip(names, self.middles, strict=True):
            self.canvas.text(left - 12, middle + 4, name, 12.5, "end")


def partial_sums(
    products: NDArray[np.signedinteger],
    bias: int = 0,
    *,
    label: str,
    caption: str,
    register: int = 0,
) -> Picture:
    """Draw the sum after each product, from the bias to the accumulator.

    Parameters
    ----------
    products : int32, any shape, added in C order
    bias
        The value before the first product.
    label, caption
        As for :class:`Picture`.
    register
        Bits of a register whose ends are drawn too, and how its sum walks if it saturates after
        each product; 0 for none.
    """
    sums = bias + np.concatenate([[0], np.cumsum(np.asarray(products, np.int64).ravel())])
    count, last = len(sums) - 1, int(sums[-1])
    half = 1 << register >> 1
    shown = [*sums, -half, half - 1] if register else sums
    low, high = min(shown), max(shown)
    pad = 0.08 * float(high - low or 1)
    ends = float(low) - pad, float(high) + pad
    axes = _Axes(300, (0.0, max(count, 1) * 1.1), ends, ("products added", "partial sum"))
    axes.frame()
    if register:
        held = [bias]
        for product in np.diff(sums).tolist():
            held.append(min(max(held[-1] + product, -half), half - 1))
        for limit, below in ((-half, 14), (half - 1, -6)):
            axes.line((0, limit), (count, limit))
            axes.note(count, limit, f"{limit:,}", (9, below))
        path = steps(axes.x, axes.y, range(count + 2), held)
        axes.canvas.path(path.rpartition("H")[0], stroke="ink", width=1.2)
        axes.note(count, held[-1], f"{held[-1]:,}", (9, 0))
    path = steps(axes.x, axes.y, range(count + 2), sums.tolist())
    axes.canvas.path(path.rpartition("H")[0], stroke="accumulator", width=1.8)
    axes.dot(count, last, f"{last:,}", (9, 4))
    beside = sums[: math.ceil(LABEL / (axes.x(1) - axes.x(0))) + 1]
    if beside.max() - bias <= bias - beside.min():
        axes.note(0, float(beside.max()), f"bias {bias:,}", (5, -7))
    else:
        axes.note(0, float(beside.min()), f"bias {bias:,}", (5, 16))
    alt = (
        f"Step curve of {count} partial sums from {sums[0]} to {last}, "
        f"lowest {sums.min()}, highest {sums.max()}"
    )
    return axes.canvas.picture(label, caption, alt)


def accumulator_histogram(
    accumulators: NDArray[np.signedinteger], *, label: str, caption: str
) -> Picture:
    """Draw how often accumulators of each size occur in 80 bins, beside the ends of int16.

    Parameters
    ----------
    accumulators : int32, any shape
        The height of a bar is the logarithm of 1 + its count.
    label, caption
        As for :class:`Picture`.
    """
    values = np.asarray(accumulators, np.int64).ravel()
    low, high = min(INT16[0], int(values.min())), max(INT16[1], int(values.max()))
    counts, edges = np.histogram(values, bins=80, range=(low, high))
    top = math.log10(1 + counts.max()) + 0.6
    axes = _Axes(300, (low, high), (0.0, top), ("accumulator", "count"))
    powers = [10**k for k in range(math.ceil(top)) if math.log10(1 + 10**k) < top]
    bars = steps(axes.x, axes.y, edges.tolist(), np.log10(1.0 + counts).tolist())
    axes.canvas.path(f"{bars}V{axes.bottom}H{LEFT}Z", "accumulator", "none")
    axes.frame([(0.0, "0"), *((math.log10(1 + p), f"{p:,}") for p in powers)])
    for limit in INT16:
        axes.line((limit, 0), (limit, top))
        axes.note(limit, top, f"{limit:,}", (4, 11))
    outside = int(((values < INT16[0]) | (values > INT16[1])).sum())
    alt = (
        f"Histogram of {values.size} accumulators from {values.min()} to {values.max()}; "
        f"{outside} lie outside {INT16[0]}..{INT16[1]}"
    )
    return axes.canvas.picture(label, caption, alt)


def staircase(
    accumulators: NDArray[np.signedinteger],
    codes: NDArray[np.integer],
    multiplier: float,
    zero_point: int,
    *,
    label: str,
    caption: str,
    mark: int,
) -> Picture:
    """Draw output codes over accumulators, with the straight line that they round.

    Parameters
    ----------
    accumulators : int32, ``[K]``, ascending
    codes : int8 or uint8, ``[K]``
        Their requantized values.
    multiplier, zero_point
        The line is ``accumulator * multiplier + zero_point``.
    mark
        One of the accumulators, to point at.
    label, caption
        As for :class:`Picture`.
    """
    acc, rounded = np.asarray(accumulators, np.int64), np.asarray(codes, np.int64)
    first, last = int(acc[0]), int(acc[-1])
    ends = rounded.min() - 3.0, rounded.max() + 3.0
    axes = _Axes(320, (first, last), ends, ("accumulator", "output code"))
    axes.frame()
    start, end = ((at, at * float(multiplier) + zero_point) for at in (first, last))
    axes.line(start, end, "soft")
    changes = np.flatnonzero(np.diff(rounded)) + 1
    edges = [first, *(acc[changes] - 0.5).tolist(), last]
    heights = rounded[[0, *changes.tolist()]].tolist()
    axes.canvas.path(steps(axes.x, axes.y, edges, heights), stroke="activation", width=1.8)
    code = int(rounded[int(np.searchsorted(acc, mark))])
    axes.dot(mark, code, f"{mark:,} → {code}", (10, 18))
    alt = (
        f"Staircase of output codes from {rounded[0]} to {rounded[-1]} "
        f"over accumulators from {first} to {last}"
    )
    return axes.canvas.picture(label, caption, alt)


def number_line(params: QuantParams, *, label: str, caption: str) -> Picture:
    """Draw the real number line with the codes that a quantizer offers, and its two rails.

    Parameters
    ----------
    params : per tensor
        Every thirty-second code is a tick; at the rails and at real 0 its real value is above.
    label, caption
        As for :class:`Picture`.
    """
    scale, zero = float(params.scale), int(params.zero_point)
    low, high = scale * (params.qmin - zero), scale * (params.qmax - zero)
    canvas, middle, left, right = Canvas(WIDTH, 130), 62, 110.0, WIDTH - 110.0
    across = Axis(low, high, left, right)
    canvas.line(8, middle, left, middle, "soft", 1.6, DASH)
    canvas.line(right, middle, WIDTH - 8, middle, "soft", 1.6, DASH)
    canvas.line(left, middle, right, middle, "activation", 4)
    canvas.text(8, middle - 12, "clipped", 12, "start")
    canvas.text(WIDTH - 8, middle - 12, "clipped", 12, "end")
    strong = {params.qmin, zero, params.qmax}
    for code in sorted({*range(params.qmin, params.qmax, 32), *strong}):
        real = scale * (code - zero)
        x = across(real)
        canvas.line(x, middle - 10, x, middle + 10, "ink" if code in strong else "soft")
        weight = 600 if code in strong else 400
        canvas.text(x, middle + 28, minus(code), 13 if code in strong else 11, weight=weight)
        if code in strong:
            canvas.text(x, middle - 18, short(real))
    alt = (
        f"Number line from {low:.4g} to {high:.4g} with codes {params.qmin} to {params.qmax}; "
        f"real 0 has the code {zero}; values outside are clipped"
    )
    return canvas.picture(label, caption, alt)


def round_trip(
    x: NDArray[np.floating],
    error: NDArray[np.floating],
    params: QuantParams,
    *,
    label: str,
    caption: str,
) -> Picture:
    """Draw the error of the round trip over the real value, with the bound of half a scale.

    Parameters
    ----------
    x : float32, ``[K]``, ascending
    error : float32, ``[K]``
        ``dequantize(quantize(x)) - x``.
    params : per tensor
    label, caption
        As for :class:`Picture`.
    """
    half, zero = float(params.scale) / 2, int(params.zero_point)
    ends = float(x[0]), float(x[-1])
    least, most = min(-half, float(error.min())), max(half, float(error.max()))
    span = least - 0.1 * (most - least), most + 0.2 * (most - least)
    axes = _Axes(280, ends, span, ("real value x", "round trip minus x"))
    axes.frame()
    places = zip(x.tolist(), error.tolist(), strict=True)
    curve = "L".join(f"{axes.x(a):.5g} {axes.y(b):.5g}" for a, b in places)
    axes.canvas.path(f"M{curve}", stroke="activation", width=1.3)
    for bound in (-half, half):
        axes.line((ends[0], bound), (ends[1], bound))
    axes.note(ends[0], half, "scale / 2", (5, -6))
    for code, name in ((params.qmin, "x_min"), (params.qmax, "x_max")):
        rail = 2 * half * (code - zero)
        if ends[0] <= rail <= ends[1]:
            axes.line((rail, span[0]), (rail, span[1]), "soft", "")
            axes.note(rail, span[0], name, (5, -6))
    alt = (
        f"Sawtooth of the round-trip error from {ends[0]:.4g} to {ends[1]:.4g}, within "
        f"±{half:.4g} between the rails, largest magnitude {np.abs(error).max():.4g}"
    )
    return axes.canvas.picture(label, caption, alt)
