"""The comparison of two traces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.errors import BitbybitError
from bitbybit.execution.compare import LayerResult, Mismatch, compare
from bitbybit.execution.engine import trace
from bitbybit.model.types import QuantParams
from tests.support.arrays import f32, i8
from tests.support.models import small
from tests.support.networks import quantized_images


def compared(
    expected: NDArray[Any], actual: NDArray[Any], zero_point: Any = None, axis: int | None = None
) -> LayerResult:
    """Compare two arrays; the zero point is one code, or one for each channel of ``axis``."""
    found = LayerResult(name="a")
    params = None
    if zero_point is not None:
        zero = np.asarray(zero_point, np.int8)
        params = QuantParams(np.ones(zero.shape, np.float32), zero, axis)
    found.add(expected, actual, params)
    return found


def test_equal_arrays() -> None:
    a = i8([[1, 2], [3, -128]])
    found = compared(a, a.copy())
    assert (found.elements, found.mismatches, found.largest_difference) == (4, 0, 0.0)
    assert found.first is None
    assert found.sqnr_db == math.inf


def test_the_first_difference_and_the_largest() -> None:
    a, b = i8([[1, 2], [-128, 4]]), i8([[1, 3], [127, 4]])
    found = compared(a, b, zero_point=1)
    assert (found.mismatches, found.largest_difference) == (2, 255.0)
    assert found.first == Mismatch(index=(0, 1), expected=2, found=3)
    # signal 0² + 1² + 129² + 3², noise 1² + 255²
    assert found.sqnr_db == 10 * math.log10(16651 / 65026)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_zero_point_per_channel(axis: int) -> None:
    shape = [1, 1, 1]
    shape[axis] = 2
    a = np.zeros(shape, np.int8)
    found = compared(a, a + 1, zero_point=i8([3, 4]), axis=axis)
    assert (found.signal, found.noise) == (25.0, 2.0)


def test_a_single_number_and_no_number() -> None:
    found = compared(np.array(1, np.float32), np.array(2, np.float32))
    assert (found.elements, found.mismatches) == (1, 1)
    assert found.first == Mismatch(index=(), expected=1.0, found=2.0)
    empty = np.zeros((3, 0, 2), np.int8)
    assert compared(empty, empty).elements == 0


def test_arrays_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(-3, 3, (7, 5, 2)).astype(np.int8)
    b = np.where(rng.random(a.shape) < 0.2, 9, a).astype(np.int8)
    whole = compared(a, b)
    monkeypatch.setattr("bitbybit.execution.compare.CHUNK", 20)
    assert compared(a, b) == whole


def test_nan_equals_nan_only() -> None:
    a, b = f32([math.nan, math.nan, 1, 2]), f32([math.nan, 1, math.nan, 2])
    assert compared(a, b).mismatches == 2
    assert compared(a, a.copy()).mismatches == 0


@pytest.mark.parametrize("other", [np.zeros((2, 2), np.uint8), np.zeros((4,), np.int8)])
def test_another_dtype_or_shape_differs_altogether_and_is_refused_of_a_trace(
    other: NDArray[Any],
) -> None:
    codes = np.zeros((2, 2), np.int8)
    found = compared(codes, other)
    assert (found.elements, found.mismatches, found.largest_difference) == (4, 4, math.inf)
    assert found.first is not None
    assert found.first.expected == "int8 [2, 2]"
    with pytest.raises(BitbybitError, match=r"expected int8 \[2, 2\], found"):
        compare({"a": codes}, {"a": other})


def test_batches_merge_into_one_result() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 3, (10, 4)).astype(np.int8)
    b = a.copy()
    b[7, 2] += 5
    b[9, 0] -= 1
    whole = compared(a, b)
    added = compared(a[:6], b[:6])
    added.add(a[6:], b[6:], begin=6)
    assert added == whole
    assert added.first is not None
    assert added.first.index == (7, 2)
    first = compared(a[7:8], b[7:8])
    first.add(a[9:], b[9:], begin=1)
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
