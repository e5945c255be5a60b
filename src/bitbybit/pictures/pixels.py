"""Tensors as images: one pixel per value, in colours that a colour-blind reader can tell apart."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_DIVERGING = ("001261", "0b5f92", "71a8c9", "ece9e6", "d99f6c", "a6500f", "590007")
_SEQUENTIAL = ("00204d", "31446b", "666970", "958f78", "cbba69", "ffea46")
_GROUND, _RAIL = "ffffff", "d6219c"
GROUND, RAIL = 254, 255
"""Palette entries of the gaps between images and of saturated values."""
LEVELS = 253
"""Colours of a map; the middle one of a diverging map is 0."""
MOST_IMAGES, MOST_PIXELS = 64, 70_000
"""What one grid shows at most; its caption says what it leaves out."""


def palette(*, diverging: bool) -> Pixels:
    """Return a colour map of 256 entries, uint8 ``[256, 3]``: 253 colours, spare, gap, rail."""
    anchors = _DIVERGING if diverging else _SEQUENTIAL
    colours = np.array([list(bytes.fromhex(c)) for c in anchors], float)
    places = np.linspace(0, len(anchors) - 1, LEVELS)
    ramp = [np.interp(places, np.arange(len(anchors)), colours[:, i]) for i in range(3)]
    spare = [list(bytes.fromhex(c)) for c in (_GROUND, _GROUND, _RAIL)]
    return np.concatenate([np.rint(np.stack(ramp, 1)), spare]).astype(np.uint8)


def levels(values: NDArray[Any], limit: float, *, diverging: bool) -> Pixels:
    """Return palette entries for real values: ``-limit..limit`` or ``0..limit``, clipped.

    NaN takes the colour of the gaps.
    """
    x = np.asarray(values, np.float64) / (limit or 1.0)
    share = np.clip((x + 1) / 2 if diverging else x, 0, 1)
    entries = np.nan_to_num(np.rint(share * (LEVELS - 1)), nan=GROUND)
    return entries.astype(np.uint8)


@dataclass(frozen=True)
class PixelGrid:
    """Images side by side.

    Attributes
    ----------
    entries : palette entries, uint8 ``[H, W]``, gaps included
    diverging : which colour map
    alt : what it shows
    """

    entries: Pixels
    diverging: bool
    alt: str

    def html(self, widest: int = 560) -> str:
        """Return an ``<img>`` whose pixels are magnified by a whole number, up to ``widest``."""
        height, width = self.entries.shape
        zoom = max(1, min(12, widest // max(width, 1)))
        data = base64.b64encode(png(self.entries, palette(diverging=self.diverging))).decode()
        return (
            f'<img class="bb-pixels dark-light" src="data:image/png;base64,{data}" '
            f'alt="{escape(self.alt)}" '
            f'width="{width * zoom}" height="{height * zoom}">'
        )


def grid(images: Pixels, columns: int, gap: int = 1) -> Pixels:
    """Lay out images ``[K, H, W]`` row by row with gaps between them."""
    count, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), GROUND, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def png(entries: Pixels, colours: Pixels) -> bytes:
    """Encode palette entries as a PNG file with this palette."""
    from PIL import Image

    height, width = entries.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(entries).tobytes())
    image.putpalette(colours.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=9)
    return stream.getvalue()
