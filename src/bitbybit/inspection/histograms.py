"""Histograms over shared edges, so that FP32, INT8 and UINT8 can be compared bin by bin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.inspection.statistics import Statistics, ValueRange, finite_values

FEWEST_BINS, DEFAULT_BINS, MOST_BINS = 10, 50, 200


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges; every bin holds its lower edge, the last one its upper edge too.

    Attributes
    ----------
    edges : float64, ``[B + 1]``, ascending
    counts : int64, ``[B]``
    total : number of values that were counted, those outside the edges included
    invalid : number of NaN and infinities, counted nowhere else
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    total: int
    invalid: int = 0

    @property
    def percent(self) -> NDArray[np.float64]:
        """Share of each bin in per cent of ``total``, float64 ``[B]``."""
        return np.asarray(self.counts * (100.0 / max(self.total, 1)), np.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Distribution:
    """The values of a tensor in one form, counted.

    Attributes
    ----------
    title : the form, or what is counted
    role : ``"weight"``, ``"bias"``, ``"activation"`` or ``"codes"``
    histogram : the bars
    outline : a second histogram over the same edges; None for none
    statistics : of the values; None for codes and activations
    highlight : a range of values to mark; None for none
    ends : the least and the greatest code, where codes are counted
    """

    title: str
    role: str
    histogram: Histogram
    outline: Histogram | None = None
    statistics: Statistics | None = None
    highlight: ValueRange | None = None
    ends: tuple[int, int] | None = None


def bin_edges(tensors: Iterable[NDArray[Any]], bins: int = DEFAULT_BINS) -> NDArray[np.float64]:
    """Return ``bins + 1`` equally spaced edges from the least to the greatest value of all.

    Parameters
    ----------
    tensors
        Real arrays of any shape; NaN and infinities are left out.
    bins
        10 to 200.

    Raises
    ------
    DataError
        If ``bins`` lies outside 10..200.

    Notes
    -----
    Where all values are equal, the edges reach half a unit to both sides, so that there is a bin.
    """
    check_bins(bins)
    ends = [
        (float(finite.min()), float(finite.max()))
        for finite in map(finite_values, tensors)
        if finite.size
    ]
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 0.0)
    if low == high:
        reach = 0.5 if low == 0 else abs(low) / 2
        low, high = low - reach, high + reach
    return np.linspace(low, high, bins + 1)


def check_bins(bins: int) -> None:
    """Raise DataError unless ``bins`` is 10 to 200."""
    if not FEWEST_BINS <= bins <= MOST_BINS:
        raise DataError(
            "the number of bins is out of range",
            expected=f"{FEWEST_BINS} to {MOST_BINS}",
            found=bins,
            next_step="Choose a number in this range.",
            where="bins",
        )


def code_edges(qmin: int, qmax: int, bins: int = DEFAULT_BINS) -> NDArray[np.float64]:
    """Return edges for raw integer codes: every bin holds the same number of codes.

    Edges lie half way between codes. Of the widths that give at most ``bins`` bins, the
    smallest is taken; the last bin may reach beyond ``qmax``.

    Raises
    ------
    DataError
        If ``bins`` lies outside 10..200.

    Examples
    --------
    >>> code_edges(-128, 127, 64)[[0, 1, -1]]
    array([-128.5, -124.5,  127.5])
    """
    check_bins(bins)
    width = -(-(qmax - qmin + 1) // bins)
    count = -(-(qmax - qmin + 1) // width)
    return qmin - 0.5 + width * np.arange(count + 1, dtype=np.float64)


def histogram(values: NDArray[Any], edges: NDArray[np.float64]) -> Histogram:
    """Count values between edges.

    Parameters
    ----------
    values : real numbers, any shape
    edges : float64, ``[B + 1]``, ascending

    Notes
    -----
    The values are compared with the edges in float64; nothing is rounded into a bin.
    """
    finite = finite_values(values)
    counts, _ = np.histogram(finite, bins=edges)
    return Histogram(
        edges, counts.astype(np.int64), int(finite.size), int(values.size - finite.size)
    )
