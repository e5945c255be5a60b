"""The other requantizations: what each is, and that adversarial accumulators tell it apart."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic import alternatives
from bitbybit.arithmetic.alternatives import ADDERS, AVERAGES, REQUANTIZERS
from bitbybit.errors import BitbybitError
from tests.support.accumulators import next_to_ties, runtime_requantize
from tests.support.operands import scales
from tests.support.runtime import identical, on_contract_platform

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


@pytest.mark.parametrize("name", REQUANTIZERS)
@pytest.mark.parametrize("axis", [1, -2])
def test_each_channel_has_its_scale_and_the_codes_their_dtype(name: str, axis: int) -> None:
    rng = np.random.default_rng(1)
    acc = rng.integers(-9000, 9000, (2, 4, 5)).astype(np.int32)
    x_scale, y_scale = np.float32(0.02), np.float32(0.7)
    w_scale = rng.uniform(0.01, 2, 4).astype(np.float32)
    for zero in (np.int8(5), np.uint8(100)):
        codes = REQUANTIZERS[name](acc, x_scale, w_scale, y_scale, zero, axis)
        assert codes.dtype == zero.dtype
        if name == "single-rounding":  # made anew: the other was made when it was imported
            again = alternatives.single_rounding(31)(acc, x_scale, w_scale, y_scale, zero, axis)
            assert np.array_equal(again, codes)
        for c in range(4):
            alone = REQUANTIZERS[name](acc[:, c], x_scale, w_scale[c], y_scale, zero, None)
            assert np.array_equal(codes[:, c], alone)


def test_a_contract_is_made_of_its_two_formulas(channels: Channels) -> None:
    """Made anew: in this room the others were made when it was imported."""
    made = alternatives.floating(
        lambda a, x, w, y: a * ((x * w) / y), lambda v, zero: np.rint(v) + zero
    )
    for zero in (np.int8(-3), np.uint8(101)):
        expected = runtime_requantize(*channels, zero)
        assert identical(np.asarray(made(*channels, zero, 0)), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_formulas_get_numbers_of_their_dtype(dtype: type) -> None:
    """Scales are float32 before they are anything else."""
    seen: list[Any] = []

    def real(*numbers: Any) -> Any:
        seen.extend(numbers)
        return np.array([[1.5, 300, -300], [np.nan, -np.inf, np.inf]], dtype)

    def to_codes(v: Any, zero: Any) -> Any:
        seen.append(zero)
        return np.floor(v) + zero

    made = alternatives.floating(real, to_codes, dtype)
    acc = np.array([[2**24 + 1, 2, 3], [4, 5, 6]], np.int32)
    w_scale = np.array([0.1, 0.3], np.float32)
    codes = made(acc, 0.7, w_scale, 0.9, np.int8(7), 0)
    assert identical(np.asarray(codes), np.array([[8, 127, -128], [-128, -128, 127]], np.int8))
    assert [np.asarray(number).dtype for number in seen] == [np.dtype(dtype)] * 5
    assert np.array_equal(seen[0], acc.astype(dtype))
    assert seen[1] == dtype(np.float32(0.7))
    assert seen[2].shape == (2, 1)
    assert np.array_equal(seen[2].ravel(), w_scale.astype(dtype))
    assert seen[3] == dtype(np.float32(0.9))
    assert seen[4] == 7


SCALES = [(0.0237, 0.0011, 0.0513), (1.0, 1.0, 1.0), (3.0, 5.0, 1.0), (2.0**-30, 2.0**-30, 1.0)]
NEARLY_ONE = (1 - 2.0**-20, 1 + 2.0**-20, 1.0)
"""Their product is 1 - 2^-40: its mantissa rounds to 1 in 31 bits."""


@pytest.mark.parametrize("bits", [None, 31, 15, 1])
@pytest.mark.parametrize("scale_triple", [*SCALES, NEARLY_ONE, (*NEARLY_ONE[:2], 8.0)])
def test_integer_multipliers_are_those_of_exact_arithmetic(
    scale_triple: tuple[float, float, float], bits: int | None
) -> None:
    seen: list[Any] = []

    def multiply(*numbers: Any) -> Any:
        seen.extend(numbers)
        return numbers[0]

    given: dict[str, Any] = {} if bits is None else {"bits": bits}
    made = alternatives.fixed_point(multiply, **given)
    acc = np.array([-1000, -1, 0, 9, 1000], np.int32)
    x_scale, w_scale, y_scale = (np.float32(scale) for scale in scale_triple)
    found = made(acc, x_scale, w_scale, y_scale, np.uint8(9), None)
    assert identical(np.asarray(found), np.array([0, 8, 9, 18, 255], np.uint8))
    assert [number.dtype for number in seen] == [np.dtype(np.int64)] * 3
    x, w, y = (Fraction(float(np.float32(scale))) for scale in scale_triple)
    exact, exponent, bits = x * w / y, 0, bits or 31
    while exact >= 1:
        exact, exponent = exact / 2, exponent + 1
    while exact < Fraction(1, 2):
        exact, exponent = exact * 2, exponent - 1
    q = math.floor(exact * 2**bits + Fraction(1, 2))
    if q == 2**bits:
        q, exponent = q // 2, exponent + 1
    assert (int(seen[1]), int(seen[2])) == (q, exponent)


@pytest.mark.parametrize("name", ["double-rounding", "single-rounding", "single-rounding-16-bit"])
def test_integer_multipliers_far_from_1_give_the_rails_or_nothing(name: str) -> None:
    acc, one = np.array([-3, -1, 0, 1, 3], np.int32), np.float32(1)
    tiny, huge = np.float32(2.0**-40), np.float32(2.0**40)
    assert REQUANTIZERS[name](acc, tiny, one, one, np.int8(7), None).tolist() == [7] * 5
    if name != "double-rounding":  # which shifts the accumulator itself out of 64 bits
        rails = [-128, -128, 7, 127, 127]
        assert REQUANTIZERS[name](acc, huge, one, one, np.int8(7), None).tolist() == rails


@pytest.mark.parametrize("make", [alternatives.floating, alternatives.fixed_point])
def test_an_output_zero_point_without_a_type_is_refused(make: Any) -> None:
    made = make(lambda *numbers: numbers[0], *([np.add] if make is alternatives.floating else []))
    for zero in (7, np.int16(7)):
        with pytest.raises(BitbybitError) as refused:
            made(np.array([1], np.int32), 1.0, 1.0, 1.0, zero, None)
        assert refused.value.where == "y_zero_point"


def test_a_folded_relu_hides_the_difference_of_half_up_and_half_away(channels: Channels) -> None:
    """With y_zero_point = qmin the negative side, where they differ, is one rail."""
    for first, second in (("half-up", "half-away-from-zero"), ("truncate", "floor")):
        for zero, hidden in ((np.int8(-128), True), (np.int8(-3), False)):
            a, b = (REQUANTIZERS[name](*channels, zero, 0) for name in (first, second))
            assert np.array_equal(a, b) == hidden


def tflite(acc: int, real: float, single: bool = False) -> int:
    """Multiply as TensorFlow Lite's common.cc writes it, in Python integers."""
    mantissa, exponent = math.frexp(real)
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
        min(max(tflite(int(a), x * float(s) / y, name == "single-rounding") + 5, -128), 127)
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


