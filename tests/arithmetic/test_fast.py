"""The fast form is the definition, bit for bit, up to the very bounds that allow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit import arithmetic
from bitbybit.arithmetic import Interleaved
from bitbybit.errors import BitbybitError, UnsupportedError
from tests.support.operands import EIGHT_BIT, GENERATORS, codes
from tests.support.runtime import identical, many

ONE = np.float32(1)


@pytest.mark.parametrize("zero", [-128, 127])
@pytest.mark.parametrize("terms", [100, 580, 1000, 2000, 20000])
def test_sums_beyond_2_to_the_24_are_exact(terms: int, zero: int) -> None:
    """The bias takes a large sum back to -3..3: a float32 that lost one unit on the way shows.

    From 1000 terms on, the bound is above 2^25 and the sum above 2^24.
    """
    rng = np.random.default_rng(terms)
    far = 127 if zero < 0 else -128
    w = rng.integers(100, 128, (64, terms, 1, 1)).astype(np.int8)
    x = np.full((16, terms, 1, 2), far, np.int8)
    left = rng.integers(-3, 4, 64)
    bias = (left - w.astype(np.int64).sum(axis=(1, 2, 3)) * (far - zero)).astype(np.int32)
    zero_point, no_zero = np.array(zero, np.int8), np.array(0, np.int8)
    operands = (np.float32(32), zero_point, w, ONE, no_zero, ONE, no_zero, bias)
    fast = arithmetic.fast_conv(*operands)
    assert fast is not None
    found = fast(Interleaved.of(x, zero_point))
    assert found is not None
    assert identical(found.codes[3, :, 0, 1], (32 * left).astype(np.int8))
    assert identical(found.codes, arithmetic.qlinear_conv(x, *operands))


def prepared(**changed: Any) -> Any:
    w = np.full((2, 3, 1, 1), 2, np.int8)
    operands: dict[str, Any] = {
        "x_scale": ONE, "x_zero_point": np.array(-128, np.int8), "w": w, "w_scale": ONE,
        "w_zero_point": np.array(0, np.int8), "y_scale": ONE, "y_zero_point": np.array(0, np.int8),
        **changed,
    }  # fmt: skip
    return arithmetic.fast_conv(**operands)


def test_there_is_no_fast_form_where_exactness_is_not_proved() -> None:
    assert prepared() is not None
    largest = 2**31 - 1 - 3 * 2 * 255
    assert prepared(b=np.array([0, largest], np.int32)) is not None
    assert prepared(b=np.array([0, largest + 1], np.int32)) is None
    assert prepared(b=np.array([-(2**31), 0], np.int32)) is None
    assert prepared(x_scale=np.float32(1e30), y_scale=np.float32(1e-30)) is None
    assert prepared(dilations=(1, 2)) is None
    assert prepared(w=np.ones((4, 3, 1, 1), np.int8), group=2) is None
    assert prepared(w=np.ones((0, 3, 1, 1), np.int8)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"w": np.ones((2, 3, 1, 1), np.uint8)},
        {"y_zero_point": np.array(0, np.uint8)},
        {"x_zero_point": np.array(0, np.int16)},
        {"x_zero_point": np.zeros(3, np.int8)},
        {"x_scale": np.float32(0)},
    ],
)
def test_what_the_definition_refuses_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BitbybitError):
        prepared(**changed)


def test_inputs_outside_the_window_are_left_to_the_definition() -> None:
    fast, zero = prepared(w=np.ones((2, 3, 4, 4), np.int8)), np.array(-128, np.int8)
    assert fast(Interleaved.of(np.zeros((1, 3, 4, 4), np.int8), zero)) is not None
    assert fast(Interleaved.of(np.zeros((1, 3, 3, 4), np.int8), zero)) is None
    assert fast(Interleaved.of(np.zeros((1, 2, 4, 4), np.int8), zero)) is None
    wide = prepared(pads=(30_000,) * 4)
    assert wide(Interleaved.of(np.zeros((1, 3, 4, 4), np.int8), zero)) is None


@pytest.mark.parametrize("images", [1, 2, 7, 16, 21])
def test_few_or_many_images_at_a_time_give_the_same(
    images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, zero = np.random.default_rng(images), np.array(-128, np.int8)
    fast = prepared(
        w=codes(rng, (4, 3, 3, 2), np.dtype(np.int8)), pads=(1, 0, 2, 1), strides=(2, 1)
    )
    x = Interleaved.of(codes(rng, (images, 3, 5, 6), np.dtype(np.int8)), zero)
    whole = fast(x).codes
    monkeypatch.setattr("bitbybit.arithmetic._fast.SCRATCH", 1)
    assert identical(fast(x).codes, whole)


def test_an_array_beyond_4_gib_is_refused_before_it_is_made() -> None:
    x, w = np.zeros((1, 1, 4, 4), np.int8), np.ones((1, 1, 1, 1), np.int8)
    with pytest.raises(UnsupportedError, match=r"padded x: .* too large .*at most 4294967296"):
        arithmetic.conv_integer(x, w, pads=(30_000,) * 4)
    tall, wide = np.zeros((40_000, 1), np.int8), np.zeros((1, 40_000), np.int8)
    with pytest.raises(UnsupportedError, match="output: the array would be too large"):
        arithmetic.matmul_integer(tall, wide)
    with pytest.raises(UnsupportedError, match="C: the array would be too large"):
        arithmetic.qlinear_add(tall, 1.0, 0, wide, 1.0, 0, 1.0, np.int8(0))


@many(60)
@given(EIGHT_BIT, st.integers(1, 40), GENERATORS)
def test_layouts_hold_the_same_codes(
    dtype: np.dtype[Any], count: int, rng: np.random.Generator
) -> None:
    shape = (count, *(int(n) for n in rng.integers(1, 5, 3)))
    x, zero = codes(rng, shape, dtype), codes(rng, (), dtype)
    there = Interleaved.of(x, zero)
    assert there.shape == shape
    assert sum(block.shape[-1] for block in there.blocks) == count
    assert identical(there.codes, x)
    assert there.codes is there.codes
    assert not there.codes.flags.writeable


@many(40)
@given(EIGHT_BIT, st.sampled_from(["ties", "calibrated", "extreme"]), GENERATORS)
def test_all_pairs_of_an_addition(
    dtype: np.dtype[Any], kind: str, rng: np.random.Generator
) -> None:
    """Ratios of small integers make ties, which the short formula may round otherwise."""
    if kind == "ties":
        scales = [*(rng.integers(1, 12, 2) / np.float64(6)).tolist(), 1.0]
    elif kind == "calibrated":
        scales = [*rng.uniform(0.01, 0.1, 2).tolist(), 0.11]
    else:
        scales = (10.0 ** rng.uniform(-30, 30, 3)).tolist()
    a, b, c = (np.float32(scale) for scale in scales)
    zeros = [codes(rng, (), dtype) for _ in range(3)]
    operands = (a, zeros[0], b, zeros[1], c, zeros[2])
    info = np.iinfo(dtype)
    every = np.arange(info.min, info.max + 1).astype(dtype)
    right, left = np.meshgrid(every, every)
    x, y = left.reshape(1, 1, 256, 256), right.reshape(1, 1, 256, 256)
    fast = arithmetic.fast_add(*operands)
    found = fast(Interleaved.of(x, zeros[0]), Interleaved.of(y, zeros[1]))
    assert found is not None
    assert identical(
        found.codes, arithmetic.qlinear_add(x, a, zeros[0], y, b, zeros[1], c, zeros[2])
    )


def test_operands_that_are_repeated_or_swapped_are_left_to_the_definition() -> None:
    zero = np.array(0, np.int8)
    fast = arithmetic.fast_add(ONE, zero, ONE, zero, ONE, zero)
    full, row, single = (
        Interleaved.of(np.zeros(shape, np.int8), zero)
        for shape in ((2, 3, 4, 4), (2, 3, 1, 4), (2, 1, 1, 1))
    )
    assert fast(full, full) is not None
    assert fast(full, row) is None
    assert fast(single, single) is None
