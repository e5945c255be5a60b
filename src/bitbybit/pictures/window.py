"""The window of one output pixel: every product that its accumulator sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import shown

from .picture import Canvas, Picture

CELL = 44
PRODUCT_CELL = 66
GAP = 34
TOP = 34
MOST_CHANNELS = 4


def window(
    x: NDArray[np.signedinteger],
    w: NDArray[np.signedinteger],
    bias: int | None = None,
    *,
    label: str,
    caption: str,
) -> Picture:
    """Draw three columns of grids, x - x_zp, w - w_zp and their products, one row per channel.

    Of a window with more than four channels the first four are drawn; the sum has them all.

    Parameters
    ----------
    x : int32, ``[C, kH, kW]``, -255..255
        Input codes under the window, zero point subtracted.
    w : int32, ``[C, kH, kW]``, -255..255
        Weights of the output channel, zero point subtracted.
    bias
        Added after the products, if given.
    label, caption
        As for :class:`Picture`.

    Raises
    ------
    ValueError
        If the shapes differ, or are not those of a window.
    """
    x, w = np.asarray(x, np.int32), np.asarray(w, np.int32)
    if x.shape != w.shape or x.ndim != 3:
        raise ValueError(f"window: shapes {x.shape} and {w.shape}; expected twice [C, kH, kW]")
    products = x * w
    channels, height, width = min(len(x), MOST_CHANNELS), *x.shape[1:]
    second = width * CELL + GAP
    third = 2 * second
    end = third + width * PRODUCT_CELL
    canvas = Canvas(end + 96, TOP + channels * (height * CELL + GAP) + 26)
    columns = (
        (1, CELL, "x − x_zero_point", x, "activation"),
        (second, CELL, "w − w_zero_point", w, "weight"),
        (third, PRODUCT_CELL, "product", products, "accumulator"),
    )
    for left, cell, title, values, role in columns:
        canvas.text(left + width * cell / 2, 18, title, weight=600)
        for channel in range(channels):
            top = TOP + channel * (height * CELL + GAP)
            _grid(canvas, (left, top), cell, values[channel], role)
    for channel, values in enumerate(products[:channels]):
        middle = TOP + channel * (height * CELL + GAP) + height * CELL / 2 + 5
        canvas.text(second - GAP / 2, middle, "×", 18)
        canvas.text(third - GAP / 2, middle, "=", 18)
        canvas.text(end + 10, middle, f"Σ {shown(values.sum())}", anchor="start", weight=600)
    total = int(products.sum()) + (bias or 0)
    added = "" if bias is None else f"  {'+' if bias >= 0 else '−'} bias {abs(bias):,}"
    sums = " + ".join(shown(part.sum()) for part in products[:channels])
    if len(products) > channels:
        rest = products[channels:]
        sums += f" + {shown(rest.sum())} of {len(rest)} more channels"
    line = f"{sums}{added}  =  {shown(total)}"
    canvas.text(canvas.width - 4, canvas.height - 12, line, 14, "end", weight=600)
    alt = f"{products.size} products of input codes and weights that add up to {total}"
    return canvas.picture(label, caption, alt)


def _grid(
    canvas: Canvas, corner: tuple[float, float], cell: int, values: NDArray[np.int32], role: str
) -> None:
    """Draw numbers in cells whose tint grows with their size."""
    largest = max(int(np.abs(values).max()), 1)
    for (row, column), number in np.ndenumerate(values):
        left, top = corner[0] + column * cell, corner[1] + row * CELL
        tint = 0.05 + 0.4 * abs(int(number)) / largest
        canvas.rect(left, top, cell, CELL, role, opacity=tint)
        canvas.text(left + cell / 2, top + CELL / 2 + 4.5, shown(number), 12.5)
