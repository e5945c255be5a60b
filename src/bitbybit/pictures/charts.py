"""Curves on axes: growing sums, accumulators, requantization, the grid and error of a quantizer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus, short
from bitbybit.model.types import QuantParams

from .picture import Canvas, Picture

INT16 = (-(2**15), 2**15 - 1)
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 76, 18, 14, 46
DASH = "4 3"
Ends = tuple[float, float]
Tick = tuple[float, str]


def round_ticks(ends: Ends, most: int = 7) -> list[Tick]:
    """Return about ``most`` (3 or more) places between two ends: 1, 2 or 5 times 10^k apart.

    Examples
    --------
    >>> round_ticks((-0.3, 0.25), 3)
    [(-0.2, '−0.2'), (0.0, '0'), (0.2, '0.2')]
    """
    low, high = ends
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(unit * m for m in (1, 2, 5, 10) if (high - low) / (unit * m) <= most)
    places = (k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))
    return [(place, minus(f"{place:,.4g}" if step < 1 else f"{place:,.0f}")) for place in places]


class _Axes:
    """A canvas with two axes; ``across`` and ``down`` turn values into places on it."""

    def __init__(self, height: int, x: Ends, y: Ends, names: tuple[str, str]) -> None:
        self.canvas = Canvas(WIDTH, height)
        self.x, self.y = x, y
        self.bottom = height - BOTTOM
        middle = (TOP + self.bottom) / 2
        self.canvas.text((LEFT + WIDTH - RIGHT) / 2, height - 8, names[0])
        self.canvas.text(16, middle, names[1], turned=True)

    def across(self, value: float) -> float:
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        return self.bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.bottom - TOP)

    def frame(self, x_ticks: Sequence[Tick] = (), y_ticks: Sequence[Tick] = ()) -> None:
        """Draw ticks at round values, unless others are given, with a pale line across."""
        for value, text in x_ticks or round_ticks(self.x):
            self.canvas.line(self.across(value), self.bottom, self.across(value), self.bottom + 4)
            self.canvas.text(self.across(value), self.bottom + 18, text, 12)
        for value, text in y_ticks or round_ticks(self.y, 6):
            self.canvas.line(LEFT, self.down(value), WIDTH - RIGHT, self.down(value), width=0.35)
            self.canvas.text(LEFT - 6, self.down(value) + 4, text, 12, "end")
        self.canvas.line(LEFT, TOP, LEFT, self.bottom)
        self.canvas.line(LEFT, self.bottom, WIDTH - RIGHT, self.bottom)

    def steps(self, edges: Sequence[float], heights: Sequence[float]) -> str:
        """Return a path that keeps each height from its edge to the next one."""
        parts = [f"M{self.across(edges[0]):.5g} {self.down(heights[0]):.5g}"]
        for edge, height in zip(edges[1:], heights, strict=True):
            parts.append(f"V{self.down(height):.5g}H{self.across(edge):.5g}")
        return "".join(parts)

    def line(self, start: Ends, end: Ends, colour: str = "ink", dash: str = DASH) -> None:
        (x1, y1), (x2, y2) = start, end
        places = self.across(x1), self.down(y1), self.across(x2), self.down(y2)
        self.canvas.line(*places, colour, dash=dash)

    def dot(self, x: float, y: float, note: str, offset: Ends, anchor: str = "start") -> None:
        """Draw a point, and write beside it."""
        self.canvas.dot(self.across(x), self.down(y), "accumulator")
        self.note(x, y, note, offset, anchor)

    def note(self, x: float, y: float, text: str, offset: Ends, anchor: str = "start") -> None:
        place = self.across(x) + offset[0], self.down(y) + offset[1]
        self.canvas.text(*place, minus(text), 12, anchor)


def partial_sums(
    products: NDArray[np.signedinteger], bias: int = 0, *, label: str, caption: str
) -> Picture:
    """Draw the sum after each product, from the bias to the accumulator.

    Parameters
    ----------
    products : int32, any shape, added in C order
    bias
        The value before the first product.
    label, caption
        As for :class:`Picture`.
    """
    sums = bias + np.concatenate([[0], np.cumsum(np.asarray(products, np.int64).ravel())])
    count, last = len(sums) - 1, int(sums[-1])
    pad = 0.08 * float(np.ptp(sums) or 1)
    ends = float(sums.min()) - pad, float(sums.max()) + pad
    axes = _Axes(300, (0.0, max(count, 1) * 1.1), ends, ("products added", "partial sum"))
    axes.frame()
    path = axes.steps(range(count + 2), sums.tolist())
    axes.canvas.path(path.rpartition("H")[0], stroke="accumulator", width=1.8)
    axes.dot(count, last, f"{last:,}", (9, 4))
    axes.note(0, bias, f"bias {bias:,}", (5, -7))
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
    bars = axes.steps(edges.tolist(), np.log10(1.0 + counts).tolist())
    axes.canvas.path(f"{bars}V{axes.bottom}H{LEFT}Z", "accumulator", "none")
    axes.frame(y_ticks=[(0.0, "0"), *((math.log10(1 + p), f"{p:,}") for p in powers)])
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
    acc, steps = np.asarray(accumulators, np.int64), np.asarray(codes, np.int64)
    first, last = int(acc[0]), int(acc[-1])
    axes = _Axes(
        320, (first, last), (steps.min() - 3.0, steps.max() + 3.0), ("accumulator", "output code")
    )
    axes.frame()
    start, end = ((at, at * float(multiplier) + zero_point) for at in (first, last))
    axes.line(start, end, "soft")
    changes = np.flatnonzero(np.diff(steps)) + 1
    edges = [first, *(acc[changes] - 0.5).tolist(), last]
    heights = steps[[0, *changes.tolist()]].tolist()
    axes.canvas.path(axes.steps(edges, heights), stroke="activation", width=1.8)
    code = int(steps[int(np.searchsorted(acc, mark))])
    axes.dot(mark, code, f"{mark:,} → {code}", (10, 18))
    alt = (
        f"Staircase of output codes from {steps[0]} to {steps[-1]} "
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
    canvas.line(8, middle, left, middle, "soft", 1.6, DASH)
    canvas.line(right, middle, WIDTH - 8, middle, "soft", 1.6, DASH)
    canvas.line(left, middle, right, middle, "activation", 4)
    canvas.text(8, middle - 12, "clipped", 12, "start")
    canvas.text(WIDTH - 8, middle - 12, "clipped", 12, "end")
    strong = {params.qmin, zero, params.qmax}
    for code in sorted({*range(params.qmin, params.qmax, 32), *strong}):
        real = scale * (code - zero)
        x = left + (real - low) / (high - low) * (right - left)
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
    curve = "L".join(f"{axes.across(a):.5g} {axes.down(b):.5g}" for a, b in places)
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
