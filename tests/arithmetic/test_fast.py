"""The fast form is the definition, bit for bit, up to the very bounds that allow it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit import arithmetic
from bitbybit.arithmetic import Interleaved, _operands
from bitbybit.errors import BitbybitError, UnsupportedError
from tests.support import one_node
from tests.support.accumulators import next_to_ties, runtime_requantize
from tests.support.operands import (
    DTYPE_PAIRS,
    EIGHT_BIT,
    GENERATORS,
    biases,
    codes,
    scales,
    weights,
    windows,
)
from tests.support.runtime import identical, many, on_contract_platform

ONE = np.float32(1)
INT8 = np.dtype(np.int8)


@on_contract_platform
@many(150)
@given(windows(), DTYPE_PAIRS, st.booleans(), GENERATORS)
def test_equals_the_definition_and_onnx_runtime(
    window: Any, pair: Any, per_channel: bool, rng: np.random.Generator
) -> None:
    attributes, kernel, size = window
    pads = arithmetic.window_pads(
        size, kernel, attributes["strides"], attributes.get("dilations", (1, 1)),
        attributes.get("pads", (0, 0, 0, 0)), attributes["auto_pad"],
    )  # fmt: skip
    x_dtype, w_dtype = pair
    channels, filters, images = (int(n) for n in rng.integers(1, 5, 3))
    per = (filters,) if per_channel else ()
    x = codes(rng, (images, channels, *size), x_dtype)
    operands: dict[str, Any] = {
        "x_scale": scales(rng, "ordinary", low=-6, high=-2),
        "x_zero_point": codes(rng, (), x_dtype),
        "w": weights(rng, (filters, channels, *kernel), w_dtype, x_dtype),
        "w_scale": scales(rng, "ordinary", per, low=-6, high=-2),
        "w_zero_point": weights(rng, per, w_dtype, x_dtype),
        "y_scale": scales(rng, "ordinary", low=-4, high=4),
        "y_zero_point": codes(rng, (), x_dtype),
        "b": np.clip(biases(rng, (filters,)), -(2**30), 2**30) if rng.integers(2) else None,
    }
    strides = attributes["strides"]
    fast = arithmetic.fast_conv(**operands, strides=strides, pads=pads)
    assert fast is not None
    found = fast(Interleaved.of(x, operands["x_zero_point"]))
    assert found is not None
    assert {block.dtype for block in found.blocks} == {np.dtype(np.float32)}
    expected = arithmetic.qlinear_conv(x, **operands, strides=strides, pads=pads)
    assert identical(found.codes, expected)
    names = ("x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point")
    inputs = {"x": x, **{name: operands[name] for name in names}, "b": operands["b"]}
    runtime = one_node.run("QLinearConv", inputs, x_dtype, {"strides": strides, "pads": list(pads)})
    assert identical(found.codes, runtime)


@pytest.mark.parametrize("axis", [0, 1])
def test_every_small_window_on_one_axis(axis: int) -> None:
    """Pixels 1, 2, 3, ... under the weights 1, 2, 4, 7: each tap that is misplaced shows."""
    zero = np.array(-1, np.int8)
    for size, kernel, stride in product(range(1, 6), range(1, 5), range(1, 4)):
        pixels, taps = np.arange(1, size + 1), np.array([1, 2, 4, 7][:kernel])
        x, w = ((v - 1).astype(np.int8).reshape(1, 1, -1, 1) for v in (pixels, taps + 1))
        if axis:
            x, w = x.swapaxes(2, 3), w.swapaxes(2, 3)
        for before, after in product(range(5), range(4)):
            if size + before + after < kernel:
                continue
            fast = prepared(
                w=w, x_zero_point=zero, strides=(1, stride) if axis else (stride, 1),
                pads=(0, before, 0, after) if axis else (before, 0, after, 0),
            )  # fmt: skip
            padded = np.pad(pixels, (before, after))
            places = range(0, len(padded) - kernel + 1, stride)
            expected = [int(padded[i : i + kernel] @ taps) for i in places]
            assert fast(Interleaved.of(x, zero)).codes.reshape(-1).tolist() == expected


@on_contract_platform
@pytest.mark.parametrize("bits", [24, 30])
def test_accumulators_next_to_ties(bits: int) -> None:
    """Those of more than 24 bits are rounded to float32 before they are multiplied."""
    rng, zero = np.random.default_rng(bits), np.array(0, np.int8)
    if bits == 24:
        w_scale = scales(rng, "ordinary", (20_000,), low=-14, high=-4)
        acc = next_to_ties(rng, ONE, w_scale, ONE)
    else:
        acc = (rng.choice([-1, 1], 20_000) * rng.integers(2**24, 2**30, 20_000)).astype(np.int32)
        w_scale = ((rng.integers(0, 120, acc.size) + 0.5) / np.abs(acc)).astype(np.float32)
    fast = prepared(
        w=np.ones((acc.size, 1, 1, 1), np.int8), w_scale=w_scale, b=acc, x_zero_point=zero
    )
    assert fast.weight.dtype == (np.float32 if np.abs(acc).max() < 2**24 - 128 else np.float64)
    found = fast(Interleaved.of(np.zeros((1, 1, 1, 1), np.int8), zero)).codes
    assert identical(found.reshape(-1), runtime_requantize(acc, 1, w_scale, 1, zero))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("bound", "dtype"), [(2**24, np.float32), (2**24 + 1, np.float64)])
def test_float32_sums_up_to_2_to_the_24_and_no_further(bound: int, dtype: type, sign: int) -> None:
    """2^24 + 1 is the first integer that float32 lacks: as a sum it becomes 2^24."""
    bias = sign * (bound - 255)
    fast = prepared(w=np.full((1, 1, 1, 1), sign, np.int8), b=np.array([bias], np.int32))
    assert fast.weight.dtype == dtype
    zero = np.array(-128, np.int8)
    lines = fast._lines(Interleaved.of(np.full((1, 1, 1, 1), 127, np.int8), zero).blocks[0], 1, 1)
    assert lines.dtype == dtype
    assert int((fast.weight @ lines[0]).item()) == sign * bound


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
    ("changed", "where"),
    [
        ({"w": np.ones((2, 3, 1, 1), np.uint8)}, "w"),
        ({"y_zero_point": np.array(0, np.uint8)}, "y_zero_point"),
        ({"x_zero_point": np.array(0, np.int16)}, "x_zero_point"),
        ({"x_zero_point": np.zeros(3, np.int8)}, "x_zero_point"),
        ({"x_scale": np.float32(0)}, "x_scale"),
    ],
)
def test_what_the_definition_refuses_is_refused(changed: dict[str, Any], where: str) -> None:
    with pytest.raises(BitbybitError) as refused:
        prepared(**changed)
    assert refused.value.where == where


def test_inputs_outside_the_window_are_left_to_the_definition() -> None:
    fast, zero = prepared(w=np.ones((2, 3, 4, 4), np.int8)), np.array(-128, np.int8)
    assert fast(Interleaved.of(np.zeros((1, 3, 4, 4), np.int8), zero)) is not None
    assert fast(Interleaved.of(np.zeros((1, 3, 3, 4), np.int8), zero)) is None
    assert fast(Interleaved.of(np.zeros((1, 2, 4, 4), np.int8), zero)) is None


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


def test_memory_is_bounded_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image's copied taps, and the codes of all images, are counted before they are made."""
    fast = prepared(w=np.ones((3, 2, 2, 3), np.int8), strides=(3, 1), pads=(0, 1, 0, 1))
    x = Interleaved.of(np.zeros((5, 2, 8, 4), np.int8), np.array(-128, np.int8))
    taps = ((3 - 1) * 3 + 2) * (3 * 2 + 1) * 4 * 4  # rows of the input, lines, pixels, bytes
    output = 5 * 3 * 3 * 4 * 4
    assert fast._lines(x.blocks[0], 3, 4).dtype == np.float32
    assert taps > output
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", taps)
    assert fast(x) is not None
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", taps - 1)
    assert fast(x) is None
    many_images = Interleaved.of(np.zeros((50, 2, 8, 4), np.int8), np.array(-128, np.int8))
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", 10 * output)
    assert fast(many_images) is not None
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", 10 * output - 1)
    assert fast(many_images) is None


