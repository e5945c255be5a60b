"""The comparison of two traces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitbybit.errors import BitbybitError
from bitbybit.execution.compare import Mismatch, compare, compare_arrays
from bitbybit.execution.engine import trace
from tests.support.arrays import f32, i8
from tests.support.models import small
from tests.support.networks import quantized_images


def test_equal_arrays() -> None:
    a = i8([[1, 2], [3, -128]])
    found = compare_arrays("a", a, a.copy())
    assert (found.elements, found.mismatches, found.largest_difference) == (4, 0, 0.0)
    assert found.first is None
    assert found.sqnr_db == math.inf


def test_the_first_difference_and_the_largest() -> None:
    a, b = i8([[1, 2], [-128, 4]]), i8([[1, 3], [127, 4]])
    found = compare_arrays("a", a, b, zero_point=1)
    assert (found.mismatches, found.largest_difference) == (2, 255.0)
    assert found.first == Mismatch(index=(0, 1), expected=2, found=3)
    # signal 0² + 1² + 129² + 3², noise 1² + 255²
    assert found.sqnr_db == 10 * math.log10(16651 / 65026)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_zero_point_per_channel(axis: int) -> None:
    shape = [1, 1, 1]
    shape[axis] = 2
    a = np.zeros(shape, np.int8)
    found = compare_arrays("a", a, a + 1, zero_point=i8([3, 4]), axis=axis)
    assert (found.signal, found.noise) == (25.0, 2.0)


def test_a_single_number_and_no_number() -> None:
    found = compare_arrays("a", np.array(1, np.float32), np.array(2, np.float32))
    assert (found.elements, found.mismatches) == (1, 1)
    assert found.first == Mismatch(index=(), expected=1.0, found=2.0)
    empty = np.zeros((3, 0, 2), np.int8)
    assert compare_arrays("a", empty, empty).elements == 0


def test_arrays_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(-3, 3, (7, 5, 2)).astype(np.int8)
    b = np.where(rng.random(a.shape) < 0.2, 9, a).astype(np.int8)
    whole = compare_arrays("a", a, b)
    monkeypatch.setattr("bitbybit.execution.compare.CHUNK", 20)
    assert compare_arrays("a", a, b) == whole


def test_nan_equals_nan_only() -> None:
    a, b = f32([math.nan, math.nan, 1, 2]), f32([math.nan, 1, math.nan, 2])
    assert compare_arrays("a", a, b).mismatches == 2
    assert compare_arrays("a", a, a.copy()).mismatches == 0


@pytest.mark.parametrize("other", [np.zeros((2, 2), np.uint8), np.zeros((4,), np.int8)])
def test_another_dtype_or_shape_is_refused(other: np.ndarray) -> None:
    with pytest.raises(BitbybitError, match=r"expected int8 \[2, 2\], found"):
        compare_arrays("a", np.zeros((2, 2), np.int8), other)


def test_batches_merge_into_one_result() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 3, (10, 4)).astype(np.int8)
    b = a.copy()
    b[7, 2] += 5
    b[9, 0] -= 1
    whole = compare_arrays("a", a, b)
    merged = compare_arrays("a", a[:6], b[:6]).merged(compare_arrays("a", a[6:], b[6:]), 6)
    assert merged == whole
    assert merged.first is not None
    assert merged.first.index == (7, 2)
    first = compare_arrays("a", a[7:8], b[7:8]).merged(compare_arrays("a", a[9:], b[9:]), 1)
    assert first.first is not None
    assert first.first.index == (0, 2)


def test_two_traces() -> None:
    model = small(0)
    mine, other = (trace(model, quantized_images((2, 3, 8, 8), seed)) for seed in (0, 1))
    assert sum(found.mismatches for found in compare(mine, mine)) == 0
    found = {result.name: result for result in compare(mine, other)}
    assert list(found) == list(mine)
    assert found["stem"].mismatches == np.count_nonzero(mine["stem"] != other["stem"])
    centred = mine["stem"].astype(float) + 128
    noise = (mine["stem"].astype(float) - other["stem"]) ** 2
    assert found["stem"].sqnr_db == 10 * math.log10((centred**2).sum() / noise.sum())


def test_some_edges_only_and_a_missing_one() -> None:
    mine = trace(small(0), quantized_images((1, 3, 8, 8), 0))
    assert [found.name for found in compare(mine, mine, ["add", "stem"])] == ["add", "stem"]
    with pytest.raises(BitbybitError, match="lacks this edge"):
        compare(mine, {"stem": mine["stem"]}, ["add"])
