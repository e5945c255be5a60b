"""Two traces, element by element: how many differ, by how much, and where first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError


@dataclass(frozen=True)
class LayerResult:
    """The comparison of one tensor.

    Attributes
    ----------
    name : canonical edge name
    elements : how many were compared
    mismatches : how many of them differ
    largest_difference : max ``|expected - actual|``, in codes (or accumulator units, or reals)
    first_index : index of the first that differs, ``(n, c, y, x)`` or ``(n, c)``, or None
    first_expected, first_actual : the two values there, or None
    signal, noise : Σ(expected - zero_point)² and Σ(expected - actual)²
    """

    name: str
    elements: int
    mismatches: int
    largest_difference: float
    first_index: tuple[int, ...] | None
    first_expected: float | None
    first_actual: float | None
    signal: float
    noise: float

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in dB: inf where nothing differs."""
        return arithmetic.sqnr_db(self.signal, self.noise)

    def merged(self, other: LayerResult, offset: int) -> LayerResult:
        """Return this result and that of a later batch, which begins at image ``offset``."""
        first = self if self.first_index is not None or other.first_index is None else other
        index = first.first_index
        if first is other and index is not None:
            index = (index[0] + offset, *index[1:])
        return LayerResult(
            self.name,
            self.elements + other.elements,
            self.mismatches + other.mismatches,
            max(self.largest_difference, other.largest_difference),
            index,
            first.first_expected,
            first.first_actual,
            self.signal + other.signal,
            self.noise + other.noise,
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
                next_step="Compare traces of the same network, or name the edges that both have.",
            )
        edge = model.edges.get(name) if model is not None else None
        zero = 0 if edge is None or edge.params is None else edge.params.zero_point
        results.append(compare_arrays(name, expected[name], actual[name], zero))
    return results


def compare_arrays(
    name: str, expected: NDArray[Any], actual: NDArray[Any], zero_point: NDArray[Any] | int = 0
) -> LayerResult:
    """Compare two arrays of the same shape and dtype with ``==``; NaN equals NaN.

    Parameters
    ----------
    name
        What to call them.
    expected, actual
        Arrays of any shape.
    zero_point
        What stands for the real number 0, of one code or per channel (axis 1): for the SQNR.

    Raises
    ------
    BitbybitError
        Their shapes or dtypes differ.
    """
    found = f"{actual.dtype} {list(actual.shape)}"
    wanted = f"{expected.dtype} {list(expected.shape)}"
    if found != wanted:
        raise BitbybitError(
            "the arrays differ in dtype or shape",
            where=name,
            expected=wanted,
            found=found,
            next_step="Compare traces of the same network on the same inputs.",
        )
    zero = np.asarray(zero_point, np.float64)
    if zero.size > 1:
        zero = zero.reshape(1, -1, *[1] * (expected.ndim - 2))
    centred = expected.astype(np.float64) - zero
    signal = float(np.square(centred).sum())
    if np.array_equal(expected, actual):
        return LayerResult(name, expected.size, 0, 0.0, None, None, None, signal, 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    differs = (expected != actual) & ~((expected != expected) & (actual != actual))  # noqa: PLR0124
    where = np.argwhere(differs)
    if not len(where):
        return LayerResult(name, expected.size, 0, 0.0, None, None, None, signal, 0.0)
    index = tuple(int(i) for i in where[0])
    largest = float(np.nanmax(np.where(differs, difference, 0)))
    noise = float(np.square(difference[differs]).sum())
    return LayerResult(
        name, expected.size, len(where), largest, index,
        expected[index].item(), actual[index].item(), signal, noise,
    )  # fmt: skip
