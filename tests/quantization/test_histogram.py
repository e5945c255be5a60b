"""The histogram is a function of the values: not of batches, not of their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bitbybit.errors import DataError
from workshop.calibration.histogram import HALF, Histogram

FLOATS = arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True),
)


def filled(*parts: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def state(histogram: Histogram) -> tuple[object, ...]:
    return (
        histogram.counts.tolist(),
        histogram.zeros,
        histogram.exponent,
        histogram.minimum,
        histogram.maximum,
    )


@given(FLOATS, st.integers(0, 60))
def test_cutting_and_reordering_change_nothing(values: NDArray[np.float32], cut: int) -> None:
    whole = state(filled(values))
    assert state(filled(values[:cut], values[cut:])) == whole
    assert state(filled(values[cut:], values[:cut])) == whole
    assert state(filled(*values[:, None])) == whole


@given(FLOATS)
def test_each_value_is_in_its_bin(values: NDArray[np.float32]) -> None:
    """The slow oracle: exact rational arithmetic, one value at a time."""
    from fractions import Fraction

    histogram = filled(values)
    width = Fraction(2) ** histogram.exponent
    expected = [0] * (2 * HALF)
    for value in values[values != 0]:
        expected[int(Fraction(float(value)) // width) + HALF] += 1
    assert histogram.counts.tolist() == expected
    assert histogram.zeros == int((values == 0).sum())


@given(FLOATS)
def test_at_least_2048_bins_lie_inside_the_range(values: NDArray[np.float32]) -> None:
    """The wider side of the range spans at least half of its bins."""
    histogram = filled(values)
    largest = float(np.abs(values).max())
    if largest > 2.0**-140:
        assert HALF / 2 <= largest / 2.0**histogram.exponent < HALF
    assert HALF // 2 >= 2048


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="not a finite number"):
        Histogram().add(np.array([1.0, bad], np.float32))


def test_occupied_bins_are_centred_inside_the_range() -> None:
    histogram = filled(np.array([0, 0, 1, 3, -2], np.float32))
    centres, counts = histogram.occupied()
    assert counts.tolist() == [1, 1, 1]
    assert centres.min() >= -2
    assert centres.max() <= 3
    assert np.abs(centres - [-2, 1, 3]).max() <= 2.0**histogram.exponent
