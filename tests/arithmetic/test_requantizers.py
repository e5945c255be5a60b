"""Every way to requantize: what each is, in exact numbers, and which accumulators tell it apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.arithmetic import requantizers
from bitbybit.arithmetic.requantizers import REQUANTIZERS, integer_multiplier, thresholds
from bitbybit.errors import BitbybitError
from tests.support.accumulators import next_to_ties, runtime_requantize
from tests.support.fixed_point import half_away, half_up, multiplier, tflite
from tests.support.operands import scales
from tests.support.runtime import identical, on_contract_platform

EXACT = ["contract", "thresholds", "xnnpack-fp32"]
"""Those that are the contract's function, whatever the scales."""

FIXED = [name for name, r in REQUANTIZERS.items() if r.integers and name != "thresholds"]
Channels = tuple[NDArray[np.int32], Any, NDArray[np.float32], Any]


@pytest.fixture(scope="module")
def channels() -> Channels:
    """Return 200,000 accumulators next to ties, and their scales x, w, y."""
    rng = np.random.default_rng(4)
    x_scale, y_scale = np.float32(0.0237), np.float32(0.0513)
    w_scale = scales(rng, "ordinary", (200_000,), low=-14, high=-4)
    return next_to_ties(rng, x_scale, w_scale, y_scale), x_scale, w_scale, y_scale


def first(channels: Channels, count: int) -> Channels:
    acc, x_scale, w_scale, y_scale = channels
    return acc[:count], x_scale, w_scale[:count], y_scale


def test_names_are_keys_and_the_contract_is_first() -> None:
    assert all(name == requantizer.name for name, requantizer in REQUANTIZERS.items())
    assert next(iter(REQUANTIZERS)) == "contract"
    assert all(r.formula and r.source for r in REQUANTIZERS.values())


@on_contract_platform
@pytest.mark.parametrize("zero", [np.int8(-3), np.uint8(101)])
def test_only_these_equal_onnx_runtime(channels: Channels, zero: Any) -> None:
    expected = runtime_requantize(*channels, zero)
    some = first(channels, 1000)  # 255 thresholds each
    wrong = {
        name: int(np.count_nonzero(r(*channels, zero, 0) != expected))
        if name != "thresholds"
        else int(np.count_nonzero(r(*some, zero, 0) != expected[:1000]))
        for name, r in REQUANTIZERS.items()
    }
    assert [name for name, count in wrong.items() if count == 0] == EXACT


@pytest.mark.parametrize("name", [n for n in REQUANTIZERS if not n.startswith("8-")])
def test_differs_from_the_contract_by_one_code_at_most(channels: Channels, name: str) -> None:
    """Next to a tie every other rounding is off by one, never by more."""
    zero, some = np.int8(-3), first(channels, 2000)
    contract = REQUANTIZERS["contract"](*some, zero, 0).astype(int)
    largest = np.abs(REQUANTIZERS[name](*some, zero, 0) - contract).max()
    assert largest == (name not in EXACT) or (name == "power-of-two" and largest > 1)