@pytest.mark.parametrize(
    ("images", "scratch", "at_once"),
    [
        (5, 5, [5]), (5, 4, [2, 3]), (5, 2, [2, 1, 2]), (5, 1, [1, 1, 1, 1, 1]), (2, 1, [1, 1]),
        (2, 0, [1, 1]), (20, 16, [16, 4]), (20, 8, [8, 8, 4]),
    ],
)  # fmt: skip
def test_images_are_halved_until_their_copied_taps_fit(
    images: int, scratch: int, at_once: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = prepared(w=np.ones((3, 2, 2, 3), np.int8), strides=(3, 1), pads=(0, 1, 0, 1))
    taps = ((3 - 1) * 3 + 2) * (3 * 2 + 1) * 4 * 4
    seen: list[int] = []

    def lines(self: Any, x: Any, *size: int) -> Any:
        seen.append(x.shape[-1])
        return copies(self, x, *size)

    copies = arithmetic.FastConv._lines
    monkeypatch.setattr(arithmetic.FastConv, "_lines", lines)
    monkeypatch.setattr("bitbybit.arithmetic._fast.SCRATCH", scratch * taps)
    zero = np.array(-128, np.int8)
    found = fast(Interleaved.of(np.zeros((images, 2, 8, 4), np.int8), zero))
    assert seen == at_once
    assert [block.shape[-1] for block in found.blocks] == ([images] if images < 17 else [16, 4])


def test_an_array_beyond_4_gib_is_refused_before_it_is_made() -> None:
    """No such array is asked for here: without the check this test would make it."""
    _operands.affordable((1 << 20, 1 << 10), 4, "x")
    with pytest.raises(UnsupportedError, match=r"x: .* too large .*at most 4294967296 bytes"):
        _operands.affordable((1 << 20, (1 << 10) + 1), 4, "x")


@many(60)
@given(EIGHT_BIT, st.integers(1, 40) | st.sampled_from([16, 32]), GENERATORS)
def test_layouts_hold_the_same_codes(
    dtype: np.dtype[Any], count: int, rng: np.random.Generator
) -> None:
    shape = (count, *(int(n) for n in rng.integers(1, 5, 3)))
    x, zero = codes(rng, shape, dtype), codes(rng, (), dtype)
    there = Interleaved.of(x, zero)
    assert there.shape == shape
    assert [block.shape[-1] for block in there.blocks] == [16] * (count // 16) + [count % 16] * (
        count % 16 > 0
    )
    assert {block.dtype for block in there.blocks} == {np.dtype(np.float32)}
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


def test_the_short_formula_is_found_where_a_ratio_near_the_exact_one_gives_all_pairs() -> None:
    """In 33 of 40 cases the exact ratios, in 6 some that are ulps away, in one case none."""
    rng, c = np.random.default_rng(0), np.float32(0.11)
    steps: list[Any] = []
    for _ in range(40):
        a, b = rng.uniform(0.01, 0.1, 2).astype(np.float32)
        zeros = [np.array(zero, np.int8) for zero in rng.integers(-128, 128, 3)]
        fast = arithmetic.fast_add(a, zeros[0], b, zeros[1], c, zeros[2])
        exact = np.array([a / c, b / c], np.float32)
        if fast.ratios is None:
            assert fast.table.dtype == np.float32
            steps.append(None)
        else:
            near = np.array(fast.ratios, np.float32)
            steps.append(tuple((near.view(np.int32) - exact.view(np.int32)).tolist()))
    assert steps.count((0, 0)) == 33
    others = {step for step in steps if step != (0, 0)}
    assert others == {(0, 1), (0, 4), (0, -1), (-1, 0), None, (-2, 0)}


def test_pairs_without_a_short_formula_are_looked_up() -> None:
    zero = np.array(0, np.int8)
    fast = arithmetic.fast_add(ONE / 2, zero, ONE / 2, zero, ONE, np.array(1, np.int8))
    assert fast.ratios is None
    x = Interleaved.of(np.arange(-128, 128).astype(np.int8).reshape(1, 1, 16, 16), zero)
    found = fast(x, x)
    assert found is not None
    assert found.blocks[0].dtype == np.float32
    assert found.codes.reshape(-1).tolist() == [min(n + 1, 127) for n in range(-128, 128)]


def test_operands_that_are_repeated_or_swapped_are_left_to_the_definition() -> None:
    zero = np.array(0, np.int8)
    fast = arithmetic.fast_add(ONE, zero, ONE, zero, ONE, zero)
    full, row, single, pooled = (
        Interleaved.of(np.zeros(shape, np.int8), zero)
        for shape in ((2, 3, 4, 4), (2, 3, 1, 4), (2, 1, 1, 1), (2, 3, 1, 1))
    )
    assert fast(full, full) is not None
    assert fast(pooled, pooled) is not None
    assert fast(full, row) is None
    assert fast(single, single) is None
