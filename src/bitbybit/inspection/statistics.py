"""Statistics of a tensor and the part of it that lies in a range of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.inspection.columns import Column, at


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What one line can say about the values of a tensor.

    Attributes
    ----------
    shape : shape of the tensor
    count : number of values
    invalid : how many of them are NaN or infinite; the rest of the line leaves them out
    minimum, maximum, mean, std : float64, population standard deviation; None without values
    """

    shape: tuple[int, ...]
    count: int
    invalid: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None

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
    some = bool(finite.size)
    return Statistics(
        shape=tuple(values.shape),
        count=int(values.size),
        invalid=int(values.size - finite.size),
        minimum=float(finite.min()) if some else None,
        maximum=float(finite.max()) if some else None,
        mean=float(finite.mean(dtype=np.float64)) if some else None,
        std=float(finite.std(dtype=np.float64)) if some else None,
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


STATISTICS: tuple[Column[Statistics], ...] = (
    Column("count", "count", at("count")),
    Column("invalid", "NaN or infinite", at("invalid")),
    Column("minimum", "minimum", at("minimum")),
    Column("maximum", "maximum", at("maximum")),
    Column("mean", "mean", at("mean")),
    Column("std", "std", at("std")),
)