# --- adders and averages --------------------------------------------------------------------

CALIBRATED: Any = (
    np.float32(0.023719), np.int8(-128), np.float32(0.061147), np.int8(17), np.float32(0.049367)
)  # fmt: skip
ROUND: Any = (np.float32(0.03), np.int8(11), np.float32(0.05), np.int8(-7), np.float32(0.1))
EVERY = np.arange(-128, 128, dtype=np.int8)
A, B = np.meshgrid(EVERY, EVERY, indexing="ij")


def one_sum(name: str, a: int, b: int, scales: Any) -> int:
    """Add two centred codes by the definition of ``name``, in exact or in float32 numbers."""
    s_a, s_b, s_c = scales
    if name == "real-numbers":
        return round((a * float(s_a) + b * float(s_b)) / float(s_c))
    if name == "qdq-literally":
        return round(float((np.float32(a) * s_a + np.float32(b) * s_b) / s_c))
    if name == "each-operand-rounded":
        return round(Fraction(float(s_a / s_c)) * a) + round(Fraction(float(s_b / s_c)) * b)
    if name == "shifted-left":
        twice = 2 * max(float(s_a), float(s_b))
        sums = sum(tflite(q << 20, float(s) / twice) for q, s in ((a, s_a), (b, s_b)))
        return tflite(sums, twice / 2**20 / float(s_c))
    places = int(name)
    ratios = [round(Fraction(float(s / s_c)) * 2**places) for s in (s_a, s_b)]
    return math.floor(Fraction(ratios[0] * a + ratios[1] * b, 2**places) + Fraction(1, 2))


