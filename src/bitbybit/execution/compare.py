"""Two arrays or two traces, element by element: how many differ, by how much, and where first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError
from bitbybit.model.types import QuantParams

CHUNK = 1 << 20
"""Elements that are compared at once: memory does not grow with the batch."""


@dataclass(frozen=True)
class Mismatch:
    """An element that differs.

    Attributes
    ----------
    index : its position, ``(n, c, y, x)`` or ``(n, c)``; () where whole arrays cannot be compared
    expected, found : the two values there; in words where whole arrays cannot be compared
    accumulator : the int32 accumulator there, where the layer has one
    """

    index: tuple[int, ...]
    expected: float | str
    found: float | str
    accumulator: int | None = None


@dataclass(kw_only=True)
class LayerResult:
    """The comparison of one tensor, to which further batches can be added.

    Attributes
    ----------
    name : canonical name of the edge, or of a graph output
    kind : of the layer that makes it, or "output"; "" of a trace
    authority : who made what is expected; "" of a trace
    elements : how many were compared
    mismatches : how many of them differ
    largest_difference : max ``|expected - found|``, in codes (or accumulator units, or reals)
    first : the first that differs, None if all are equal
    signal, noise : Σ(expected - zero_point)² and Σ(expected - found)²
    """

    name: str
    kind: str = ""
    authority: str = ""
    elements: int = 0
    mismatches: int = 0
    largest_difference: float = 0.0
    first: Mismatch | None = None
    signal: float = 0.0
    noise: float = 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in dB: inf where nothing differs."""
        return arithmetic.sqnr_db(self.signal, self.noise)

    def add(
        self,
        expected: NDArray[Any],
        actual: NDArray[Any],
        params: QuantParams | None = None,
        begin: int = 0,
        sums: Callable[[], NDArray[Any]] | None = None,
    ) -> None:
        """Compare two arrays with ``==``, where NaN equals NaN, and add what is found.

        Parameters
        ----------
        expected, actual
            Arrays of any shape. Where dtype or shape are not the same, all elements differ.
        params
            Of the codes: the zero point stands for the real number 0, for the SQNR.
        begin
            The image with which the arrays begin.
        sums
            Gives the accumulators at the same places, None where there are none.
        """
        self.elements += actual.size
        wanted, found = described(expected), described(actual)
        if wanted != found:
            self.mismatches += max(actual.size, 1)
            self.largest_difference = math.inf
            self.first = self.first or Mismatch((), wanted, found)
            return
        zeros = np.zeros((), np.float64)
        if params is not None:
            zeros = arithmetic.along(params.zero_point, params.axis, expected.ndim)
            zeros = np.broadcast_to(zeros, expected.shape) if zeros.ndim else zeros
        theirs, ours = expected.reshape(-1), actual.reshape(-1)
        for place in range(0, expected.size, CHUNK):
            part = slice(place, place + CHUNK)
            zero = zeros.flat[part] if zeros.ndim else zeros
            at = self._add_part(theirs[part], ours[part], zero.astype(np.float64))
            if at is not None and self.first is None:
                index = tuple(map(int, np.unravel_index(place + at, expected.shape)))
                values = expected[index].item(), actual[index].item()
                acc = None if sums is None else int(sums()[index])
                moved = (index[0] + begin, *index[1:]) if index else index
                self.first = Mismatch(moved, *values, acc)

    def _add_part(
        self, expected: NDArray[Any], actual: NDArray[Any], zero: NDArray[np.float64]
    ) -> int | None:
        """Add arrays ``[n]`` of one dtype; return the place of their first mismatch."""
        with np.errstate(invalid="ignore", over="ignore"):
            self.signal += float(np.square(expected.astype(np.float64) - zero).sum())
            differs = expected != actual
            if differs.any():
                differs &= (expected == expected) | (actual == actual)  # noqa: PLR0124  # NaN
            places = np.flatnonzero(differs)
            if not places.size:
                return None
            difference = expected[places].astype(np.float64) - actual[places].astype(np.float64)
            largest = np.abs(difference).max(initial=0, where=~np.isnan(difference))
            self.noise += float(np.square(difference).sum())
        self.mismatches += places.size
        self.largest_difference = max(self.largest_difference, float(largest))
        return int(places[0])


def compare(
    expected: Mapping[str, NDArray[Any]],
    actual: Mapping[str, NDArray[Any]],
    names: Iterable[str] | None = None,
) -> list[LayerResult]:
    """Compare two traces, edge by edge.

    Parameters
    ----------
    expected, actual
        Edge name → values; two traces, or any mappings.
    names
        Which edges, in which order; by default those of ``expected``.

    Returns
    -------
    One result per edge, in order.

    Raises
    ------
    BitbybitError
        An edge is missing in ``actual``, or has another shape or dtype there.
    """
    model = getattr(expected, "model", None) or getattr(actual, "model", None)
    results = []
    for name in expected if names is None else names:
        if name not in actual:
            raise BitbybitError(
                "one of the traces lacks this edge",
                where=name,
                next_step="Name only edges that both have.",
            )
        require_alike(name, expected[name], actual[name])
        params = None if model is None or name not in model.edges else model.edges[name].params
        results.append(LayerResult(name=name))
        results[-1].add(expected[name], actual[name], params)
    return results


def require_alike(name: str, expected: NDArray[Any], actual: NDArray[Any]) -> None:
    """Raise :class:`BitbybitError` unless two arrays have one dtype and shape."""
    wanted, found = described(expected), described(actual)
    if wanted != found:
        raise BitbybitError(
            "the arrays differ in dtype or shape",
            where=name,
            expected=wanted,
            found=found,
            next_step="Compare arrays of one shape and dtype.",
        )


def described(array: NDArray[Any]) -> str:
    """Return dtype and shape of an array, in words."""
    return f"{array.dtype} {list(array.shape)}"
