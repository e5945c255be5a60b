"""The other requantizations: what each is, and that adversarial accumulators tell it apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.arithmetic import alternatives
from bitbybit.arithmetic.alternatives import REQUANTIZERS
from bitbybit.errors import BitbybitError
from tests.support.accumulators import next_to_ties, runtime_requantize
from tests.support.operands import scales
from tests.support.runtime import on_contract_platform

NAMES = [name for name in REQUANTIZERS if name != "contract"]
Channels = tuple[NDArray[np.int32], Any, NDArray[np.float32], Any]


@pytest.fixture(scope="module")
def channels() -> Channels:
    """Return 200,000 accumulators next to ties, and their scales x, w, y."""
    rng = np.random.default_rng(4)
    x_scale, y_scale = np.float32(0.0237), np.float32(0.0513)
    w_scale = scales(rng, "ordinary", (200_000,), low=-14, high=-4)
    return next_to_ties(rng, x_scale, w_scale, y_scale), x_scale, w_scale, y_scale


@on_contract_platform
@pytest.mark.parametrize("zero", [np.int8(-3), np.uint8(101)])
def test_only_the_contract_equals_onnx_runtime(channels: Channels, zero: Any) -> None:
    expected = runtime_requantize(*channels, zero)
    wrong = {
        name: int(np.count_nonzero(requantizer(*channels, zero, 0) != expected))
        for name, requantizer in REQUANTIZERS.items()
    }
    assert [name for name, count in wrong.items() if count == 0] == ["contract"]


@pytest.mark.parametrize("name", NAMES)
def test_differs_from_the_contract_by_one_code_at_most(channels: Channels, name: str) -> None:
    """Next to a tie every other rounding is off by one, never by more."""
    zero = np.int8(-3)
    contract = alternatives.contract(*channels, zero, 0).astype(int)
    assert np.abs(REQUANTIZERS[name](*channels, zero, 0) - contract).max() == 1


def test_roundings_of_the_same_ties() -> None:
    """Accumulators in halves: multiplier 1/2, odd zero point."""
    acc, zero = np.array([-5, -3, -1, 1, 3, 5], np.int32), np.int8(1)
    half = np.float32(0.5), np.float32(1), np.float32(1)
    rounded = {name: (REQUANTIZERS[name](acc, *half, zero, None) - 1).tolist() for name in NAMES}
    assert rounded["float64"] == [-2, -2, 0, 0, 2, 2]
    assert rounded["half-away-from-zero"] == [-3, -2, -1, 1, 2, 3]
    assert rounded["half-up"] == [-2, -1, 0, 1, 2, 3]
    assert rounded["zero-point-before-rounding"] == [-3, -1, -1, 1, 1, 3]
    assert rounded["truncate"] == [-2, -1, 0, 0, 1, 2]
    assert rounded["floor"] == [-3, -2, -1, 0, 1, 2]
    assert rounded["ceil"] == [-2, -1, 0, 1, 2, 3]
    assert rounded["single-rounding"] == [-2, -1, 0, 1, 2, 3]


def test_a_folded_relu_hides_the_difference_of_half_up_and_half_away(channels: Channels) -> None:
    """With y_zero_point = qmin the negative side, where they differ, is one rail."""
    for first, second in (("half-up", "half-away-from-zero"), ("truncate", "floor")):
        for zero, hidden in ((np.int8(-128), True), (np.int8(-3), False)):
            a, b = (REQUANTIZERS[name](*channels, zero, 0) for name in (first, second))
            assert np.array_equal(a, b) == hidden


def tflite(acc: int, x: float, w: float, y: float, single: bool) -> int:
    """Multiply as TensorFlow Lite's common.cc writes it, in Python integers."""
    mantissa, exponent = math.frexp(x * w / y)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q, exponent = q // 2, exponent + 1
    if single:
        shift = 31 - exponent
        return (acc * q + (1 << (shift - 1))) >> shift
    product = (acc << max(exponent, 0)) * q
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C divides towards zero
    places = max(-exponent, 0)
    mask = (1 << places) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> places) + (1 if high & mask > threshold else 0)


@pytest.mark.parametrize("name", ["double-rounding", "single-rounding"])
def test_fixed_point_is_tensorflow_lites(channels: Channels, name: str) -> None:
    x_scale, y_scale = channels[1], channels[3]
    acc, w_scale = channels[0][:3000].copy(), channels[2][:3000].copy()
    w_scale[:20] = np.exp2(np.arange(-10, 10))  # multipliers at and above 1
    acc[:20] = np.arange(-10, 10)
    x, w, y = float(x_scale), w_scale.astype(float), float(y_scale)
    expected = [
        min(max(tflite(int(a), x, float(s), y, name == "single-rounding") + 5, -128), 127)
        for a, s in zip(acc, w, strict=True)
    ]
    actual = REQUANTIZERS[name](acc, x_scale, w_scale, y_scale, np.int8(5), 0)
    assert actual.tolist() == expected


@pytest.mark.parametrize("bits", [0, 32])
def test_bits_outside_their_range_are_refused(bits: int) -> None:
    with pytest.raises(BitbybitError, match=f"bits.*1 to 31.*{bits}"):
        alternatives.single_rounding(bits)


def test_fewer_bits_of_multiplier_are_further_from_the_contract(channels: Channels) -> None:
    zero = np.int8(-3)
    contract = alternatives.contract(*channels, zero, 0)
    wrong = [
        np.count_nonzero(alternatives.single_rounding(bits)(*channels, zero, 0) != contract)
        for bits in (31, 15, 11, 7)
    ]
    assert wrong == sorted(wrong)
    assert len(set(wrong)) == 4
