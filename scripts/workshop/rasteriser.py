"""A small rasteriser for 32x32 pictures: shapes, gradients, texture, all in NumPy.

Only additions, products, quotients, square roots and seeded integers are used, so the pixels
are the same on every machine.  Coordinates are in pixels, x to the right and y down, 0..32.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SIZE = 32
OVERSAMPLING = 8
"""Samples per pixel along each axis; a pixel is the mean of its samples."""

Colour = tuple[float, float, float]
Point = tuple[float, float]
Mask = NDArray[np.bool_]


class Canvas:
    """A picture in progress: colours 0..255 on a grid of samples.

    Attributes
    ----------
    x, y : float64 ``[S, S]``, the coordinates of the samples; S is ``SIZE * OVERSAMPLING``
    pixels : float64 ``[S, S, 3]``, RGB
    """

    def __init__(self, seed: int) -> None:
        steps = (np.arange(SIZE * OVERSAMPLING) + 0.5) / OVERSAMPLING
        self.x, self.y = np.meshgrid(steps, steps)
        self.pixels = np.zeros((*self.x.shape, 3))
        self._random = np.random.Generator(np.random.PCG64(seed))

    def everywhere(self) -> Mask:
        """Return the mask of the whole picture."""
        return np.ones(self.x.shape, dtype=np.bool_)

    def below(self, line: float) -> Mask:
        """Return the samples with ``y >= line``."""
        return self.y >= line

    def ellipse(self, centre: Point, radii: Point, along: Point = (1.0, 0.0)) -> Mask:
        """Return an ellipse whose first axis points in the direction ``along``."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        length = np.sqrt(along[0] * along[0] + along[1] * along[1])
        c, s = along[0] / length, along[1] / length
        u, v = (dx * c + dy * s) / radii[0], (dy * c - dx * s) / radii[1]
        return np.asarray(u * u + v * v <= 1.0)

    def polygon(self, points: Sequence[Point]) -> Mask:
        """Return the inside of a closed polygon (even-odd rule)."""
        inside = np.zeros(self.x.shape, dtype=np.bool_)
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            if y0 != y1:
                crosses = (self.y < y0) != (self.y < y1)
                inside ^= crosses & (self.x < x0 + (self.y - y0) * (x1 - x0) / (y1 - y0))
        return inside

    def stroke(self, points: Sequence[Point], width: float, end: float | None = None) -> Mask:
        """Return a line through ``points`` whose width runs from ``width`` to ``end``."""
        mask = np.zeros(self.x.shape, dtype=np.bool_)
        last = width if end is None else end
        count = len(points) - 1
        for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
            dx, dy = x1 - x0, y1 - y0
            t = ((self.x - x0) * dx + (self.y - y0) * dy) / (dx * dx + dy * dy)
            t = np.clip(t, 0.0, 1.0)
            radius = (width + (last - width) * (i + t) / count) / 2
            ex, ey = self.x - x0 - t * dx, self.y - y0 - t * dy
            mask |= ex * ex + ey * ey <= radius * radius
        return mask

    def fill(self, mask: Mask, top: Colour, bottom: Colour | None = None) -> None:
        """Paint ``mask``, from ``top`` at its upper edge to ``bottom`` at its lower edge."""
        rows = self.y[mask]
        if rows.size:
            low, high = rows.min(), rows.max()
            t = ((rows - low) / max(high - low, 1e-9))[:, None]
            first, last = np.array(top), np.array(top if bottom is None else bottom)
            self.pixels[mask] = first + t * (last - first)

    def light(self, mask: Mask, centre: Point, radius: float, amount: float) -> None:
        """Add brightness inside ``mask``: ``amount`` at ``centre``, none from ``radius`` on."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        fade = np.clip(1.0 - (dx * dx + dy * dy) / (radius * radius), 0.0, 1.0)
        self.pixels[mask] += (amount * fade * fade)[mask][:, None]

    def texture(self, mask: Mask, amount: float, width: float, height: float) -> None:
        """Add smooth random brightness of up to ``amount``; grains of ``width`` x ``height``."""
        rows, columns = int(SIZE / height) + 2, int(SIZE / width) + 2
        grid = self._random.integers(-1000, 1001, (rows, columns)) / 1000.0
        i, j = (self.y / height).astype(np.int64), (self.x / width).astype(np.int64)
        u, v = self.y / height - i, self.x / width - j
        u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
        upper = grid[i, j] * (1 - v) + grid[i, j + 1] * v
        lower = grid[i + 1, j] * (1 - v) + grid[i + 1, j + 1] * v
        self.pixels[mask] += (amount * (upper * (1 - u) + lower * u))[mask][:, None]

    def image(self) -> NDArray[np.uint8]:
        """Return the picture as uint8 ``[3, 32, 32]``: pixels averaged, then slightly blurred."""
        total = np.zeros((SIZE, SIZE, 3))
        for i in range(OVERSAMPLING):
            for j in range(OVERSAMPLING):
                total = total + self.pixels[i::OVERSAMPLING, j::OVERSAMPLING]
        mean = total / OVERSAMPLING**2
        for axis in (0, 1):
            padded = np.pad(mean, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
            before, after = (np.delete(padded, index, axis) for index in ((-2, -1), (0, 1)))
            mean = 0.1 * before + 0.8 * mean + 0.1 * after
        return np.rint(np.clip(mean, 0.0, 255.0)).astype(np.uint8).transpose(2, 0, 1).copy()
