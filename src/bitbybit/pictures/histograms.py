"""Small charts of distributions: histograms side by side, ranges of all layers, channel scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.inspection.histograms import Histogram
from bitbybit.inspection.statistics import ValueRange

from .canvas import Canvas

PANEL, PANEL_HEIGHT = 226, 168
LEFT, TOP, BOTTOM = 6, 34, 26


@dataclass(frozen=True, eq=False)
class Panel:
    """One histogram with its title and the role that gives its colour.

    Attributes
    ----------
    title : what is counted
    histogram : over the same edges as its neighbours
    role : ``"weight"``, ``"bias"`` or ``"activation"``
    outline : a second histogram over the same edges, drawn as a line; None for none
    """

    title: str
    histogram: Histogram
    role: str
    outline: Histogram | None = None


def panels(
    parts: Sequence[Panel], *, percent: bool = False, highlight: ValueRange | None = None
) -> Canvas:
    """Draw histograms side by side with one vertical scale.

    Parameters
    ----------
    parts
        One or more panels over the same edges.
    percent
        Scale the bars as shares instead of counts.
    highlight
        A range of values to mark in every panel.
    """
    canvas = Canvas(PANEL * len(parts) + LEFT, PANEL_HEIGHT)
    top = max(
        float(_heights(h, percent=percent).max(initial=0))
        for p in parts
        for h in (p.histogram, p.outline)
        if h is not None
    )
    for i, part in enumerate(parts):
        _panel(canvas, LEFT + i * PANEL, part, top or 1.0, percent=percent, highlight=highlight)
    return canvas


def _heights(h: Histogram, *, percent: bool) -> NDArray[Any]:
    return h.percent if percent else h.counts


def _panel(
    canvas: Canvas, left: float, part: Panel, top: float, *, percent: bool,
    highlight: ValueRange | None,
) -> None:  # fmt: skip
    width, height = PANEL - 14, PANEL_HEIGHT - TOP - BOTTOM
    edges = part.histogram.edges
    low, high = float(edges[0]), float(edges[-1])

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * width

    base = TOP + height
    if highlight is not None:
        a, b = np.clip([highlight.low, highlight.high], low, high)
        canvas.rect(across(a), TOP, across(b) - across(a), height, "scale", "none", 0.18)
    bars = _steps(part.histogram, edges, across, base, height / top, percent=percent)
    canvas.path(f"{bars}V{base:g}Z", part.role, "none", 0)
    if part.outline is not None:
        canvas.path(
            _steps(part.outline, edges, across, base, height / top, percent=percent), stroke="ink"
        )
    canvas.line(left, base, left + width, base)
    if low < 0 < high:
        canvas.line(across(0), base, across(0), base + 4)
        canvas.text(across(0), base + 16, "0", 11)
    canvas.text(left, base + 16, short(low), 11, "start")
    canvas.text(left + width, base + 16, short(high), 11, "end")
    canvas.text(left, 12, part.title, 12, "start", weight=600)
    canvas.text(left, 27, _peak(part.histogram), 11, "start", "ink")


def _peak(h: Histogram) -> str:
    if not h.counts.any():
        return "no values"
    at = int(h.counts.argmax())
    return f"tallest bin {int(h.counts[at]):,} = {h.percent[at]:.1f} %"


def _steps(
    h: Histogram, edges: NDArray[np.float64], across: Any, base: float, unit: float, *,
    percent: bool,
) -> str:  # fmt: skip
    """Return the outline of the bars as a path that begins and ends on the base line."""
    heights = _heights(h, percent=percent)
    parts = [f"M{across(edges[0]):.4g} {base:g}"]
    for right, value in zip(edges[1:], heights, strict=True):
        parts.append(f"V{base - float(value) * unit:.4g}H{across(float(right)):.4g}")
    return "".join(parts)


@dataclass(frozen=True)
class Bar:
    """A range of values in a row: ``low..high`` of one form of the layer's weights."""

    form: str
    low: float
    high: float


def range_rows(rows: Sequence[tuple[str, Sequence[Bar]]], widest: Sequence[str]) -> Canvas:
    """Draw one row per layer with a bar from least to greatest weight for each form.

    Parameters
    ----------
    rows
        Layer name and its bars, the forms in the same order in every row.
    widest
        Layers to mark.

    Notes
    -----
    All rows share one axis.  The wider a bar is, the darker it is drawn.
    """
    per_bar, gap, name_width = 9, 8, 150
    row_height = per_bar * max((len(bars) for _, bars in rows), default=1) + gap
    canvas = Canvas(720, 30 + row_height * len(rows) + 22)
    ends = [end for _, bars in rows for bar in bars for end in (bar.low, bar.high)]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    span = (high - low) or 1.0
    width = 720 - name_width - 70

    def across(value: float) -> float:
        return name_width + (value - low) / span * width

    forms = [bar.form for bar in rows[0][1]] if rows else []
    canvas.text(name_width, 14, " above ".join(forms), 12, "start", weight=600)
    bottom = 24 + row_height * len(rows)
    if low <= 0 <= high:
        canvas.line(across(0), 22, across(0), bottom)
        canvas.text(across(0), bottom + 16, "0", 11)
    canvas.text(name_width, bottom + 16, short(low), 11, "start")
    canvas.text(name_width + width, bottom + 16, short(high), 11, "end")
    for i, (name, bars) in enumerate(rows):
        top = 26 + i * row_height
        canvas.text(name_width - 8, top + row_height / 2 + 1, name, 12, "end")
        for j, bar in enumerate(bars):
            length = across(bar.high) - across(bar.low)
            share = (bar.high - bar.low) / span
            y = top + j * per_bar
            role = "weight" if j % 2 == 0 else "activation"
            canvas.rect(across(bar.low), y, length, per_bar - 2, role, role, 0.25 + 0.75 * share)
        if name in widest:
            right = across(max(bar.high for bar in bars))
            canvas.text(right + 6, top + row_height / 2 + 1, "◀ wide", 11, "start", weight=600)
    return canvas


def channel_bars(values: NDArray[Any], title: str) -> Canvas:
    """Draw one bar per channel, from 0; least, median and greatest are written beside."""
    canvas = Canvas(460, 128)
    width, height, top = 330, 84, 24
    peak = float(values.max()) or 1.0
    step = width / len(values)
    parts = []
    for i, value in enumerate(values.tolist()):
        y = top + height - value / peak * height
        parts.append(
            f"M{i * step + 6:.4g} {top + height}V{y:.4g}H{(i + 1) * step + 5:.4g}V{top + height}Z"
        )
    canvas.text(6, 13, title, 12, "start", weight=600)
    canvas.path("".join(parts), "scale", "none", 0)
    canvas.line(6, top + height, width + 6, top + height)
    canvas.text(6, top + height + 15, "channel 0", 11, "start")
    canvas.text(width + 6, top + height + 15, str(len(values) - 1), 11, "end")
    median = float(np.median(values))
    notes = (("greatest", peak), ("median", median), ("least", float(values.min())))
    for i, (word, value) in enumerate(notes):
        canvas.text(width + 16, top + 14 + 24 * i, f"{word} {short(value)}", 11, "start")
    return canvas


def short(value: float) -> str:
    """Write a number for an axis: four significant digits, a wide minus."""
    return f"{value:.4g}".replace("-", "−")
