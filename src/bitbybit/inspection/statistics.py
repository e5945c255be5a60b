"""Statistics and histograms of tensors, over shared edges: FP32, INT8, UINT8 bin by bin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What one line can say about the values of a tensor.

    Attributes
    ----------
    count : number of values
    invalid : how many of them are NaN or infinite; the rest of the line leaves them out
    minimum, maximum, mean, std : float64, population standard deviation; None without values
    """

    count: int
    invalid: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None

    @property
    def width(self) -> float | None:
        """``maximum - minimum``, None without values."""
        if self.minimum is None or self.maximum is None:
            return None
        return self.maximum - self.minimum


def statistics(values: NDArray[Any]) -> Statistics:
    """Return the statistics of an array of numbers of any shape and real dtype.

    Examples
    --------
    >>> s = statistics(np.float32([[1, 2], [3, np.nan]]))
    >>> s.count, s.invalid, s.minimum, s.maximum, s.mean
    (4, 1, 1.0, 3.0, 2.0)
    """
    finite = finite_values(values)
    count, invalid = int(values.size), int(values.size - finite.size)
    if not finite.size:
        return Statistics(count=count, invalid=invalid)
    return Statistics(
        count=count,
        invalid=invalid,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        mean=float(finite.mean(dtype=np.float64)),
        std=float(finite.std(dtype=np.float64)),
    )


def finite_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that are neither NaN nor infinite, flat and in order."""
    flat = values.reshape(-1)
    if not np.issubdtype(flat.dtype, np.floating):
        return flat
    finite = np.isfinite(flat)
    return flat if finite.all() else flat[finite]


@dataclass(frozen=True)
class ValueRange:
    """How many values of a tensor lie in ``low <= value <= high``.

    Attributes
    ----------
    low, high : the range, both ends inside
    count : how many values lie in it
    total : how many values there are, without NaN and infinities
    """

    low: float
    high: float
    count: int
    total: int

    @property
    def share(self) -> float:
        """``count / total``, 0 for an empty tensor."""
        return self.count / self.total if self.total else 0.0


def check_range(low: float, high: float) -> None:
    """Raise DataError unless ``low <= high``; NaN is no end of a range."""
    if not low <= high:
        raise DataError(
            "a range of values must have low <= high",
            expected=f"at most {high}",
            found=low,
            next_step="Give the smaller number first.",
            where="highlight",
        )


def value_range(
    values: NDArray[Any], low: float | None = None, high: float | None = None
) -> ValueRange:
    """Count the values in a range; by default mean ± one standard deviation.

    Parameters
    ----------
    values : real numbers, any shape
    low, high
        The ends; both belong to the range.

    Raises
    ------
    DataError
        If ``low`` is greater than ``high``, or one of them is not a number.

    Examples
    --------
    >>> value_range(np.float32([0, 1, 2, 3]), 1, 2).share
    0.5
    """
    finite = finite_values(values)
    if low is None or high is None:
        s = statistics(finite)
        mean, std = s.mean or 0.0, s.std or 0.0
        low = mean - std if low is None else low
        high = mean + std if high is None else high
    check_range(low, high)
    count = int(np.count_nonzero((finite >= low) & (finite <= high)))
    return ValueRange(float(low), float(high), count, int(finite.size))


FEWEST_BINS, DEFAULT_BINS, MOST_BINS = 10, 50, 200


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges; every bin holds its lower edge, the last one its upper edge too.

    Attributes
    ----------
    edges : float64, ``[B + 1]``, ascending
    counts : int64, ``[B]``
    total : number of values, those outside the edges included, NaN and infinities not
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    total: int

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
    """
    check_bins(bins)
    found = [finite for finite in map(finite_values, tensors) if finite.size]
    low = min((float(values.min()) for values in found), default=0.0)
    high = max((float(values.max()) for values in found), default=0.0)
    return edges_between(low, high, bins)


def edges_between(low: float, high: float, bins: int) -> NDArray[np.float64]:
    """Return ``bins + 1`` equally spaced edges; around one value alone they reach its half."""
    if low == high:
        reach = abs(low) / 2 or 0.5
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
    return Histogram(edges, counts.astype(np.int64), int(finite.size))
