"""Bounds of accumulators, against all inputs; and the small formulas beside them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support.operands import EIGHT_BIT, GENERATORS, codes
from tests.support.runtime import many


@many(50)
@given(EIGHT_BIT, GENERATORS)
def test_every_input_stays_within_the_bounds_and_two_reach_the_interval(
    dtype: np.dtype[np.generic], rng: np.random.Generator
) -> None:
    weights = rng.integers(-128, 128, (3, 5))
    bias = rng.integers(-1000, 1000, 3).astype(np.int32)
    zero = codes(rng, (), dtype)
    low, high = arithmetic.code_range(zero)
    least, most = arithmetic.sum_interval(weights, (low, high), bias)
    bound = arithmetic.weight_bound(weights, (low, high), bias)
    for m, row in enumerate(weights):
        ends = [np.where(row > 0, *limits) for limits in ((low, high), (high, low))]
        inner = rng.integers(low, high + 1, (50, 5))
        for x in (*ends, *inner):
            products = row * x
            assert least[m] <= products.sum() + bias[m] <= most[m]
            for order in itertools.islice(itertools.permutations(products), 5):
                assert (np.abs(np.cumsum([bias[m], *order])) <= bound[m]).all()
        assert {int((row * x).sum() + bias[m]) for x in ends} == {int(least[m]), int(most[m])}
    by_type = arithmetic.type_bound(5, (-128, 127), (low, high), int(np.abs(bias).max()))
    assert bound.max() <= by_type


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        (np.int8(-128), (0, 255)),
        (np.int8(0), (-128, 127)),
        (np.uint8(255), (-255, 0)),
        (np.array([-128, 127], np.int8), (-255, 255)),
        (np.uint16(1), (-1, 65534)),
    ],
)
def test_range_of_a_centred_code(zero: NDArray[np.integer[Any]], expected: tuple[int, int]) -> None:
    assert arithmetic.code_range(zero) == expected


def test_a_code_is_centred_by_the_zero_point_of_its_channel() -> None:
    x = np.array([[-128, 127], [3, 4]], np.int8)
    assert arithmetic.centred(x, np.int8(-128)).tolist() == [[0, 255], [131, 132]]
    assert arithmetic.centred(x, np.array([1, -1], np.int8), 1).tolist() == [[-129, 128], [2, 5]]
    assert arithmetic.centred(x, np.array([1, -1], np.int8), 0).tolist() == [[-129, 126], [4, 5]]
    lowest = np.array([-(2**31)], np.int32)
    assert arithmetic.centred(lowest, np.int32(1)).tolist() == [-(2**31) - 1]
    for zero in (0, np.int8(3), np.array([1, 2], np.uint64)):
        assert arithmetic.centred(x, zero, 1).dtype == np.int64


def test_a_sum_without_a_bias_has_none() -> None:
    weights = np.array([[2, -3], [0, 0]])
    assert arithmetic.type_bound(9, (-128, 127), (-1, 255)) == 9 * 128 * 255
    assert arithmetic.type_bound(9, (-128, 127), (-1, 255), 7) == 9 * 128 * 255 + 7
    assert arithmetic.weight_bound(weights, (-4, 255)).tolist() == [5 * 255, 0]
    low, high = arithmetic.sum_interval(weights, (-4, 255))
    assert low.tolist() == [2 * -4 - 3 * 255, 0]
    assert high.tolist() == [2 * 255 - 3 * -4, 0]


@many(30)
@given(EIGHT_BIT, GENERATORS)
def test_no_partial_sum_that_begins_with_the_bias_leaves_the_interval(
    dtype: np.dtype[np.generic], rng: np.random.Generator
) -> None:
    weights, bias = rng.integers(-128, 128, (1, 4)), rng.integers(-1000, 1000, 1).astype(np.int32)
    x_range = arithmetic.code_range(codes(rng, (), dtype))
    low, high = arithmetic.sum_interval(weights, x_range, bias)
    inputs = [*rng.integers(x_range[0], x_range[1] + 1, (10, 4))]
    inputs += [each[0] for each in arithmetic.interval_inputs(weights, x_range)]
    reached = []
    for x in inputs:
        for order in itertools.permutations(weights[0] * x):
            walk = np.cumsum([bias[0], *order])
            assert low[0] <= walk.min()
            assert walk.max() <= high[0]
        reached.append(int((weights[0] * x).sum() + bias[0]))
    assert (reached[-2], reached[-1]) == (low[0], high[0])


def test_a_sum_that_adds_its_bias_last_may_leave_the_interval() -> None:
    weights, x_range = np.array([[3, -2]]), (0, 255)
    low, _ = arithmetic.sum_interval(weights, x_range, np.array([100], np.int32))
    assert low[0] == -410 > (weights * [0, 255]).sum() == -510


@pytest.mark.parametrize("bits", [1, 5, 8, 32])
def test_registers(bits: int) -> None:
    half = 2 ** (bits - 1)
    values = np.array([0, 1, half - 1, half, -half, -half - 1, 5 * half + 3, -7 * half])
    wrapped, saturated = arithmetic.wrapped(values, bits), arithmetic.saturated(values, bits)
    for value, w, s in zip(values.tolist(), wrapped.tolist(), saturated.tolist(), strict=True):
        assert -half <= w < half
        assert (value - w) % (2 * half) == 0
        assert s == max(-half, min(value, half - 1))
    if bits == 32:
        assert np.array_equal(wrapped, values.astype(np.int32))


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [
        (0, 0, 1), (-1, -1, 1), (-1, 0, 1), (0, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9),
        (-5, 300, 10), (-9, -3, 5), (3, 9, 5),
    ],
)  # fmt: skip
def test_signed_width(low: int, high: int, bits: int) -> None:
    assert arithmetic.signed_width(low, high) == bits
    assert -(2 ** (bits - 1)) <= low
    assert high <= 2 ** (bits - 1) - 1


def test_sqnr() -> None:
    assert arithmetic.sqnr_db(1, 0) == np.inf
    assert arithmetic.sqnr_db(0, 0) == np.inf
    assert arithmetic.sqnr_db(0, 1) == -np.inf
    assert arithmetic.sqnr_db(100, 1) == 20
    assert arithmetic.sqnr_db(1000, 10) == 20
    assert arithmetic.sqnr_db(1, 10) == -10
