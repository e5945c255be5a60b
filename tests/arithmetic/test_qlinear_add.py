"""QLinearAdd against ONNX Runtime: all pairs of codes, all ways to broadcast."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import EIGHT_BIT, GENERATORS, SCALE_KINDS, codes, scales
from tests.support.runtime import identical, many, on_contract_platform

SHAPES = st.sampled_from(
    [
        ((4, 300), (4, 300)),
        ((), (300,)),
        ((1,), (300,)),
        ((300,), ()),
        ((3, 1), (3, 200)),
        ((3, 1), (1, 200)),
        ((1, 200), (3, 1)),
        ((200,), (3, 200)),
        ((3, 1, 1), (3, 200, 1)),
        ((200, 1), (200, 1)),
        ((1, 2, 1, 1), (3, 2, 5, 6)),
        ((3, 2, 5, 6), (2, 1, 1)),
        ((3, 2, 5, 6), (3, 2, 1, 6)),
        ((3, 2, 1, 6), (3, 2, 5, 6)),
        ((3, 1), (1,)),
        ((3, 1), ()),
        ((3, 1), (1, 1)),
        ((4, 3, 1), (1, 1)),
        ((4, 3, 1), (1,)),
        ((1, 1, 1), (1, 1)),
        ((1,), (1,)),
        ((), (1,)),
        ((), ()),
    ]
)


def parameters(rng: np.random.Generator, kind: str, dtype: np.dtype[Any]) -> list[Any]:
    """Return scale and zero point of a, b and c."""
    return [value for _ in range(3) for value in (scales(rng, kind), codes(rng, (), dtype))]


def add(a: Any, b: Any, params: list[Any]) -> NDArray[Any]:
    a_scale, a_zero, b_scale, b_zero, c_scale, c_zero = params
    return arithmetic.qlinear_add(a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero)


def runtime(a: Any, b: Any, params: list[Any]) -> NDArray[Any]:
    names = (
        "A",
        "A_scale",
        "A_zero_point",
        "B",
        "B_scale",
        "B_zero_point",
        "C_scale",
        "C_zero_point",
    )
    values = (a, *params[:2], b, *params[2:])
    return one_node.run("QLinearAdd", dict(zip(names, values, strict=True)), a.dtype)


@on_contract_platform
@many(500)
@given(SHAPES, EIGHT_BIT, SCALE_KINDS, GENERATORS)
def test_equals_onnx_runtime(
    shapes: Any, dtype: np.dtype[Any], kind: str, rng: np.random.Generator
) -> None:
    a, b = codes(rng, shapes[0], dtype), codes(rng, shapes[1], dtype)
    params = parameters(rng, kind, dtype)
    assert identical(add(a, b, params), runtime(a, b, params))


@on_contract_platform
@pytest.mark.parametrize("rank_a", range(4))
@pytest.mark.parametrize("rank_b", range(4))
def test_operands_swap_as_in_onnx_runtime(rank_a: int, rank_b: int) -> None:
    """The large terms cancel before the small one is added, or swallow it: the order shows."""
    small, large = [np.float32(2.0**40), np.int8(0)], [np.float32(2.0**100), np.int8(-128)]
    total = [np.float32(1), np.int8(0)]
    for shape_a, shape_b in product(product((1, 2), repeat=rank_a), product((1, 2), repeat=rank_b)):
        a, b = np.full(shape_a, -128, np.int8), np.full(shape_b, 1, np.int8)
        for values in ((a, b, large + small + total), (b, a, small + large + total)):
            assert identical(add(*values), runtime(*values)), (shape_a, shape_b)


@on_contract_platform
@many(100)
@given(EIGHT_BIT, SCALE_KINDS, GENERATORS)
def test_table_holds_all_65536_pairs(
    dtype: np.dtype[Any], kind: str, rng: np.random.Generator
) -> None:
    params = parameters(rng, kind, dtype)
    info = np.iinfo(dtype)
    every_code = np.arange(info.min, info.max + 1).astype(dtype)
    b, a = np.meshgrid(every_code, every_code)
    assert identical(arithmetic.add_table(*params), runtime(a, b, params))


@on_contract_platform
def test_sum_is_rounded_once() -> None:
    """205 * 5237765 = 2^30 + 1: a sum that float64 rounds into a tie, and the runtime does not."""
    a, b, zero = np.full(16, 205, np.uint8), np.full(16, 1, np.uint8), np.uint8(0)
    scale = np.float32(5237765 * 2.0**-47)
    params: list[Any] = [scale, zero, np.float32(128.5), zero, np.float32(1), zero]
    through_float64 = np.float32(np.float64(205) * np.float64(scale) + np.float64(128.5))
    assert np.rint(through_float64) == 128
    assert add(a, b, params).tolist() == [129] * 16
    assert runtime(a, b, params).tolist() == [129] * 16


@on_contract_platform
@pytest.mark.parametrize(
    ("ratio", "code"),
    [(2.0**31 - 128, 127), (2.0**31, -128), (1.5 * 2.0**31, -128), (2.0**33, -128)],
)
def test_sums_from_2_to_the_31_on_become_qmin(ratio: float, code: int) -> None:
    """The conversion to int32 gives its minimum for them, and so for both signs."""
    a, zero, one = np.array([1, -1], np.int8), np.int8(0), np.float32(1)
    params: list[Any] = [np.float32(ratio), zero, one, zero, one, zero]
    assert add(a, np.zeros(2, np.int8), params).tolist() == [code, -128]
    assert runtime(a, np.zeros(2, np.int8), params).tolist() == [code, -128]


@on_contract_platform
@given(GENERATORS, EIGHT_BIT)
def test_scalar_first_operand_swaps(rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
    """A repeated first operand gives what the swapped addition gives, not what a full one does."""
    params = parameters(rng, "ordinary", dtype)
    scalar, row = codes(rng, (), dtype), codes(rng, (500,), dtype)
    swapped = add(row, scalar, params[2:4] + params[:2] + params[4:])
    assert np.array_equal(add(scalar, row, params), swapped)
