"""Activations of the fast form: centred codes in float32, padded, the images of a batch innermost.

A *plane* holds one channel of a few images as rows of ``row = W + gap`` cells: W pixels and then
``gap`` empty cells.  A cell holds ``code - zero_point`` of that pixel of every image, an empty
cell zeros.  The empty cells behind a row also stand in front of the next one, and empty rows stand
above and below.  So a padded tap, which holds the code ``zero_point``, is 0; and tap ``(ky, kx)``
of a convolution with stride 1 is the same plane, read ``ky * row + kx`` cells further on.

With the images innermost, a shifted plane is one long run of memory, and NumPy is fast on those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import Conv

Float = NDArray[np.float32]
"""Planes of a group of images are ``[C, size, images]``; those of a batch have groups before."""

_ALIGNMENT = 64
"""Bytes in a cache line."""


@dataclass(frozen=True)
class Margins:
    """Empty cells around every plane of a network: rows above, rows below, and the gap."""

    above: int = 0
    below: int = 0
    gap: int = 0

    @classmethod
    def around(cls, convs: Iterable[Conv]) -> Margins:
        """Return the margins that serve every one of ``convs``."""
        above = below = gap = 0
        for conv in convs:
            top, left, bottom, right = conv.pads
            above, below, gap = max(above, top), max(below, bottom), max(gap, left, right)
        return cls(above, below, gap)


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an edge lie: pixel ``(y, x)`` is cell ``start + y * row + x``."""

    channels: int
    height: int
    width: int
    row: int
    start: int
    size: int

    @classmethod
    def of(cls, channels: int, height: int, width: int, margins: Margins) -> Geometry:
        """Lay out an edge of this size."""
        row = width + margins.gap
        start = margins.above * row + margins.gap
        return cls(channels, height, width, row, start, start + (height + margins.below) * row)

    def reaching(self, last: int) -> Geometry:
        """Return this layout with planes that have a cell number ``last``."""
        return replace(self, size=max(self.size, last + 1))

    @property
    def body(self) -> slice:
        """The cells of the image's rows, each with its gap."""
        return slice(self.start, self.start + self.height * self.row)

    def rows(self, planes: Float) -> Float:
        """Return the view ``[..., C, H, row, images]`` of planes ``[..., C, size, images]``."""
        *outer, _, images = planes.shape
        return planes[..., self.body, :].reshape(*outer, self.height, self.row, images)

    def pixels(self, planes: Float) -> Float:
        """Return the view ``[..., C, H, W, images]`` of planes ``[..., C, size, images]``."""
        return self.rows(planes)[..., : self.width, :]

    def clear(self, planes: Float) -> None:
        """Empty every cell that is no pixel."""
        planes[..., : self.start, :] = 0
        planes[..., self.body.stop :, :] = 0
        self.rows(planes)[..., self.width :, :] = 0


def aligned(shape: tuple[int, ...], dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
    """Return zeros of this shape, the first at the beginning of a cache line."""
    number = np.dtype(dtype).itemsize
    spare = _ALIGNMENT // number
    block = np.zeros(int(np.prod(shape)) + spare, dtype)
    skip = -block.ctypes.data % _ALIGNMENT // number
    return block[skip : block.size - spare + skip].reshape(shape)


class Scratch:
    """Memory that the steps of one plan share."""

    def __init__(self) -> None:
        self._flat: dict[type[np.floating[Any]], NDArray[Any]] = {}
        self._zeros: dict[tuple[object, ...], NDArray[Any]] = {}

    def flat(self, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """Return memory with any finite content; the next call may return the same memory."""
        count = math.prod(shape)
        block = self._flat.get(dtype)
        if block is None or block.size < count:
            block = self._flat[dtype] = aligned((count,), dtype)
        return block[:count].reshape(shape)

    def zeros(
        self, key: object, shape: tuple[int, ...], dtype: type[np.floating[Any]]
    ) -> NDArray[Any]:
        """Return memory that only users of ``key`` write: zeros at first."""
        block = self._zeros.get((key, shape, dtype))
        if block is None:
            block = self._zeros[key, shape, dtype] = aligned(shape, dtype)
        return block


def codes(planes: Float, geometry: Geometry, zero_point: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the codes ``[count, C, H, W]``, dtype of ``zero_point``, that planes hold."""
    exact = geometry.pixels(planes) + np.float32(zero_point)
    images_first = np.moveaxis(exact.astype(zero_point.dtype), -1, 1)
    return images_first.reshape(-1, *images_first.shape[2:])[:count]


def fill(planes: Float, geometry: Geometry, centred: Float) -> None:
    """Write ``centred``, codes less their zero point ``[N, C, H, W]``, into a batch's planes."""
    pixels, images = geometry.pixels(planes), planes.shape[-1]
    for group, begin in enumerate(range(0, len(centred), images)):
        part = centred[begin : begin + images]
        pixels[group, ..., : len(part)] = part.transpose(1, 2, 3, 0)
