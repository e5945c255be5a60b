"""Activations of the fast form: centred codes in float32, the images of a group innermost.

An edge ``[N, C, H, W]`` is kept as ``[groups, H, C, W, images]``.  Each number is
``code - zero_point``, so a padded tap, which holds the code ``zero_point``, is 0.  With the images
innermost, a line of pixels is a long run of memory, and NumPy is fast on those; with the rows
outermost, the taps of an output row are one block of lines.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.model.types import QuantParams

Float = NDArray[np.float32]
FloatType = type[np.float32] | type[np.float64]

_LINE = 64
"""Bytes in a cache line."""


def aligned(shape: tuple[int, ...], dtype: FloatType = np.float32) -> NDArray[Any]:
    """Return zeros of this shape, the first at the beginning of a cache line."""
    number = np.dtype(dtype).itemsize
    spare = _LINE // number
    block = np.zeros(math.prod(shape) + spare, dtype)
    skip = -block.ctypes.data % _LINE // number
    return block[skip : block.size - spare + skip].reshape(shape)


def centred_range(p: QuantParams) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest ``code - zero_point``."""
    low, high = arithmetic.code_range(p.zero_point)
    return np.float32(low), np.float32(high)


def codes(groups: Float, zero_point: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the codes ``[count, C, H, W]``, dtype of ``zero_point``, of an edge."""
    exact = (groups + np.float32(zero_point)).astype(zero_point.dtype)
    images_first = exact.transpose(0, 4, 2, 1, 3)
    return images_first.reshape(-1, *images_first.shape[2:])[:count]


def fill(groups: Float, centred: Float) -> None:
    """Write ``centred``, codes less their zero point ``[N, C, H, W]``, into an edge."""
    images = groups.shape[-1]
    for group, begin in zip(groups, range(0, len(centred), images), strict=True):
        fill_group(group, centred[begin : begin + images])


def fill_group(group: Float, centred: Float) -> None:
    """Write at most so many images ``[n, C, H, W]`` into ``[H, C, W, images]``."""
    group[..., : len(centred)] = centred.transpose(2, 1, 3, 0)


class Scratch:
    """Memory that the layers of one network share."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, FloatType], NDArray[Any]] = {}

    def flat(self, use: str, shape: tuple[int, ...], dtype: FloatType) -> NDArray[Any]:
        """Return memory of this shape; the next call for the same use may return the same."""
        count = math.prod(shape)
        block = self._flat.get((use, dtype))
        if block is None or block.size < count:
            block = self._flat[use, dtype] = aligned((count,), dtype)
        return block[:count].reshape(shape)
