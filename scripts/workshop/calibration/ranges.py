"""Which part of an activation's range deserves the codes: ways to choose it by its histogram.

They work on a :class:`~workshop.calibration.histogram.Histogram`. Percentile, MSE and entropy
give up rare large values, which saturate, for a finer scale of the frequent ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.quantization.edges import CodeEdges
from bitbybit.quantization.scheme import Range, Scheme, activation_params
from workshop.calibration.histogram import Histogram

Cost = Callable[[Range], float]
Method = Literal["minmax", "percentile", "mse", "entropy", "output"]

METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse", "entropy", "output")
FACTORS = tuple(2.0 ** (-step / 16) for step in range(81))
"""Shares of the full range that are tried: 1 down to 1/32, 4.4 % apart."""


@dataclass(frozen=True)
class RangeMethod:
    """How a range is chosen.

    Attributes
    ----------
    name : ``"minmax"``: all values; ``"percentile"``: all but a share of them; ``"mse"``: the
        least squared error; ``"entropy"``: the least information lost; ``"output"``: from MSE
        on, the least squared error of the network's outputs, one range after the other
    percentile : for ``"percentile"``: the percentage of values below the upper end, and above
        the lower end; between 50 and 100, exclusive

    Raises
    ------
    DataError
        An unknown name, a percentage outside its limits.
    """

    name: Method = "mse"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise DataError(
                "not a way to choose ranges",
                expected=" or ".join(METHODS),
                found=repr(self.name),
                where="ranges",
                next_step="Choose one of these.",
            )
        if not 50 < self.percentile < 100:
            raise DataError(
                "not a percentage for ranges",
                expected="50 < p < 100",
                found=self.percentile,
                where="percentile",
                next_step="Choose a percentage in this range; 99.99 is usual.",
            )


class Grid(NamedTuple):
    """The real numbers that the codes of an activation stand for: ``step * scale``.

    Attributes
    ----------
    scale : float32, shape ``()``
    low, high : the smallest and the largest ``step``, ``code - zero_point``
    """

    scale: NDArray[np.float32]
    low: int
    high: int


def activation_grid(low: float, high: float, scheme: Scheme, bits: int) -> Grid:
    """Return the grid of an activation; arguments as for :func:`activation_params`."""
    params = activation_params(low, high, scheme, bits)
    rails = scheme.activation_rails(bits)
    return Grid(params.scale, *(rail - int(params.zero_point) for rail in rails))


def edge_grid(plan: CodeEdges, scheme: Scheme, edge: str, ends: Range) -> Grid:
    """Return the grid of an edge's codes for a range."""
    return activation_grid(*ends, scheme, plan.bits(scheme, edge))


def choose_range(histogram: Histogram, method: RangeMethod, scheme: Scheme, bits: int) -> Range:
    """Return the range that is mapped to the codes; it holds 0.

    Parameters
    ----------
    histogram
        All values of the activation.
    method
        How to choose; ``"output"``, which needs the network too, counts as ``"mse"``.
    scheme, bits
        Dtype, symmetry and width of the codes, which MSE and entropy depend on.
    """
    full = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
    if method.name == "minmax" or full == (0.0, 0.0):
        return full
    if method.name == "percentile":
        return _percentile(histogram, method.percentile)
    centres, counts = histogram.occupied()
    cost = divergence if method.name == "entropy" else squared_error
    return _search(
        full, scheme, lambda ends: cost(centres, counts, activation_grid(*ends, scheme, bits))
    )


def _percentile(histogram: Histogram, percentile: float) -> Range:
    """Return the ends beyond which at most ``100 - percentile`` per cent lie, on each side."""
    centres, counts = histogram.occupied()
    beyond = (100 - percentile) / 100 * (counts.sum() + histogram.zeros)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    return (
        min(float(centres[int(np.argmax(below > beyond))]), 0.0),
        max(float(centres[len(above) - 1 - int(np.argmax(above[::-1] > beyond))]), 0.0),
    )


def _search(full: Range, scheme: Scheme, cost: Cost) -> Range:
    """Return the cheapest range: both ends shrunk alike, then each alone until none moves."""
    best = min(((full[0] * f, full[1] * f) for f in FACTORS), key=cost)
    if scheme.symmetric_activations or 0.0 in full:
        return best
    while True:
        former = best
        best = min([best, *((full[0] * f, best[1]) for f in FACTORS)], key=cost)
        best = min([best, *((best[0], full[1] * f) for f in FACTORS)], key=cost)
        if best == former:
            return best


def squared_error(centres: NDArray[np.float64], counts: NDArray[np.int64], grid: Grid) -> float:
    """Return the sum over all values of ``(quantized - exact)**2``; zeros are exact anyway.

    ``centres`` float64 ``[B]`` and ``counts`` int64 ``[B]`` are those of the occupied bins.
    """
    steps = np.clip(np.rint(centres / float(grid.scale)), grid.low, grid.high)
    return float(np.dot(counts, np.square(float(grid.scale) * steps - centres)))


def divergence(centres: NDArray[np.float64], counts: NDArray[np.int64], grid: Grid) -> float:
    """Return ``KL(P || Q)`` in nats; arguments as for :func:`squared_error`.

    P is the histogram without exact zeros, which no scale loses; the values outside the range
    are moved to its outermost occupied bins. Q knows only the codes: the values inside the range
    that share a code are spread evenly over the occupied bins of that code. Source: Migacz,
    "8-bit inference with TensorRT", GTC 2017, generalized to ranges with two ends.
    """
    steps = np.rint(centres / float(grid.scale))
    inside = (steps >= grid.low) & (steps <= grid.high)
    if not inside.any():
        return float("inf")
    p = counts[inside].astype(np.float64)
    index = (steps[inside] - grid.low).astype(np.int64)
    q = (np.bincount(index, weights=p) / np.maximum(np.bincount(index), 1))[index]
    first, last = np.flatnonzero(inside)[[0, -1]]
    p[0] += counts[:first].sum()
    p[-1] += counts[last + 1 :].sum()
    p, q = p / p.sum(), q / q.sum()
    return float(np.dot(p, np.log(p / q)))