@pytest.mark.parametrize("operands", [CALIBRATED, ROUND])
@pytest.mark.parametrize(
    "name", ["real-numbers", "qdq-literally", "each-operand-rounded", "shifted-left", "0", "7"]
)
def test_an_adder_is_its_definition(name: str, operands: Any) -> None:
    s_a, z_a, s_b, z_b, s_c = operands
    a, b, zero = A[::5, ::3], B[::5, ::3], np.int8(3)
    adder = ADDERS[name] if name in ADDERS else alternatives.shift_adder(int(name))
    expected = [
        min(
            max(one_sum(name, int(p) - int(z_a), int(q) - int(z_b), (s_a, s_b, s_c)) + 3, -128), 127
        )
        for p, q in zip(a.ravel(), b.ravel(), strict=True)
    ]
    found = adder(a, s_a, z_a, b, s_b, z_b, s_c, zero)
    assert found.dtype == np.int8
    assert found.shape == a.shape
    assert found.ravel().tolist() == expected


def test_the_real_sum_is_in_output_steps() -> None:
    a, b = np.array([7, 9], np.uint8), np.array([1, 2], np.uint8)
    found = alternatives.real_sum(a, 0.5, 3, b, 2.0, 5, 0.25)
    assert found.tolist() == [(0.5 * 4 - 2.0 * 4) / 0.25, (0.5 * 6 - 2.0 * 3) / 0.25]


def test_without_fma_rounds_each_product() -> None:
    s_a, z_a, s_b, z_b, s_c = CALIBRATED
    found = ADDERS["without-fma"](A, s_a, z_a, B, s_b, z_b, s_c, np.int8(3))
    f = np.float32
    r_a, r_b = f(s_a / s_c), f(s_b / s_c)
    fixed = f(3) - f(f(r_a * f(z_a)) + f(r_b * f(z_b)))
    for a, b in ((-128, -128), (-1, 7), (100, 40), (3, -90)):
        v = f(f(f(a) * r_a) + f(f(f(b) * r_b) + fixed))
        assert found[a + 128, b + 128] == min(max(round(float(v)), -128), 127)


def test_float32_adders_are_float32_throughout() -> None:
    """With round scales many sums are next to a tie, where float64 rounds otherwise."""
    rng, f, near_ties = np.random.default_rng(3), np.float32, 0
    for _ in range(20):
        s_a, s_b, s_c = (rng.integers(1, 11, 3) / [100, 100, 50]).astype(f)
        z_a, z_b, z_c = rng.integers(-128, 128, 3).astype(np.int8)
        real = arithmetic.dequantize_linear(A, s_a, z_a) + arithmetic.dequantize_linear(B, s_b, z_b)
        operands = (A, s_a, z_a, B, s_b, z_b, s_c, z_c)
        quantized = arithmetic.quantize_linear(real, s_c, z_c)
        assert np.array_equal(ADDERS["qdq-literally"](*operands), quantized)
        near_ties += int((quantized != ADDERS["real-numbers"](*operands)).sum())
        r_a, r_b = f(s_a / s_c), f(s_b / s_c)
        fixed = f(z_c) - f(f(r_a * f(z_a)) + f(r_b * f(z_b)))
        left, right = np.multiply(A, r_a, dtype=f), np.multiply(B, r_b, dtype=f)
        rounded = np.rint(np.add(left, np.add(right, fixed, dtype=f), dtype=f))
        clipped = np.clip(rounded, -128, 127).astype(np.int8)
        assert np.array_equal(ADDERS["without-fma"](*operands), clipped)
    assert near_ties > 1000


