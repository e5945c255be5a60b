"""To compare: a right map with wrong ones, and numbers on one axis."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import short, shown

from .charts import Rows
from .picture import Axis, Canvas, Picture, Tick
from .tensor_images import levels, png_address

SIDE, CARD, GAP, HEAD, COLUMNS = 108, 240, 8, 38, 3
MARKS = "●○■□"

Map = NDArray[np.number[Any]]


def mistakes(
    right: Map,
    wrong: Mapping[str, Map],
    *,
    notes: Mapping[str, str],
    label: str,
    caption: str,
) -> Picture:
    """Draw a right map and, for each mistake, the wrong map and what it differs by.

    Parameters
    ----------
    right : ``[H, W]``
        ``q - zero_point`` or real values. Diverging colours if any is negative, else sequential;
        its largest magnitude takes the last colour.
    wrong
        Mistake → map of the same shape, in the colours of the right one.
    notes
        Mistake → what stands below its maps, such as the class that the network says then; "" in
        ``notes`` is for the right one.
    label, caption
        As for :class:`Picture`.

    Raises
    ------
    ValueError
        A map has another shape than the right one.

    Notes
    -----
    A difference has colours of its own, from its largest magnitude; the pale one says equal.
    """
    signed, top = bool((right < 0).any()), float(np.abs(right).max(initial=0))
    cards = _Cards(1 + len(wrong), right.shape)
    told = [cards.write(0, "right", notes.get("", ""))]
    cards.draw(0, 0, levels(right, top, diverging=signed), diverging=signed)
    for at, (name, made) in enumerate(wrong.items(), 1):
        if made.shape != right.shape:
            raise ValueError(f"{label}: {name} has shape {made.shape}, not {right.shape}")
        difference = made.astype(np.float64) - right
        most, changed = float(np.abs(difference).max(initial=0)), int((difference != 0).sum())
        cards.draw(at, 0, levels(made, top, diverging=signed), diverging=signed)
        cards.draw(at, 1, levels(difference, most, diverging=True), diverging=True)
        said = f"{changed:,} of {right.size:,} differ, by up to {short(most)}"
        told.append(cards.write(at, name, said, notes.get(name, "")))
    return cards.canvas.picture(label, caption, ". ".join(told))


class _Cards:
    """A canvas with cards in rows, each with a title, one or two maps and two lines."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        unit = SIDE / max(shape)
        self.height, self.width = (unit * size for size in shape)
        self.row = round(self.height) + HEAD + 44
        self.canvas = Canvas(CARD * COLUMNS, self.row * -(-count // COLUMNS))

    def corner(self, at: int) -> tuple[int, int]:
        return at % COLUMNS * CARD + 2, at // COLUMNS * self.row

    def write(self, at: int, title: str, *lines: str) -> str:
        """Write above and below the maps of a card; return all of it."""
        left, top = self.corner(at)
        for i, line in enumerate(reversed(textwrap.wrap(title.replace("`", ""), 30)[:2])):
            self.canvas.text(left, top + HEAD - 6 - 15 * i, line, 12.5, "start", weight=600)
        for i, line in enumerate(filter(None, lines)):
            self.canvas.text(left, top + HEAD + self.height + 15 * (i + 1), line, 12, "start")
        return ": ".join((title, ", ".join(filter(None, lines))))

    def draw(self, at: int, place: int, entries: NDArray[np.uint8], *, diverging: bool) -> None:
        """Draw the first or second map of a card without smoothing."""
        left, top = self.corner(at)
        self.canvas.image(
            left + place * (SIDE + GAP), top + HEAD, self.width, self.height,
            png_address(entries, diverging=diverging),
        )  # fmt: skip


def dots(
    rows: Sequence[tuple[Any, ...]],
    series: Sequence[str],
    *,
    unit: str = "",
    logarithmic: bool = False,
    label: str,
    caption: str,
) -> Picture:
    """Draw numbers as marks on one axis, a row for each name and a mark for each series.

    Parameters
    ----------
    rows
        Name, then for each of ``series`` one finite number, or None where there is none; a line
        joins the least and the greatest of a row.
    series
        One to four names, in the order of the marks; the numbers of a single one are written too.
    unit
        What stands at the end of the axis.
    logarithmic
        Count in powers of ten from the least number above 0; zeros stand left of all.
    label, caption
        As for :class:`Picture`.
    """
    values = [float(value) for _, *numbers in rows for value in numbers if value is not None]
    low, high = _span(values)
    axis = Axis(low, high, 0, 1)
    ticks = axis.ticks()
    if logarithmic:
        ticks = _powers(values)
        axis = replace(axis, low=ticks[0][0], high=ticks[-1][0])
    names = "\u2003".join(map(" ".join, zip(MARKS, series, strict=False)))
    title = names if len(series) > 1 else ""
    drawn = Rows([str(name) for name, *_ in rows], axis, ticks, pitch=22, title=title)
    canvas = drawn.canvas
    canvas.text(canvas.width - 4, canvas.height - 13, unit, 12, "end")
    for (_, *numbers), y in zip(rows, drawn.middles, strict=True):
        marked = [(m, v) for m, v in zip(MARKS, numbers, strict=False) if v is not None]
        places = [drawn.x(_power(v, axis.low) if logarithmic else v) for _, v in marked]
        if len(places) > 1:
            canvas.line(min(places), y, max(places), y, "soft", 1.5)
        for (mark, _), x in reversed([*zip(marked, places, strict=True)]):
            _mark(canvas, mark, x, y)
        if len(series) == 1 and marked:
            canvas.text(places[0] + 10, y + 4, _said(numbers[0]), 12, "start")
    alt = "; ".join(f"{name} {', '.join(map(_said, numbers))}" for name, *numbers in rows)
    return canvas.picture(label, caption, f"{', '.join(series)}: {alt}")


def _mark(canvas: Canvas, mark: str, x: float, y: float) -> None:
    """Draw a full or an empty circle or square; none has the colour of a kind of tensor."""
    fill = "ink" if mark in "●■" else "var(--pst-color-background, #fff)"
    if mark in "●○":
        canvas.dot(x, y, "ink", fill)
    else:
        canvas.rect(x - 4, y - 4, 8, 8, fill, "ink", line=1.8)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return round ends around values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    return step * math.floor(low / step), step * math.ceil(high / step + 0.01)


def _powers(values: Sequence[float]) -> list[Tick]:
    """Return powers of ten around values as ticks; left of them 0, where it is among them."""
    logs = [math.log10(value) for value in values if value > 0] or [0.0]
    first, last = math.floor(min(logs)), math.floor(max(logs)) + 1
    zero = [(first - 1.0, "0")] if min(values, default=1.0) <= 0 else []
    every = 1 + (last - first) // 6
    said = {k: _said(10**k if k >= 0 else 10.0**k) for k in range(first, last + 1, every)}
    return [*zero, *((float(k), said.get(k, "")) for k in range(first, last + 1))]


def _power(value: float, zero: float) -> float:
    """Return the place of a value among powers of ten."""
    return math.log10(value) if value > 0 else zero


def _said(value: Any) -> str:
    """Write an integer in full, a real number with four digits."""
    return short(value) if isinstance(value, float) else shown(value)