def test_roundings_of_the_same_ties() -> None:
    """Accumulators in halves: multiplier 1/2, odd zero point."""
    acc, zero = np.array([-5, -3, -1, 1, 3, 5], np.int32), np.int8(1)
    half = np.float32(0.5), np.float32(1), np.float32(1)
    rounded = {name: (r(acc, *half, zero, None) - 1).tolist() for name, r in REQUANTIZERS.items()}
    to_even, up, away = [-2, -2, 0, 0, 2, 2], [-2, -1, 0, 1, 2, 3], [-3, -2, -1, 1, 2, 3]
    for name in (*EXACT, "float64", "divide-last"):
        assert rounded[name] == to_even
    for name in set(FIXED) - {"double-rounding", "shift-for-division"} | {"half-up"}:
        assert rounded[name] == up
    assert rounded["half-away-from-zero"] == away
    assert rounded["double-rounding"] == up  # the first rounding: the shift is 31 or less
    assert rounded["shift-for-division"] == [-3, -2, -1, 1, 2, 3]
    assert rounded["zero-point-before-rounding"] == [-3, -1, -1, 1, 1, 3]
    assert rounded["truncate"] == [-2, -1, 0, 0, 1, 2]
    assert rounded["floor"] == [-3, -2, -1, 0, 1, 2]
    assert rounded["ceil"] == [-2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize("name", REQUANTIZERS)
@pytest.mark.parametrize("axis", [1, -2])
def test_each_channel_has_its_scale_and_the_codes_their_dtype(name: str, axis: int) -> None:
    rng = np.random.default_rng(1)
    acc = rng.integers(-9000, 9000, (2, 4, 5)).astype(np.int32)
    x_scale, y_scale = np.float32(0.02), np.float32(0.7)
    w_scale = rng.uniform(0.01, 2, 4).astype(np.float32)
    requantizer = REQUANTIZERS[name]
    for zero in (np.int8(5), np.uint8(100)):
        codes = requantizer(acc, x_scale, w_scale, y_scale, zero, axis)
        assert codes.dtype == zero.dtype
        kept = requantizer.multiplier(x_scale, w_scale, y_scale, zero)
        assert np.array_equal(requantizer.codes(acc, kept, zero, axis), codes)
        for c in range(4):
            alone = requantizer(acc[:, c], x_scale, w_scale[c], y_scale, zero, None)
            assert np.array_equal(codes[:, c], alone)


F = np.float32


def in_float32(name: str, a: int, x: Any, w: Any, y: Any, zero: int) -> int:
    """Requantize one accumulator by the definition of a scheme of floats, scalar by scalar."""
    product: dict[str, Callable[[], Any]] = {
        "weight-over-output-first": lambda: F(a) * F(x * F(w / y)),
        "input-over-output-first": lambda: F(a) * F(F(x / y) * w),
        "reciprocal-of-output": lambda: F(a) * F(F(x * w) * F(F(1) / y)),
        "divide-last": lambda: F(F(a) * F(x * w)) / y,
        "float64": lambda: float(a) * (float(x) * float(w) / float(y)),
    }
    v = product.get(name, lambda: F(a) * F(F(x * w) / y))()
    exact = Fraction(float(v))
    to_whole: dict[str, Callable[[], int]] = {
        "half-away-from-zero": lambda: half_away(exact) + zero,
        "half-up": lambda: math.floor(float(v + F(0.5))) + zero,
        "zero-point-before-rounding": lambda: round(float(v + F(zero))),
        "truncate": lambda: math.trunc(exact) + zero,
        "floor": lambda: math.floor(exact) + zero,
        "ceil": lambda: math.ceil(exact) + zero,
    }
    return to_whole.get(name, lambda: round(exact) + zero)()


def in_integers(name: str, a: int, x: Any, w: Any, y: Any) -> int:
    """Multiply one accumulator by the definition of a fixed-point scheme, in exact numbers."""
    double = float(x) * float(w) / float(y)
    modes = {
        "double-rounding": "double",
        "double-rounding-upward": "upward",
        "shift-for-division": "slip",
        "single-rounding": "single",
    }
    if name in modes:
        return tflite(a, double, modes[name])
    if name == "single-rounding-16-bit":
        q, e = multiplier(double)
        q, bits = (q + 2**15) >> 16 if q < 0x7FFF0000 else 0x7FFF, 15
    elif name == "xnnpack-rndnu":
        (q, e), bits = multiplier(float(F(F(x * w) / y)), 24), 24
    else:
        bits = 1 if name == "power-of-two" else int(name.partition("-")[0])
        q, e = multiplier(double, bits)
    return half_up(Fraction(a * q) * Fraction(2) ** (e - bits))


@pytest.mark.parametrize("name", REQUANTIZERS)
def test_a_scheme_is_its_definition(channels: Channels, name: str) -> None:
    acc, x, w, y = first(channels, 600)
    acc, w = acc.copy(), w.copy()
    w[:20] = np.exp2(np.arange(-10, 10))  # multipliers at and above 1
    acc[:20] = np.arange(-10, 10)
    w[20:40] = w[20] * (1 - 2.0**-20)
    for zero in (5, -128):
        expected = [
            in_integers(name, int(a), x, s, y) + zero
            if name in FIXED
            else in_float32(name, int(a), x, s, y, zero)
            for a, s in zip(acc, w, strict=True)
        ]
        found = REQUANTIZERS[name](acc, x, w, y, np.int8(zero), 0)
        assert found.tolist() == np.clip(expected, -128, 127).tolist()


@pytest.mark.parametrize("bits", [2, 7, 22, 31])
def test_a_multiplier_of_any_width_is_its_definition(channels: Channels, bits: int) -> None:
    acc, x, w, y = first(channels, 200)
    made = requantizers.single_rounding(bits)
    expected = [in_integers(made.name, int(a), x, s, y) for a, s in zip(acc, w, strict=True)]
    assert made(acc, x, w, y, np.int8(0), 0).tolist() == np.clip(expected, -128, 127).tolist()


NEARLY_ONE = 1 - 2.0**-40
"""Its mantissa rounds to 1 in 31 bits."""


@pytest.mark.parametrize("bits", [31, 24, 15, 1])
@pytest.mark.parametrize("real", [0.0005, 0.75, 1.0, 15.0, 2.0**-31, NEARLY_ONE, 8 * NEARLY_ONE])
def test_integer_multipliers_are_those_of_exact_arithmetic(real: float, bits: int) -> None:
    q, e = multiplier(real, bits)
    found = integer_multiplier(real, bits)
    assert [part.dtype for part in found] == [np.dtype(np.int64)] * 2
    assert [int(part) for part in found] == [q, bits - e]


def test_thirty_one_bits_are_the_default() -> None:
    assert integer_multiplier(0.3) == integer_multiplier(0.3, 31)
    assert int(integer_multiplier(0.3).q) >= 2**30


def test_multipliers_that_vanish_are_zero() -> None:
    """As in TensorFlow Lite, which flushes them: more than 31 places behind the high half."""
    assert [int(part) for part in integer_multiplier(2.0**-32)] == [2**30, 62]
    assert [int(part) for part in integer_multiplier(2.0**-32 * 0.99)] == [0, 31]
    assert [int(part) for part in integer_multiplier(0.0)] == [0, 31]


def test_one_shift_for_all_channels() -> None:
    real = np.array([0.75, 0.1, 0.001])
    q, shift = integer_multiplier(real, 8, one_shift=True)
    assert shift.tolist() == [8, 8, 8]
    assert q.tolist() == [round(m * 256) for m in real]
    q, shift = integer_multiplier(np.array([0.999, 0.1]), 8, one_shift=True)
    assert (q.tolist(), shift.tolist()) == ([128, 13], [7, 7])  # 0.999 * 256 rounds to 256
    shared = requantizers.single_rounding(8, one_shift=True)
    assert shared.name == "8-bit-multiplier-one-shift"
    acc = np.array([[100], [100], [3000]], np.int32)
    codes = shared(acc, F(1), real.astype(F), F(1), np.int8(0), 0)
    assert codes.ravel().tolist() == [half_up(Fraction(a, 256)) for a in (19200, 2600, 0)]


@pytest.mark.parametrize("bits", [0, 32])
def test_bits_outside_their_range_are_refused(bits: int) -> None:
    for make in (requantizers.single_rounding, lambda wide: integer_multiplier(0.5, wide)):
        with pytest.raises(BitbybitError, match=f"bits.*1 to 31.*{bits}"):
            make(bits)


@pytest.mark.parametrize("name", FIXED)
def test_integer_multipliers_far_from_1_give_the_rails_or_nothing(name: str) -> None:
    acc, one = np.array([-(2**31), -3, -1, 0, 1, 3, 2**31 - 1], np.int32), np.float32(1)
    tiny, huge = np.float32(2.0**-40), np.float32(2.0**40)
    assert REQUANTIZERS[name](acc, tiny, one, one, np.int8(7), None).tolist() == [7] * 7
    rails = [-128, -128, -128, 7, 127, 127, 127]
    assert REQUANTIZERS[name](acc, huge, one, one, np.int8(7), None).tolist() == rails
    infinite = REQUANTIZERS[name](acc, F(3e38), F(3e38), F(1e-30), np.int8(7), None)
    assert infinite.tolist() == rails


@pytest.mark.parametrize("name", REQUANTIZERS)
def test_a_larger_accumulator_never_gets_a_smaller_code(name: str) -> None:
    rng = np.random.default_rng(6)
    near = np.arange(-3000, 3000)
    far = np.sort(rng.integers(-(2**31), 2**31, 3000))
    acc = np.sort(np.concatenate([near, far])).astype(np.int32)
    for m in (2.0**-33, 1e-6, 0.0173, 0.25, 0.75, 1, 3.3, 300, 2.0**31, 2.0**60):
        codes = REQUANTIZERS[name](acc, F(m), F(1), F(1), np.uint8(77), None).astype(int)
        assert (np.diff(codes) >= 0).all()


@pytest.mark.parametrize("zero", [np.int8(-128), np.int8(9), np.uint8(130)])
def test_thresholds_are_the_contract_in_integers(zero: Any) -> None:
    """Every accumulator around the codes of four channels, and both ends of int32."""
    w_scale = np.array([2.0**-9, 0.0123, 1, 200], F)
    acc = np.r_[-(2**31) : -(2**31) + 9, -150_000:150_000, 2**31 - 9 : 2**31].astype(np.int32)
    every = np.broadcast_to(acc, (4, acc.size))
    expected = REQUANTIZERS["contract"](every, F(1), w_scale, F(1), zero, 0)
    kept = REQUANTIZERS["thresholds"].multiplier(F(1), w_scale, F(1), zero)
    assert kept.shape == (4, 255)
    assert identical(REQUANTIZERS["thresholds"].codes(every, kept, zero, 0), expected)
    below, above = (np.int64(np.iinfo(zero.dtype).min) + k for k in (0, 1))
    for row, channel in zip(kept, expected, strict=True):  # each is where the code changes
        assert row[0] == acc[np.argmax(channel > below)]
        assert row[1] == acc[np.argmax(channel > above)]


@pytest.mark.parametrize(("x", "w"), [(3e38, 3e38), (1e-38, 1e-38)])
def test_thresholds_of_multipliers_that_are_no_numbers(x: float, w: float) -> None:
    """Infinity and 0: the product of 0 and infinity is the lowest code."""
    acc = np.array([-(2**31), -1, 0, 1, 2**31 - 1], np.int32)
    given = acc, F(x), F(w), F(1), np.int8(4)
    assert identical(REQUANTIZERS["thresholds"](*given), REQUANTIZERS["contract"](*given))


def test_thresholds_within_bounds() -> None:
    """Where no accumulator has a code, its threshold lies one beyond the end."""
    kept = thresholds(lambda acc: np.clip(acc // 10, -128, 127), -25, 31, np.dtype(np.int8))
    wanted = np.arange(-127, 128)
    assert kept.tolist() == np.clip(10 * wanted, -25, 32).tolist()


@pytest.mark.parametrize("name", REQUANTIZERS)
def test_operands_outside_their_definition_are_refused(name: str) -> None:
    acc, requantizer = np.array([1], np.int32), REQUANTIZERS[name]
    for zero in (7, np.int16(7)):
        with pytest.raises(BitbybitError) as refused:
            requantizer(acc, 1.0, 1.0, 1.0, zero, None)
        assert refused.value.where == "y_zero_point"
    kept = requantizer.multiplier(1.0, 1.0, 1.0, np.int8(0))
    with pytest.raises(BitbybitError, match="accumulator"):
        requantizer.codes(acc.astype(np.int64), kept, np.int8(0))
    wrong = {"x": (0.0, 1.0, 1.0), "w": (1.0, -1.0, 1.0), "y": (1.0, 1.0, 0.0)}
    for where, (x_scale, w_scale, y_scale) in wrong.items():
        with pytest.raises(BitbybitError, match=f"{where}_scale"):
            requantizer.multiplier(x_scale, w_scale, y_scale, np.int8(0))


def test_a_folded_relu_hides_the_difference_of_half_up_and_half_away(channels: Channels) -> None:
    """With y_zero_point = qmin the negative side, where they differ, is one rail."""
    for one, other in (("half-up", "half-away-from-zero"), ("truncate", "floor")):
        for zero, hidden in ((np.int8(-128), True), (np.int8(-3), False)):
            a, b = (REQUANTIZERS[name](*channels, zero, 0) for name in (one, other))
            assert np.array_equal(a, b) == hidden


def test_fewer_bits_of_multiplier_are_further_from_the_contract(channels: Channels) -> None:
    zero = np.int8(-3)
    contract = REQUANTIZERS["contract"](*channels, zero, 0)
    wrong = [
        np.count_nonzero(requantizers.single_rounding(bits)(*channels, zero, 0) != contract)
        for bits in (31, 15, 11, 7)
    ]
    assert wrong == sorted(wrong)
    assert len(set(wrong)) == 4


def test_the_field_report_of_a_product_that_becomes_a_tie() -> None:
    """6.500000468 is 6.5 in float32 and goes to even: no integer scheme says so."""
    scales_given = F(0.05296124517917633), F(0.024093778803944588), F(0.11484327912330627)
    acc = np.array([585], np.int32)
    codes = {n: int(r(acc, *scales_given, np.int8(-126), None)[0]) for n, r in REQUANTIZERS.items()}
    assert {codes[name] for name in EXACT} == {-120}
    for name in ("single-rounding", "double-rounding", "double-rounding-upward", "float64"):
        assert codes[name] == -119
