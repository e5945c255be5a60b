"""Requantization: dense ranges of accumulators through ONNX Runtime, ties, rails and overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from bitbybit import arithmetic
from tests.support.accumulators import next_to_ties, runtime_requantize
from tests.support.operands import EIGHT_BIT, GENERATORS, INT8, SCALE_KINDS, UINT8, codes, scales
from tests.support.runtime import identical, many, on_contract_platform

RAILS = np.array([-(2**31), 2**31 - 1, -1, 0, 1], np.int32)


@on_contract_platform
@pytest.mark.parametrize(
    ("scale_triple", "zero"),
    [
        ((0.0173, 0.0031, 0.0512), np.int8(-128)),  # a folded ReLU
        ((0.0173, 0.0031, 0.0512), np.int8(17)),
        ((0.5, 0.25, 8.0), np.int8(-3)),  # multiplier 1/64: every 64th accumulator is a tie
        ((1.0, 0.0009765625, 0.75), np.uint8(131)),
        ((0.9, 0.00013, 0.11), np.uint8(0)),
    ],
)
def test_every_accumulator_of_20_bits(scale_triple: tuple[float, ...], zero: Any) -> None:
    acc = np.arange(-(2**19), 2**19, dtype=np.int32)
    x_scale, w_scale, y_scale = (np.float32(s) for s in scale_triple)
    multiplier = arithmetic.conv_multiplier(x_scale, w_scale, y_scale)
    expected = runtime_requantize(acc, x_scale, w_scale, y_scale, zero)
    assert identical(arithmetic.requantize(acc, multiplier, zero), expected)


@on_contract_platform
@pytest.mark.parametrize("dtype", [INT8, UINT8], ids=str)
def test_accumulators_next_to_ties(dtype: np.dtype[Any]) -> None:
    """200,000 channels, each with its own scale and an accumulator beside k + 1/2."""
    rng = np.random.default_rng(20)
    for _ in range(10):
        x_scale, y_scale = scales(rng, "ordinary"), scales(rng, "ordinary", low=-4, high=2)
        w_scale = scales(rng, "ordinary", (20_000,), low=-16, high=-4)
        zero = codes(rng, (), dtype)
        acc = next_to_ties(rng, x_scale, w_scale, y_scale)
        multiplier = arithmetic.conv_multiplier(x_scale, w_scale, y_scale)
        expected = runtime_requantize(acc, x_scale, w_scale, y_scale, zero)
        assert identical(arithmetic.requantize(acc, multiplier, zero, axis=0), expected)


@on_contract_platform
@pytest.mark.parametrize("zero", [np.int8(0), np.uint8(128)], ids=str)
def test_accumulators_of_more_than_24_bits_are_rounded_to_float32_first(zero: Any) -> None:
    """Their product is next to a tie, so the bits that float32 drops decide."""
    rng = np.random.default_rng(31)
    acc = (rng.choice([-1, 1], 20_000) * rng.integers(2**24, 2**31, 20_000)).astype(np.int32)
    w_scale = ((rng.integers(0, 120, acc.size) + 0.5) / np.abs(acc)).astype(np.float32)
    expected = runtime_requantize(acc, 1, w_scale, 1, zero)
    assert identical(arithmetic.requantize(acc, w_scale, zero, axis=0), expected)
    exact = np.rint(acc.astype(np.float64) * w_scale.astype(np.float64)) + int(zero)
    assert np.count_nonzero(exact != expected) > 1000


@on_contract_platform
@many(300)
@given(GENERATORS, SCALE_KINDS, EIGHT_BIT)
def test_any_accumulator_and_any_scales(
    rng: np.random.Generator, kind: str, dtype: np.dtype[Any]
) -> None:
    """All 32 bits of accumulators; extreme scales make multipliers 0, subnormal and infinite."""
    x_scale, w_scale, y_scale = scales(rng, kind), scales(rng, kind, (500,)), scales(rng, kind)
    bits = rng.integers(1, 32, 500)
    acc = (rng.integers(-(2**31), 2**31, 500) >> (31 - bits)).astype(np.int32)
    acc[: len(RAILS)] = RAILS
    zero = codes(rng, (), dtype)
    multiplier = arithmetic.conv_multiplier(x_scale, w_scale, y_scale)
    expected = runtime_requantize(acc, x_scale, w_scale, y_scale, zero)
    assert identical(arithmetic.requantize(acc, multiplier, zero, axis=0), expected)


@on_contract_platform
def test_an_infinite_multiplier_gives_the_rails_and_turns_0_into_qmin() -> None:
    big = np.float32(1e30)
    multiplier = arithmetic.conv_multiplier(big, big, np.float32(1))
    assert np.isinf(multiplier)
    acc = np.array([1, -1, 0], np.int32)
    assert arithmetic.requantize(acc, multiplier, np.int8(5)).tolist() == [127, -128, -128]
    expected = runtime_requantize(acc, big, big, 1, np.int8(5))
    assert identical(arithmetic.requantize(acc, multiplier, np.int8(5)), expected)


def test_ties_go_to_the_even_multiple_before_the_zero_point_is_added() -> None:
    """With an odd zero point, rounding after the addition would go the other way."""
    acc = np.array([1, 3, 5, -1, -3], np.int32)
    assert arithmetic.requantize(acc, 0.5, np.int8(1)).tolist() == [1, 3, 3, 1, -1]


def test_multiplier_per_channel_along_any_axis() -> None:
    acc = np.array([[10, 20], [30, 40]], np.int32)
    multiplier, zero = np.array([1.0, 0.1], np.float32), np.int8(0)
    assert arithmetic.requantize(acc, multiplier, zero, axis=0).tolist() == [[10, 20], [3, 4]]
    assert arithmetic.requantize(acc, multiplier, zero, axis=-1).tolist() == [[10, 2], [30, 4]]


def test_order_of_the_float32_operations() -> None:
    """Each multiplier as its operator forms it, left to right."""
    x, w, y, alpha = (np.float32(s) for s in (0.1, 0.3, 0.7, 0.9))
    assert arithmetic.conv_multiplier(x, w, y) == (x * w) / y
    assert arithmetic.gemm_multiplier(x, w, y, float(alpha)) == ((alpha * x) * w) / y
    assert arithmetic.accumulator_scale(x, w, float(alpha)) == (alpha * x) * w
    assert arithmetic.accumulator_scale(x, w) == x * w
    assert arithmetic.pool_multiplier(x, y, 49) == x / (y * np.float32(49))


@pytest.mark.parametrize("where", ["x_scale", "w_scale", "y_scale"])
def test_a_scale_of_a_multiplier_is_named(where: str) -> None:
    for bad in (np.float32(0), np.float64(1)):
        scale_of = {"x_scale": 1.0, "w_scale": 1.0, "y_scale": 1.0, where: bad}
        with pytest.raises(arithmetic.OperandError) as error:
            arithmetic.conv_multiplier(**scale_of)
        assert error.value.where == where