def test_the_shift_to_the_left_has_one_place_of_headroom() -> None:
    """With twice the larger scale these ratios are 1/2 and 1/4: every tie stays a tie."""
    one = np.float32(1)
    found = ADDERS["shifted-left"](A, one, np.int8(0), B, one / 2, np.int8(0), one, np.int8(0))
    halves = 2 * A.astype(int) + B
    away = np.sign(halves) * ((np.abs(halves) + 1) // 2)
    assert np.array_equal(found, np.clip(away, -128, 127))


@pytest.mark.parametrize("name", [*ADDERS, "made here"])
def test_an_adder_refuses_an_output_zero_point_without_a_type(name: str) -> None:
    adder = ADDERS.get(name, alternatives.shift_adder(3))
    for zero in (3, np.int16(3)):
        with pytest.raises(BitbybitError) as refused:
            adder(A, 1.0, np.int8(0), B, 1.0, np.int8(0), 1.0, zero)
        assert refused.value.where == "C_zero_point"


def test_which_adders_round_scales_tell_apart() -> None:
    """On ties the order of floating point shows; with calibrated scales it almost never does."""
    wrong: dict[str, list[int]] = {name: [] for name in ADDERS}
    for s_a, z_a, s_b, z_b, s_c in (CALIBRATED, ROUND):
        table = arithmetic.add_table(s_a, z_a, s_b, z_b, s_c, np.int8(-128))
        for name, adder in ADDERS.items():
            found = adder(A, s_a, z_a, B, s_b, z_b, s_c, np.int8(-128))
            wrong[name].append(int((found != table).sum()))
    assert wrong.pop("contract") == [0, 0]
    assert wrong.pop("each-operand-rounded")[0] > 5_000
    assert all(few < 20 < many for few, many in wrong.values())


@pytest.mark.parametrize(("x_scale", "y_scale", "pixels"), [(0.04, 0.06, 100), (0.5, 0.25, 64)])
def test_averages_round_their_own_way(x_scale: float, y_scale: float, pixels: int) -> None:
    acc, f = np.arange(-2000, 2000, dtype=np.int32), np.float32
    x, y, n = f(x_scale), f(y_scale), f(pixels)
    found = {name: average(acc, x, n, y, np.int8(5), None) for name, average in AVERAGES.items()}
    mean = [f(a) * f(x / f(y * n)) for a in acc]
    expected = {
        "contract": [round(float(v)) for v in mean],
        "divide-by-the-pixels-last": [round(float(f(a) * f(f(x / y) / n))) for a in acc],
        "float64": [round(int(a) * (float(x) / (float(y) * pixels))) for a in acc],
        "real-mean-then-quantize": [round(float(f(f(f(a) / n) * x) / y)) for a in acc],
        "half-up": [math.floor(f(v + f(0.5))) for v in mean],
        "truncate": [int(v) for v in mean],
        "mean-rounded-first": [round(float(f(round(float(f(a) / n))) * f(x / y))) for a in acc],
    }
    for name, whole in expected.items():
        assert found[name].tolist() == [min(max(w + 5, -128), 127) for w in whole], name


def test_the_contracts_average_is_the_operators() -> None:
    maps = np.random.default_rng(1).integers(-128, 128, (300, 1, 4, 5), dtype=np.int8)
    scales = np.float32(0.04), np.float32(0.02)
    acc = arithmetic.accumulate_global_average_pool(maps, np.int8(9))
    pooled = arithmetic.qlinear_global_average_pool(
        maps, scales[0], np.int8(9), scales[1], np.int8(-4)
    )
    average = AVERAGES["contract"](acc, scales[0], np.float32(20), scales[1], np.int8(-4), None)
    assert np.array_equal(average, pooled)
