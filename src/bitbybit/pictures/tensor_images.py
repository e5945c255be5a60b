"""Weights and feature maps as grids of pixels, with captions that say what they leave out."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import centred
from bitbybit.inspection.activations import FeatureMaps
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import QuantParams

Pixels = NDArray[np.uint8]

_DIVERGING = ("001261", "0b5f92", "71a8c9", "ece9e6", "d99f6c", "a6500f", "590007")
_SEQUENTIAL = ("00204d", "31446b", "666970", "958f78", "cbba69", "ffea46")
_GROUND, _RAIL = "ffffff", "d6219c"
LEVELS = 61
"""Colours of a map; the middle one of a diverging map is 0. More are not told apart, and weigh."""
GROUND, RAIL = LEVELS + 1, LEVELS + 2
"""Palette entries of the gaps between images and of saturated values."""
MOST_IMAGES, MOST_PIXELS = 64, 70_000
"""What one grid shows at most; its caption says what it leaves out."""


def palette(*, diverging: bool) -> Pixels:
    """Return a colour map, uint8 ``[64, 3]``: 61 colours, spare, gap, rail."""
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
        address = png_address(self.entries, diverging=self.diverging)
        return (
            f'<img class="bb-pixels dark-light" src="{address}" alt="{escape(self.alt)}" '
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


def png_address(entries: Pixels, *, diverging: bool) -> str:
    """Return palette entries as a PNG file in an address, for ``src`` and ``href``."""
    from PIL import Image

    height, width = entries.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(entries).tobytes())
    image.putpalette(palette(diverging=diverging).tobytes())
    return _address(image)


def rgb_address(planes: Pixels) -> str:
    """Return RGB planes, uint8 ``[3, H, W]``, likewise."""
    from PIL import Image

    return _address(Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))))


def _address(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def weight_grid(report: TensorReport, pixels: int = MOST_PIXELS) -> tuple[PixelGrid, str]:
    """Return a weight as an image of about ``pixels`` pixels at most, and its caption.

    A convolution's kernels stand side by side, one column per output channel and one row per
    input channel; a depthwise convolution's in rows; a dense layer is a matrix with one row per
    output. Quantized weights are shown as ``code - zero_point``.
    """
    params = report.tensor.params
    values = _centred(report.tensor.values, params)
    limit = _limit(values, params)
    entries = levels(values, limit, diverging=True)
    if params is not None and params.qmin == -128 and values.ndim:
        entries[report.tensor.values == params.qmin] = RAIL
    scale = f"blue −{limit:g}, pale 0, brown {limit:g}"
    unit = "`code − zero_point`" if params is not None else "weight"
    if values.ndim == 4:
        sheet, what = _kernels(entries, pixels)
    else:
        sheet, what = _matrix(entries, pixels)
    note = "; codes at −128 are magenta" if (sheet == RAIL).any() else ""
    caption = f"Each pixel is one {unit}: {scale}{note}. {what}"
    alt = f"Weights of {report.layer}, shape {report.tensor.values.shape}"
    return PixelGrid(sheet, diverging=True, alt=alt), caption


def feature_grid(
    maps: FeatureMaps, pixels: int = MOST_PIXELS
) -> tuple[list[tuple[str, PixelGrid]], str]:
    """Return one layer's output for one image, integer and float in the same colours.

    As many channels are shown as ``pixels`` pixels hold, at least one.
    """
    signed = bool((maps.real < 0).any())
    size = max(1, maps.codes[:1].size)
    room = max(1, pixels // size)
    shown = _part(len(maps.codes), room) if size > 1 else min(len(maps.codes), 512, room)
    top = float(np.abs(maps.real).max(initial=0)) or 1.0
    entries = levels(maps.real, top, diverging=signed)
    saturated = np.zeros(maps.codes.shape, bool)
    if maps.params is not None:
        saturated = maps.codes == maps.params.qmax
        entries[saturated] = RAIL
    grids = [("integer" if maps.params is not None else "values", _maps(entries, shown, signed))]
    if maps.twin is not None:
        grids.append(("float", _maps(levels(maps.twin, top, diverging=signed), shown, signed)))
    low = f"−{top:.4g}" if signed else "0"
    caption = f"One map per channel, real values from {low} to {top:.4g} in the same colours."
    if saturated.any():
        caption += f" Magenta: {int(saturated.sum()):,} values at the upper rail."
    if shown < len(maps.codes):
        caption += f" The first {shown} of {len(maps.codes)} channels."
    return grids, caption


def _centred(values: NDArray[Any], params: QuantParams | None) -> NDArray[Any]:
    if params is None:
        return np.nan_to_num(values.astype(np.float32), nan=np.nan, posinf=0, neginf=0)
    return centred(values, params.zero_point, params.axis)


def _limit(values: NDArray[Any], params: QuantParams | None) -> float:
    if params is not None and params.dtype.itemsize == 1:
        return float(max(127, np.abs(values).max(initial=0)))
    finite = values[np.isfinite(values)] if params is None else values
    return float(np.abs(finite).max(initial=0)) or 1.0


def _kernels(entries: Pixels, pixels: int) -> tuple[Pixels, str]:
    outputs, inputs, height, width = entries.shape
    if inputs == 1:
        shown = min(outputs, pixels // (height * width) or 1)
        columns = min(shown, math.ceil(math.sqrt(shown * 2)))
        what = f"Row by row: {_said('output', shown, outputs)}."
        return grid(entries[:shown, 0], columns), what
    side = max(1, int(math.sqrt(pixels / (height * width))))
    rows = _part(inputs, max(side, pixels // (height * width * min(outputs, side))))
    columns = _part(outputs, max(1, pixels // (rows * height * width)))
    images = entries[:columns, :rows].swapaxes(0, 1).reshape(-1, height, width)
    what = f"Columns: {_said('output', columns, outputs)}; rows: {_said('input', rows, inputs)}."
    return grid(images, columns), what


def _part(count: int, room: int) -> int:
    """Return how many of ``count`` channels to draw: all, or a power of two that fits."""
    if count <= (most := min(room, MOST_IMAGES)):
        return count
    return 1 << (most.bit_length() - 1)


def _matrix(entries: Pixels, pixels: int) -> tuple[Pixels, str]:
    if entries.ndim < 2:
        return entries.reshape(1, -1), ""
    inputs, outputs = entries.shape[0], math.prod(entries.shape[1:])
    columns = min(inputs, 512)
    rows = min(outputs, 128, max(1, pixels // max(columns, 1)))
    sheet = entries.reshape(inputs, outputs).T[:rows, :columns]
    what = f"Rows: {_said('output', rows, outputs)}; columns: {_said('input', columns, inputs)}."
    return np.ascontiguousarray(sheet), what


def _said(kind: str, shown: int, total: int) -> str:
    if shown == total:
        return f"all {total} {kind} channels"
    return f"the first {shown} of {total} {kind} channels"


def _maps(entries: Pixels, shown: int, signed: bool) -> PixelGrid:
    if entries.ndim == 1 or entries[:1].size == 1:
        return PixelGrid(entries.reshape(1, -1)[:, :shown], signed, "One value per channel")
    images = entries.reshape(len(entries), -1, entries.shape[-1])[:shown]
    columns = math.ceil(math.sqrt(len(images)))
    return PixelGrid(grid(images, columns), signed, f"{len(images)} feature maps")
