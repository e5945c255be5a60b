"""Charts of distributions: histograms, ranges of layers and channels, accuracy over bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import short
from bitbybit.inspection.statistics import Distribution, Histogram

from .charts import round_ticks
from .picture import Canvas, Picture

PANEL, PANEL_HEIGHT = 236, 182
LEFT, RIGHT, TOP, BOTTOM = 6, 44, 34, 40
AXIS = {"weight": "weight", "bias": "bias", "activation": "real value", "codes": "code"}
MOST_TICKS = 3

Bar = tuple[str, float, float]
"""A form of a tensor, its least and its greatest value."""
Ranges = tuple[NDArray[Any], NDArray[Any]]
"""Least and greatest value of each channel."""


@dataclass(frozen=True)
class BarHeight:
    """How high a bar is drawn, the same for all panels of a row.

    Attributes
    ----------
    logarithmic : the logarithm of 1 + its count, instead of its share in per cent
    top : the greatest height
    """

    logarithmic: bool
    top: float = 1.0

    def heights(self, h: Histogram) -> NDArray[Any]:
        """Return the height of each bin, in the unit of ``top``."""
        return np.asarray(np.log10(1.0 + h.counts)) if self.logarithmic else h.percent

    def ticks(self) -> list[tuple[float, str]]:
        """Return height and label of at most three round values up to ``top``."""
        if not self.logarithmic:
            found = round_ticks((0.0, self.top), MOST_TICKS)[1:]
            return [(height, f"{label} %") for height, label in found]
        every = max(1, math.ceil(self.top / MOST_TICKS))
        powers = [10**p for p in range(every, int(self.top) + 1, every)]
        return [(y, f"{p:,}") for p in powers if (y := math.log10(1 + p)) <= self.top]


def histograms(
    parts: Sequence[Distribution], *, label: str, caption: str, logarithmic: bool = False
) -> Picture:
    """Draw histograms side by side with one vertical scale, as shares of their tensor.

    Parameters
    ----------
    parts
        At most three, such as the forms of a weight in an inspection.
    logarithmic
        Let the height of a bar be the logarithm of 1 + its count.
    label, caption
        As for :class:`Picture`.
    """
    canvas = Canvas(PANEL * len(parts) + LEFT, PANEL_HEIGHT)
    scale = common_scale(parts, logarithmic=logarithmic)
    for i, part in enumerate(parts):
        draw_panel(canvas, LEFT + i * PANEL, part, scale)
    return canvas.picture(label, caption, "; ".join(map(described, parts)))


def described(part: Distribution) -> str:
    """Say in words what a panel shows."""
    edges = part.histogram.edges
    ends = f"between {edges[0]:.4g} and {edges[-1]:.4g}"
    return f"{part.title}: {part.histogram.total:,} values {ends}"


def common_scale(parts: Sequence[Distribution], *, logarithmic: bool) -> BarHeight:
    """Return the scale on which the tallest bin of all panels reaches the top."""
    scale = BarHeight(logarithmic)
    drawn = [h for p in parts for h in (p.histogram, p.outline) if h is not None]
    tops = [float(scale.heights(h).max(initial=0)) for h in drawn]
    return replace(scale, top=max(tops, default=0.0) or 1.0)


def draw_panel(canvas: Canvas, left: float, part: Distribution, scale: BarHeight) -> None:
    """Draw one histogram with its axes, its highlighted range and its title."""
    width, height = PANEL - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
    edges = part.histogram.edges
    low, high = float(edges[0]), float(edges[-1])
    base = TOP + height

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * width

    def outline(h: Histogram) -> str:
        places = [across(float(edge)) for edge in edges]
        return _steps(places, base - scale.heights(h) * (height / scale.top), base)

    if part.highlight is not None:
        a, b = np.clip([part.highlight.low, part.highlight.high], low, high).tolist()
        canvas.rect(across(a), TOP, across(b) - across(a), height, "scale", "none", 0.18)
    colour = "accumulator" if part.role == "codes" else part.role
    canvas.path(f"{outline(part.histogram)}V{base:g}Z", colour, "none", 0)
    if part.outline is not None:
        canvas.path(outline(part.outline), stroke="ink")
    for value, label in scale.ticks():
        y = base - value / scale.top * height
        canvas.line(left, y, left + width, y, "soft", 0.5)
        canvas.text(left + width + 4, y + 4, label, 11, "start")
    _horizontal_axis(canvas, left, base, part, across)
    said = _peak(part.histogram) + (", log scale" if scale.logarithmic else "")
    canvas.text(left, 12, part.title, 12, "start", weight=600)
    canvas.text(left, 27, said, 11, "start")


def _horizontal_axis(
    canvas: Canvas, left: float, base: float, part: Distribution, across: Callable[[float], float]
) -> None:
    edges = part.histogram.edges
    low, high = float(edges[0]), float(edges[-1])
    right = across(high)
    canvas.line(left, base, right, base)
    if low < 0 < high:
        canvas.line(across(0), base, across(0), base + 4)
        if left + 50 < across(0) < right - 50:  # else it would touch the number at the end
            canvas.text(across(0), base + 16, "0", 11)
    first, last = (short(end) for end in part.ends or (low, high))
    canvas.text(left, base + 16, first, 11, "start")
    canvas.text(right, base + 16, last, 11, "end")
    canvas.text((left + right) / 2, base + 31, AXIS[part.role], 11)


def _peak(h: Histogram) -> str:
    if not h.counts.any():
        return "no values"
    at = int(h.counts.argmax())
    return f"tallest bin {int(h.counts[at]):,} = {h.percent[at]:.1f} %"


def _steps(places: Sequence[float], tops: NDArray[Any], base: float) -> str:
    """Return the outline of bars as a path that begins on the base line."""
    parts = [f"M{places[0]:.4g} {base:g}"]
    for right, top in zip(places[1:], tops.tolist(), strict=True):
        parts.append(f"V{top:.4g}H{right:.4g}")
    return "".join(parts)


def range_rows(rows: Sequence[tuple[str, Sequence[Bar]]], widest: Sequence[str]) -> Canvas:
    """Draw one row per layer with a bar from least to greatest weight for each form.

    Parameters
    ----------
    rows
        Layer name and its bars (form, least and greatest value), in the same order in every row.
    widest
        Layers to mark.

    Notes
    -----
    All rows share one axis. The wider a bar is, the stronger is its colour.
    """
    per_bar, gap, name_width = 9, 8, 150
    row_height = per_bar * max((len(bars) for _, bars in rows), default=1) + gap
    canvas = Canvas(720, 30 + row_height * len(rows) + 22)
    ends = [end for _, bars in rows for _, *both in bars for end in both]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    span = (high - low) or 1.0
    width = 720 - name_width - 70

    def across(value: float) -> float:
        return name_width + (value - low) / span * width

    forms = [form for form, *_ in rows[0][1]] if rows else []
    canvas.text(name_width, 14, " above ".join(forms), 12, "start", weight=600)
    bottom = 24 + row_height * len(rows)
    if low <= 0 <= high:
        canvas.line(across(0), 22, across(0), bottom)
        canvas.text(across(0), bottom + 16, "0", 11)
    canvas.text(name_width, bottom + 16, short(low), 11, "start")
    canvas.text(name_width + width, bottom + 16, short(high), 11, "end")
    for i, (name, bars) in enumerate(rows):
        top = 26 + i * row_height
        shown = name if len(name) <= 21 else f"{name[:9]}…{name[-11:]}"
        canvas.text(name_width - 8, top + row_height / 2 + 1, shown, 12, "end")
        for j, (_, least, greatest) in enumerate(bars):
            length, share = across(greatest) - across(least), (greatest - least) / span
            y = top + j * per_bar
            role = "weight" if j % 2 == 0 else "activation"
            canvas.rect(across(least), y, length, per_bar - 2, role, role, 0.25 + 0.75 * share)
        if name in widest:
            right = across(max(greatest for *_, greatest in bars))
            canvas.text(right + 6, top + row_height / 2 + 1, "◀ wide", 11, "start", weight=600)
    return canvas


def channel_ranges(
    low: NDArray[Any],
    high: NDArray[Any],
    title: str,
    twin: Ranges | None = None,
) -> Canvas:
    """Draw the range of values of each channel as a bar from least to greatest.

    ``twin``, a second pair of ends, is drawn as a thin line in the middle of each bar.
    """
    least, greatest = _ends(low, high, twin)
    return _channels(low, high, title, "weight", {"least": least, "greatest": greatest}, twin)


def channel_bars(values: NDArray[Any], title: str) -> Canvas:
    """Draw one bar per channel, from 0; least, median and greatest are written below."""
    peak = float(values.max())
    notes = {"least": float(values.min()), "median": float(np.median(values)), "greatest": peak}
    return _channels(np.zeros(len(values)), values, title, "scale", notes)


def _ends(low: NDArray[Any], high: NDArray[Any], twin: Ranges | None) -> tuple[float, float]:
    """Return the least and the greatest value of all channels of both networks, and 0."""
    others = [] if twin is None else [*twin]
    values = np.concatenate([low, high, *others, [0.0]])
    return float(values.min()), float(values.max())


def _channels(
    low: NDArray[Any],
    high: NDArray[Any],
    title: str,
    role: str,
    notes: Mapping[str, float],
    twin: Ranges | None = None,
) -> Canvas:
    canvas = Canvas(344, 144)
    width, height, top = 330, 84, 24
    least, greatest = _ends(low, high, twin)
    span = (greatest - least) or 1.0
    step = width / len(low)

    def down(value: float) -> float:
        return top + (greatest - value) / span * height

    parts = [
        f"M{i * step + 6:.4g} {down(a):.4g}V{down(b):.4g}H{(i + 1) * step + 5:.4g}V{down(a):.4g}Z"
        for i, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True))
    ]
    canvas.text(6, 13, title, 12, "start", weight=600)
    canvas.raw(f'<g style="fill-opacity:{1 if twin is None else 0.45}">')
    canvas.path("".join(parts), role, "none", 0)
    canvas.raw("</g>")
    if twin is not None:
        both = enumerate(zip(twin[0].tolist(), twin[1].tolist(), strict=True))
        lines = [f"M{(i + 0.5) * step + 5.5:.4g} {down(a):.4g}V{down(b):.4g}" for i, (a, b) in both]
        canvas.path("".join(lines), "none", "ink", 0.8)
    canvas.line(6, down(0), width + 6, down(0))
    canvas.text(6, top + height + 15, "channel 0", 11, "start")
    canvas.text(width + 6, top + height + 15, str(len(low) - 1), 11, "end")
    said = ", ".join(f"{word} {short(value)}" for word, value in notes.items())
    canvas.text(6, top + height + 31, said, 11, "start")
    return canvas


CELL, HEAD = 38, 86


def accuracy_map(cells: Mapping[tuple[int, int], float], *, label: str, caption: str) -> Picture:
    """Draw a table of percentages over weight bits (rows) and activation bits (columns).

    Parameters
    ----------
    cells
        (weight bits, activation bits) → per cent, 0 to 100; the higher, the darker.
    label, caption
        As for :class:`Picture`.
    """
    rows, columns = sorted({w for w, _ in cells}), sorted({a for _, a in cells})
    height = CELL * 0.72
    canvas = Canvas(round(HEAD + CELL * len(columns) + 2), round(46 + height * len(rows) + 8))
    canvas.text(HEAD + CELL * len(columns) / 2, 14, "activation bits", 12, weight=600)
    canvas.text(HEAD - 10, 34, "weight bits", 12, "end", weight=600)
    for j, activation in enumerate(columns):
        canvas.text(HEAD + CELL * (j + 0.5), 34, activation, 12)
    for i, weight in enumerate(rows):
        top = 42 + height * i
        canvas.text(HEAD - 10, top + height / 2 + 4, weight, 12, "end")
        for j, activation in enumerate(columns):
            value = cells.get((weight, activation))
            if value is None:
                continue
            left = HEAD + CELL * j
            tint = 0.06 + 0.5 * (value / 100) ** 3
            canvas.rect(left, top, CELL - 2, height - 2, "activation", "none", tint)
            canvas.text(left + CELL / 2 - 1, top + height / 2 + 4, f"{value:.1f}", 12)
    alt = "; ".join(
        f"{w} weight and {a} activation bits: {value:.1f} %" for (w, a), value in cells.items()
    )
    return canvas.picture(label, caption, alt)
