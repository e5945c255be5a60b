"""One pixel on its way: the picture it comes from, its place in a map, and what it leads to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus
from bitbybit.model.types import QuantizedModel

from .picture import Canvas, Picture
from .tensor_images import levels, png_address, rgb_address

SIDE, GAP, TOP = 208, 24, 30
STOP, PITCH = 28, 42

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


def you_are_here(model: QuantizedModel, *here: str) -> Picture:
    """Draw the layers as a small strip in graph order with the layers ``here`` filled.

    Raises
    ------
    ModelError
        If the model has no such layer.
    """
    names = [layer.name for layer in model.layers]
    now = {names.index(model.layer(name).name) for name in here}
    canvas = Canvas(len(names) * PITCH, 76)
    canvas.text(2, 14, f"You are here: {', '.join(here)}", anchor="start", weight=600)
    for i, layer in enumerate(model.layers):
        x = i * PITCH + 2
        fill, line, tint = ("accumulator", "ink", 1.0) if i in now else ("activation", "soft", 0.16)
        canvas.rect(x, 40, STOP, 16, fill, line, tint)
        for source in sorted(set(layer.inputs) & set(names)):
            back = (i - names.index(source)) * PITCH
            bow = f"M{x - back + STOP - 4} 40v{-2 - back / 14:g}h{back - STOP + 8}V38"
            canvas.path(bow if back > PITCH else f"M{x - PITCH + STOP} 48H{x}", stroke="soft")
        stack = layer.name.partition(".")[0]
        if i == 0 or not names[i - 1].startswith(f"{stack}."):
            canvas.text(x, 71, stack, 11, "start")
    return canvas.picture("", "", f"The network, layer by layer; marked: {', '.join(here)}")
