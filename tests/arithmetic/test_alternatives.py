"""Other adders and averages: what each is, in exact numbers, and which data tell it apart."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic
from bitbybit.arithmetic import alternatives
from bitbybit.arithmetic.alternatives import ADDERS, AVERAGES
from bitbybit.errors import BitbybitError
from tests.support.fixed_point import tflite

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
    if name == "22-bit-multipliers":
        ratios = [Fraction(float(s / s_c)) for s in (s_a, s_b)]
        places = 21 - math.floor(math.log2(max(ratios)))
        total = sum(round(r * 2**places) * q for r, q in zip(ratios, (a, b), strict=True))
        away = math.floor(Fraction(abs(total), 2**places) + Fraction(1, 2))
        return away if total >= 0 else -away
    places = int(name)
    ratios = [round(Fraction(float(s / s_c)) * 2**places) for s in (s_a, s_b)]
    return math.floor(Fraction(ratios[0] * a + ratios[1] * b, 2**places) + Fraction(1, 2))


@pytest.mark.parametrize("operands", [CALIBRATED, ROUND])
@pytest.mark.parametrize(
    "name",
    [
        "real-numbers",
        "qdq-literally",
        "each-operand-rounded",
        "shifted-left",
        "22-bit-multipliers",
        "0",
        "7",
    ],
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
        "double-rounding": [tflite(int(a), float(x) / (float(y) * pixels)) for a in acc],
        "half-up": [math.floor(f(v + f(0.5))) for v in mean],
        "truncate": [int(v) for v in mean],
        "mean-rounded-first": [round(float(f(round(float(f(a) / n))) * f(x / y))) for a in acc],
    }
    assert list(found) == list(expected)
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
