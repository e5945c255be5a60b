"""Distances from float, layer by layer, and accuracy over bit widths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bitbybit.inspection.histograms import Distribution

from .canvas import Canvas
from .distributions import panels
from .picture import Picture

ROW, NAME_WIDTH, WIDTH = 22, 112, 480
CELL, HEAD = 38, 86


def histograms(
    parts: Sequence[Distribution],
    *,
    label: str,
    caption: str,
    percent: bool = True,
    logarithmic: bool = False,
) -> Picture:
    """Draw histograms side by side with one vertical scale.

    Parameters
    ----------
    parts
        At most three, such as the forms of a weight in an inspection.
    percent
        Scale the bars as shares of their tensor instead of counts.
    logarithmic
        Let the height of a bar be the logarithm of 1 + its count.
    label, caption
        As for :class:`Picture`.
    """
    alt = "; ".join(
        f"{p.title}: {p.histogram.total:,} values from {p.histogram.edges[0]:.4g} "
        f"to {p.histogram.edges[-1]:.4g}"
        for p in parts
    )
    return panels(parts, percent=percent, logarithmic=logarithmic).picture(label, caption, alt)


def noise_chart(rows: Sequence[tuple[str, float, float]], *, label: str, caption: str) -> Picture:
    """Draw for each layer the SQNR that was measured and the one that its own rounding explains.

    Parameters
    ----------
    rows
        Layer, measured SQNR, SQNR from rounding alone; both finite, in dB.
    label, caption
        As for :class:`Picture`.
    """
    canvas = Canvas(WIDTH, 40 + ROW * len(rows) + 26)
    ends = [end for _, *both in rows for end in both] or [0.0, 1.0]
    lowest, highest = 10 * math.floor(min(ends) / 10), 10 * math.floor(max(ends) / 10) + 10
    width = WIDTH - NAME_WIDTH - 40

    def across(value: float) -> float:
        return NAME_WIDTH + (value - lowest) / (highest - lowest) * width

    canvas.text(NAME_WIDTH, 16, "● measured    ○ rounding alone", 12, "start", weight=600)
    bottom = 30 + ROW * len(rows)
    for tick in range(lowest, highest + 1, 10):
        canvas.line(across(tick), 26, across(tick), bottom, "soft", 0.5)
        canvas.text(across(tick), bottom + 16, f"{tick}", 11)
    canvas.text(WIDTH - 4, bottom + 16, "dB", 11, "end")
    for i, (name, found, alone) in enumerate(rows):
        y = 30 + ROW * i + ROW / 2
        canvas.text(NAME_WIDTH - 8, y + 4, name, 12, "end")
        canvas.line(across(found), y, across(alone), y, "accumulator", 1.5)
        canvas.path(_dot(across(alone), y), "none", "activation", 1.8)
        canvas.path(_dot(across(found), y), "accumulator", "accumulator")
    alt = "; ".join(f"{name} {found:.1f} dB, alone {alone:.1f} dB" for name, found, alone in rows)
    return canvas.picture(label, caption, alt)


def _dot(x: float, y: float, radius: float = 4.5) -> str:
    arc = f"a{radius} {radius} 0 1 0"
    return f"M{x - radius:g} {y:g}{arc} {2 * radius} 0{arc} {-2 * radius} 0Z"


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
