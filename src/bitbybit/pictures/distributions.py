"""Charts of distributions: histograms, ranges of layers and channels, accuracy over bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import short
from bitbybit.inspection.findings import findings
from bitbybit.inspection.inspected import Inspection, LayerInspection, form_label
from bitbybit.inspection.statistics import Distribution, Histogram

from .charts import Rows
from .picture import Axis, Canvas, Ends, Picture, Tick, source, steps

PANEL, PANEL_HEIGHT = 236, 182
LEFT, RIGHT, TOP, BOTTOM = 6, 44, 34, 40
AXIS = {"weight": "weight", "bias": "bias", "activation": "real value", "codes": "code"}
MOST_TICKS = 3
CELL, HEAD = 38, 86

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

    def ticks(self) -> list[Tick]:
        """Return height and label of at most three round values up to ``top``."""
        if not self.logarithmic:
            found = Axis(0.0, self.top, 0, 1).ticks(MOST_TICKS)[1:]
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
    edges = part.histogram.edges.tolist()
    right, base = left + PANEL - LEFT - RIGHT, PANEL_HEIGHT - BOTTOM
    x, y = Axis(edges[0], edges[-1], left, right), Axis(0.0, scale.top, base, TOP)

    def outline(h: Histogram) -> str:
        return f"M{left:g} {base}L{steps(x, y, edges, scale.heights(h).tolist())[1:]}"

    if part.highlight is not None:
        ends = part.highlight.low, part.highlight.high
        a, b = (x(min(max(end, x.low), x.high)) for end in ends)
        canvas.rect(a, TOP, b - a, base - TOP, "scale", "none", 0.18)
    colour = "accumulator" if part.role == "codes" else part.role
    canvas.path(f"{outline(part.histogram)}V{base}Z", colour, "none", 0)
    if part.outline is not None:
        canvas.path(outline(part.outline), stroke="ink")
    for height, text in scale.ticks():
        canvas.line(left, y(height), right, y(height), "soft", 0.5)
        canvas.text(right + 4, y(height) + 4, text, 11, "start")
    canvas.line(left, base, right, base)
    if x.low < 0 < x.high:
        canvas.line(x(0), base, x(0), base + 4)
        if left + 50 < x(0) < right - 50:  # else it would touch the number at the end
            canvas.text(x(0), base + 16, "0", 11)
    least, greatest = map(short, part.ends or (x.low, x.high))
    canvas.text(left, base + 16, least, 11, "start")
    canvas.text(right, base + 16, greatest, 11, "end")
    canvas.text((left + right) / 2, base + 31, AXIS[part.role], 11)
    canvas.text(left, 12, part.title, 12, "start", weight=600)
    said = _peak(part.histogram) + (", log scale" if scale.logarithmic else "")
    canvas.text(left, 27, said, 11, "start")


def _peak(h: Histogram) -> str:
    if not h.counts.any():
        return "no values"
    at = int(h.counts.argmax())
    return f"tallest bin {int(h.counts[at]):,} = {h.percent[at]:.1f} %"


def weight_ranges(inspection: Inspection, *, label: str, caption: str = "") -> Picture:
    """Draw the weight range of every layer, one row each, float above its own form.

    Parameters
    ----------
    inspection
        The network.
    label, caption
        As for :class:`Picture`; by default the caption says how to read it.

    Notes
    -----
    All rows share one axis. The wider a bar is, the stronger is its colour; the widest layers of
    the findings are marked.
    """
    own = form_label(inspection.model)
    titles = {"FP32", own, f"{own} dequantized"}
    rows = {
        entry.name: _ends(entry, titles) for entry in inspection.layers if entry.weight is not None
    }
    rows = {name: bars for name, bars in rows.items() if bars}
    forms = next(iter(rows.values()), {})
    values = [end for bars in rows.values() for ends in bars.values() for end in ends]
    axis = Axis(min(values, default=0.0), max(values, default=1.0), 0, 1)
    drawn = Rows(
        [name if len(name) <= 21 else f"{name[:9]}…{name[-11:]}" for name in rows],
        axis,
        axis.ticks(),
        pitch=9 * len(forms) + 8,
        title=" above ".join(forms),
    )
    canvas, x = drawn.canvas, drawn.x
    widest = {name for name, _ in findings(inspection).widest}
    for (name, bars), middle in zip(rows.items(), drawn.middles, strict=True):
        for j, (low, high) in enumerate(bars.values()):
            strength = 0.25 + 0.75 * (high - low) / x.span
            role, y = ("weight", "activation")[j % 2], middle + 9 * (j - len(bars) / 2)
            canvas.rect(x(low), y + 1, x(high) - x(low), 7, role, role, strength)
        if name in widest:
            right = x(max(high for _, high in bars.values()))
            canvas.text(right + 6, middle + 4, "◀ wide", 11, "start", weight=600)
    said = caption or (
        "From the least to the greatest weight of each layer: the wider, the stronger the colour; "
        f"◀ marks the widest layers. {source(inspection.model)}"
    )
    last = {name: [*bars.values()][-1] for name, bars in rows.items()}
    alt = "; ".join(f"{name}: {low:.4g} to {high:.4g}" for name, (low, high) in last.items())
    return canvas.picture(label, said, alt)


def _ends(entry: LayerInspection, titles: set[str]) -> dict[str, Ends]:
    """Return the least and the greatest weight of a layer in the forms of these titles."""
    found = {form.title: form.statistics for form in entry.forms("weight")}
    return {
        title: (s.minimum, s.maximum)
        for title, s in found.items()
        if title in titles and s and s.minimum is not None and s.maximum is not None
    }


def channel_ranges(
    title: str,
    low: NDArray[Any],
    high: NDArray[Any],
    *,
    twin: Ranges | None = None,
    role: str = "weight",
    note: str = "",
) -> Canvas:
    """Draw one bar per channel, from its least to its greatest value.

    ``twin``, a second pair of ends, is drawn as a thin line in the middle of each bar. ``note``
    stands below, by default the least and the greatest value of all and 0.
    """
    values = np.concatenate([low, high, *(twin or ()), [0.0]])
    least, greatest = float(values.min()), float(values.max())
    canvas, width, bottom = Canvas(344, 144), 330, 108
    across, y = Axis(0, len(low), 6, width + 6), Axis(least, greatest, bottom, 24)
    bars = "".join(
        f"M{across(i):.4g} {y(a):.4g}V{y(b):.4g}H{across(i + 1) - 1:.4g}V{y(a):.4g}Z"
        for i, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True))
    )
    canvas.text(6, 13, title, 12, "start", weight=600)
    canvas.path(bars, role, "none", 0, 1 if twin is None else 0.45)
    if twin is not None:
        ends = enumerate(zip(twin[0].tolist(), twin[1].tolist(), strict=True))
        lines = [f"M{across(i + 0.5) - 0.5:.4g} {y(a):.4g}V{y(b):.4g}" for i, (a, b) in ends]
        canvas.path("".join(lines), "none", "ink", 0.8)
    canvas.line(6, y(0), width + 6, y(0))
    canvas.text(6, bottom + 15, "channel 0", 11, "start")
    canvas.text(width + 6, bottom + 15, str(len(low) - 1), 11, "end")
    said = note or f"least {short(least)}, greatest {short(greatest)}"
    canvas.text(6, bottom + 31, said, 11, "start")
    return canvas


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
