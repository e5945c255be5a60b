"""Two arrays or two traces, element by element: how many differ, by how much, and where first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError

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


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """The comparison of one tensor.

    Attributes
    ----------
    name : canonical edge name
    elements : how many were compared
    mismatches : how many of them differ
    largest_difference : max ``|expected - found|``, in codes (or accumulator units, or reals)
    first : the first that differs, None if all are equal
    signal, noise : Σ(expected - zero_point)² and Σ(expected - found)²
    """

    name: str
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

    def merged(self, other: LayerResult, offset: int) -> LayerResult:
        """Return this result and that of a later batch, which begins at image ``offset``."""
        first = self.first or other.first
        if first is not None and self.first is None and first.index:
            first = replace(first, index=(first.index[0] + offset, *first.index[1:]))
        return LayerResult(
            name=self.name,
            elements=self.elements + other.elements,
            mismatches=self.mismatches + other.mismatches,
            largest_difference=max(self.largest_difference, other.largest_difference),
            first=first,
            signal=self.signal + other.signal,
            noise=self.noise + other.noise,
        )


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
        params = None if model is None or name not in model.edges else model.edges[name].params
        zero, axis = (0, None) if params is None else (params.zero_point, params.axis)
        results.append(compare_arrays(name, expected[name], actual[name], zero, axis))
    return results


def compare_arrays(
    name: str,
    expected: NDArray[Any],
    actual: NDArray[Any],
    zero_point: NDArray[Any] | int = 0,
    axis: int | None = 1,
) -> LayerResult:
    """Compare two arrays of the same shape and dtype with ``==``; NaN equals NaN.

    Parameters
    ----------
    name
        What to call them.
    expected, actual
        Arrays of any shape.
    zero_point
        What stands for the real number 0, for the SQNR: one code, or ``[C]``.
    axis
        The axis of a zero point ``[C]``.

    Returns
    -------
    The counts, and the first element that differs.

    Raises
    ------
    BitbybitError
        Their shapes or dtypes differ.
    """
    wanted, found = described(expected), described(actual)
    if found != wanted:
        raise BitbybitError(
            "the arrays differ in dtype or shape",
            where=name,
            expected=wanted,
            found=found,
            next_step="Compare arrays of one shape and dtype.",
        )
    zero = np.asarray(zero_point, np.float64)
    zero = arithmetic.along(zero, axis, expected.ndim) if zero.size > 1 else zero.reshape(())
    zeros = np.broadcast_to(zero, expected.shape).flat
    result, theirs, ours = LayerResult(name=name), expected.reshape(-1), actual.reshape(-1)
    for begin in range(0, expected.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        here = _compare_part(name, theirs[part], ours[part], zeros[part] if zero.ndim else zero)
        result = result.merged(here, begin)
    first = result.first
    if first is None:
        return result
    index = tuple(map(int, np.unravel_index(first.index[0], expected.shape)))
    return replace(result, first=replace(first, index=index))


def described(array: NDArray[Any]) -> str:
    """Return dtype and shape of an array, in words."""
    return f"{array.dtype} {list(array.shape)}"


def _compare_part(
    name: str, expected: NDArray[Any], actual: NDArray[Any], zero: NDArray[np.float64]
) -> LayerResult:
    """Compare arrays ``[n]`` of one dtype."""
    with np.errstate(invalid="ignore", over="ignore"):
        signal = float(np.square(expected.astype(np.float64) - zero).sum())
        equal = LayerResult(name=name, elements=expected.size, signal=signal)
        both_nan = (expected != expected) & (actual != actual)  # noqa: PLR0124
        places = np.flatnonzero((expected != actual) & ~both_nan)
        if not places.size:
            return equal
        difference = expected[places].astype(np.float64) - actual[places].astype(np.float64)
        largest = np.abs(difference).max(initial=0, where=~np.isnan(difference))
        noise = np.square(difference).sum()
    at = int(places[0])
    return replace(
        equal,
        mismatches=places.size,
        largest_difference=float(largest),
        first=Mismatch((at,), expected[at].item(), actual[at].item()),
        noise=float(noise),
    )
