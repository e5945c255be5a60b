"""An addition of quantized tensors: three grids on one axis, and all pairs of codes at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus
from bitbybit.model.types import QuantParams

from .picture import Axis, Canvas, Picture
from .tensor_images import LEVELS, png_address

SIDE, LEFT, TOP = 448, 84, 16
"""Side of the map and its place, in CSS pixels; 256 codes share a side."""

MOST_TICKS = 160

Operand = tuple[str, QuantParams, int]


def rulers(a: Operand, b: Operand, c: Operand, *, label: str, caption: str) -> Picture:
    """Draw the grids of two operands and of their sum on one real axis, with one addition.

    Parameters
    ----------
    a, b, c
        Name, parameters (per tensor) and code of the operands and of the result.
    label, caption
        As for :class:`Picture`.
    """
    reals = [float(p.scale) * (code - int(p.zero_point)) for _, p, code in (a, b, c)]
    total = reals[0] + reals[1]
    low, high = min(0.0, total, *reals), max(0.0, total, *reals)
    low, high = low - 0.06 * (high - low or 1.0), high + 0.06 * (high - low or 1.0)
    canvas, x = Canvas(720, 320), Axis(low, high, 140, 700)
    canvas.line(x(0.0), 40, x(0.0), 296, dash="3 3")
    canvas.text(x(0.0), 312, "real 0")
    for top, (name, params, code), real in zip((60, 150, 250), (a, b, c), reals, strict=True):
        _ruler(canvas, top, params, x)
        canvas.text(8, top - 2, name, anchor="start", weight=600)
        canvas.text(8, top + 16, f"scale {float(params.scale):.5f}", anchor="start")
        canvas.line(x(real), top - 2, x(real), top + 16, "ink", 2.5)
        canvas.text(x(real), top + 32, minus(code), weight=600)
    canvas.arrow(x(0.0), 50, x(reals[0]), 50, "activation")
    canvas.arrow(x(0.0), 140, x(reals[1]), 140, "accumulator")
    canvas.arrow(x(0.0), 240, x(reals[0]), 240, "activation")
    canvas.arrow(x(reals[0]), 232, x(total), 232, "accumulator")
    canvas.line(x(total), 222, x(total), 250, "ink", 1.0)
    alt = (
        f"Three rulers with different spacings on one real axis: {a[0]} code {a[2]} is "
        f"{reals[0]:.4g}, {b[0]} code {b[2]} is {reals[1]:.4g}; their sum {total:.4g} lies next to "
        f"code {c[2]} of {c[0]}, which is {reals[2]:.4g}"
    )
    return canvas.picture(label, caption, alt)


def _ruler(canvas: Canvas, top: float, p: QuantParams, x: Axis) -> None:
    """Draw the codes of one tensor that lie on the axis, as ticks on a line."""
    scale, zero = float(p.scale), int(p.zero_point)
    first = max(p.qmin, int(np.ceil(x.low / scale)) + zero)
    last = min(p.qmax, int(np.floor(x.high / scale)) + zero)
    step = -(-max(last - first + 1, 1) // MOST_TICKS)
    codes = [code for code in range(first, last + 1) if (code - zero) % step == 0]
    places = [x(scale * (code - zero)) for code in codes]
    if places:
        canvas.line(places[0], top, places[-1], top, "soft", 1.5)
    ticks = "".join(f"M{place:.1f} {top:g}v10" for place in places)
    canvas.path(ticks, stroke="activation", width=1.0)


def add_table(
    table: NDArray[np.integer],
    *,
    label: str,
    caption: str,
    names: tuple[str, str] = ("a", "b"),
    mark: tuple[int, int] | None = None,
) -> Picture:
    """Draw the sum of every pair of codes as one pixel; lines bound what is on a rail.

    Parameters
    ----------
    table : int8 or uint8, ``[256, 256]``
        ``table[a - qmin, b - qmin]``, as :func:`bitbybit.arithmetic.add_table` makes it.
    names
        The operands: of the horizontal and of the vertical axis.
    mark : codes ``(a, b)``
        A pair to point at.
    label, caption
        As for :class:`Picture`.
    """
    codes = np.asarray(table)
    low, high = np.iinfo(codes.dtype.name).min, np.iinfo(codes.dtype.name).max
    x = Axis(low - 0.5, high + 0.5, LEFT, LEFT + SIDE)
    y = Axis(low - 0.5, high + 0.5, TOP + SIDE, TOP)
    canvas = Canvas(720, TOP + SIDE + 56)
    counts = [int((codes == rail).sum()) for rail in (low, high)]
    _map(canvas, codes.T[::-1].astype(np.int64) - low, LEFT, SIDE)
    _rail(canvas, x, y, (codes == low).sum(axis=1))
    _rail(canvas, x, y, 256 - (codes == high).sum(axis=1))
    for tick in (low, low + 128, high):
        canvas.line(x(tick), TOP + SIDE, x(tick), TOP + SIDE + 5)
        canvas.text(x(tick), TOP + SIDE + 20, minus(tick))
        canvas.line(LEFT - 5, y(tick), LEFT, y(tick))
        canvas.text(LEFT - 9, y(tick) + 4, minus(tick), anchor="end")
    canvas.text(LEFT + SIDE / 2, TOP + SIDE + 42, f"code of {names[0]}")
    canvas.text(LEFT - 52, TOP + SIDE / 2, f"code of {names[1]}", turned=True)
    _bar(canvas, low, counts)
    if mark is not None:
        a, b = mark
        canvas.dot(x(a), y(b), "#ffffff", "none", 8.2)
        canvas.dot(x(a), y(b), "#000000", "none", 7)
        said = "circle", f"{a}, {b}", f"gives {codes[a - low, b - low]}"
        for i, line in enumerate(map(minus, said)):
            place = LEFT + SIDE + 52, TOP + SIDE * 0.72 + 18 * i
            canvas.text(*place, line, anchor="start")
    alt = (
        f"Map of all {codes.size:,} pairs of codes, brighter where the sum is larger: "
        f"{counts[0]:,} pairs give {low}, {counts[1]:,} give {high}"
    )
    return canvas.picture(label, caption, alt)


def _map(canvas: Canvas, steps: NDArray[np.int64], left: float, width: float) -> None:
    """Place pixels of 0..255 as an image as high as the map."""
    entries = np.rint(steps * ((LEVELS - 1) / 255)).astype(np.uint8)
    canvas.image(left, TOP, width, SIDE, png_address(entries, diverging=False))


def _rail(canvas: Canvas, x: Axis, y: Axis, below: NDArray[np.integer]) -> None:
    """Draw where the map leaves a rail: of each a, ``below`` codes of b lie under the line."""
    steps = ""
    for i in np.flatnonzero((below > 0) & (below < 256)).tolist():
        height = y(y.low + int(below[i]))
        start = f"V{height:g}" if steps else f"M{x(x.low + i):g} {height:g}"
        steps += f"{start}h{SIDE / 256:g}"
    if steps:
        canvas.path(steps, stroke="#ffffff", width=3.5)
        canvas.path(steps, stroke="#000000", width=1.5)


def _bar(canvas: Canvas, low: int, counts: list[int]) -> None:
    """Draw the key of the colours, with the number of pairs at each rail."""
    left = LEFT + SIDE + 28
    _map(canvas, np.arange(255, -1, -1)[:, None], left, 16)
    for tick, share in ((low, 1), (low + 128, 0.5), (low + 255, 0)):
        canvas.text(left + 24, TOP + 4 + SIDE * share, minus(tick), anchor="start", weight=600)
    canvas.text(left + 24, TOP + SIDE - 14, f"{counts[0]:,} pairs", anchor="start")
    canvas.text(left + 24, TOP + 22, f"{counts[1]:,} pairs", anchor="start")
