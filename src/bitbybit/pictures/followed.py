"""One pixel on its way: its window in the image, the products of its sum, what it leads to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus, shown

from .picture import Canvas, Picture
from .tensor_images import levels, png_address, rgb_address

SIDE, GAP, TOP = 208, 24, 30
BLUE, BROWN = "#0b5f92", "#a6500f"
"""Below 0 and above, as in a map with signs."""

CELL, PRODUCT, APART, HEAD = 44, 66, 34, 34
MOST_CHANNELS = 4

Place = tuple[int, int, int, int]
"""Row, column, height and width of a part of an image."""


def followed(
    image: NDArray[np.uint8],
    feature_map: NDArray[np.signedinteger],
    logits: NDArray[np.floating],
    *,
    window: Place,
    pixel: tuple[int, int],
    names: Sequence[str],
    highlight: int,
    titles: tuple[str, str, str] = ("image", "feature map", "logits"),
    label: str,
    caption: str,
) -> Picture:
    """Draw an image with a window, a feature map with the pixel it yields, and the logits.

    Parameters
    ----------
    image : uint8, ``[3, H, W]``
        RGB planes, drawn in their own colours.
    feature_map : int32, ``[H', W']``, -255..255
        ``q - zero_point`` of one channel; diverging colours if any is negative, else sequential.
    logits : float32, ``[K]``
        Drawn as bars from 0.
    window
        Row, column, height and width in ``image``; what lies outside (the padding) is drawn too.
    pixel
        Row and column in ``feature_map``.
    names, highlight
        Class of each logit, and the index of the one that is drawn strong.
    titles
        What stands above the three parts.
    label, caption
        As for :class:`Picture`.

    Raises
    ------
    ValueError
        If ``names`` are not as many as ``logits``.
    """
    if len(names) != len(logits):
        raise ValueError(f"followed: {len(names)} names for {len(logits)} logits")
    canvas = Canvas(2 * (SIDE + GAP) + 276, TOP + SIDE + 28)
    for i, title in enumerate(titles):
        canvas.text(i * (SIDE + GAP) + 2, 18, title, anchor="start", weight=600)
    _image(canvas, 2, rgb_address(image), image.shape[1:], window)
    signed, top = bool((feature_map < 0).any()), int(np.abs(feature_map).max(initial=0))
    entries = levels(feature_map, top, diverging=signed)
    address = png_address(entries, diverging=signed)
    _image(canvas, SIDE + GAP + 2, address, entries.shape, (*pixel, 1, 1))
    colours = f"blue −{top}, pale 0, brown {top}" if signed else f"dark 0, bright {top}"
    canvas.text(SIDE + GAP + 2, TOP + SIDE + 18, f"q − zero point: {colours}", 12, "start")
    _bars(canvas, 2 * (SIDE + GAP), logits, names, highlight)
    alt = (
        f"The image with a window of {window[2]} by {window[3]} pixels at row {window[0]}, column "
        f"{window[1]}; the feature map with the pixel at row {pixel[0]}, column {pixel[1]}, which "
        f"is {feature_map[pixel]} of at most {top}; bars of {len(logits)} logits, "
        f"{names[highlight]} is {logits[highlight]:.2f}"
    )
    return canvas.picture(label, caption, alt)


def _image(canvas: Canvas, left: float, address: str, shape: tuple[int, ...], mark: Place) -> None:
    """Draw an image without smoothing, and a frame in two colours that shows on any ground."""
    unit = SIDE / max(shape)
    canvas.image(left, TOP, shape[1] * unit, shape[0] * unit, address)
    row, column, height, width = (unit * size for size in mark)
    for colour, line in (("white", 4.5), ("accumulator", 2.0)):
        canvas.rect(left + column, TOP + row, width, height, stroke=colour, line=line)


def _bars(
    canvas: Canvas, left: float, logits: NDArray[np.floating], names: Sequence[str], highlight: int
) -> None:
    """Draw one bar per logit from a common zero, with its class and its value."""
    low, high = min(0.0, float(logits.min())), max(0.0, float(logits.max()))
    unit, pitch = 100 / ((high - low) or 1.0), SIDE / len(logits)
    zero = left + 124 - low * unit
    for i, (name, logit) in enumerate(zip(names, map(float, logits), strict=True)):
        y, start, width = TOP + i * pitch, zero + min(0.0, logit) * unit, abs(logit) * unit
        tint, weight = (1.0, 700) if i == highlight else (0.25, 400)
        canvas.rect(start, y + 3, width, pitch - 6, "activation", "activation", tint)
        canvas.text(left + 80, y + pitch * 0.7, name, 12.5, "end", weight=weight)
        canvas.text(left + 276, y + pitch * 0.7, minus(f"{logit:.2f}"), 12.5, "end", weight=weight)
    canvas.line(zero, TOP, zero, TOP + SIDE)


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
    second = width * CELL + APART
    third = 2 * second
    end = third + width * PRODUCT
    canvas = Canvas(end + 96, HEAD + channels * (height * CELL + APART) + 26)
    columns = (
        (1, CELL, "x − x_zero_point", x),
        (second, CELL, "w − w_zero_point", w),
        (third, PRODUCT, "product", products),
    )
    for left, cell, title, values in columns:
        canvas.text(left + width * cell / 2, 18, title, weight=600)
        for channel in range(channels):
            top = HEAD + channel * (height * CELL + APART)
            _grid(canvas, (left, top), cell, values[channel])
    for channel, values in enumerate(products[:channels]):
        middle = HEAD + channel * (height * CELL + APART) + height * CELL / 2 + 5
        canvas.text(second - APART / 2, middle, "×", 18)
        canvas.text(third - APART / 2, middle, "=", 18)
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
    canvas: Canvas, corner: tuple[float, float], cell: int, values: NDArray[np.int32]
) -> None:
    """Draw numbers in cells, blue below 0 and brown above, whose tint grows with their size."""
    largest = max(int(np.abs(values).max()), 1)
    for (row, column), number in np.ndenumerate(values):
        left, top = corner[0] + column * cell, corner[1] + row * CELL
        tint = 0.05 + 0.4 * abs(int(number)) / largest
        canvas.rect(left, top, cell, CELL, BLUE if number < 0 else BROWN, opacity=tint)
        canvas.text(left + cell / 2, top + CELL / 2 + 4.5, shown(number), 12.5)
