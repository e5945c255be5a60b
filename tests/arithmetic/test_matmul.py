"""MatMulInteger, QLinearMatMul and QGemm against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import (
    DTYPE_PAIRS,
    EIGHT_BIT,
    GENERATORS,
    INT8,
    SCALE_KINDS,
    UINT8,
    biases,
    codes,
    scales,
    weights,
)
from tests.support.runtime import identical, many, on_contract_platform

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 20))
# batch dimensions of a, of b
BATCHES = st.sampled_from(
    [((), ()), ((), ()), ((2,), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((2, 1), (3,)), ((), (2,))]
)


@on_contract_platform
@many(400)
@given(EIGHT_BIT, EIGHT_BIT, SIZES, BATCHES, st.booleans(), GENERATORS)
def test_matmul_integer(
    a_dtype: np.dtype[Any],
    b_dtype: np.dtype[Any],
    sizes: tuple[int, int, int],
    batches: Any,
    per_column: bool,
    rng: np.random.Generator,
) -> None:
    (i, k, j), (a_batch, b_batch) = sizes, batches
    bits = 7 if (a_dtype, b_dtype) == (UINT8, INT8) else None
    a, b = codes(rng, (*a_batch, i, k), a_dtype), codes(rng, (*b_batch, k, j), b_dtype, bits)
    columns = () if not per_column else (*b_batch, 1, j) if b_batch else (j,)
    zeros = codes(rng, (), a_dtype), codes(rng, columns, b_dtype, bits)
    inputs = {"a": a, "b": b, "a_zero_point": zeros[0], "b_zero_point": zeros[1]}
    expected = one_node.run("MatMulInteger", inputs, np.int32)
    assert identical(arithmetic.matmul_integer(**inputs), expected)


def products(
    rng: np.random.Generator, pair: Any, kind: str, a: tuple[int, ...], b: tuple[int, ...], per: Any
) -> dict[str, Any]:
    """Return the first six operands that QLinearMatMul and QGemm share."""
    a_dtype, b_dtype = pair
    return {
        "a": codes(rng, a, a_dtype),
        "a_scale": scales(rng, kind),
        "a_zero_point": codes(rng, (), a_dtype),
        "b": weights(rng, b, b_dtype, a_dtype),
        "b_scale": scales(rng, kind, per),
        "b_zero_point": weights(rng, per, b_dtype, a_dtype),
    }


@on_contract_platform
@many(600)
@given(DTYPE_PAIRS, SIZES, BATCHES, st.booleans(), SCALE_KINDS, st.booleans(), GENERATORS)
def test_qlinear_matmul(
    pair: Any,
    sizes: tuple[int, int, int],
    batches: Any,
    per_column: bool,
    kind: str,
    constant: bool,
    rng: np.random.Generator,
) -> None:
    (i, k, j), (a_batch, b_batch) = sizes, batches
    columns = () if not per_column else (*b_batch, 1, j) if b_batch else (j,)
    operands = products(rng, pair, kind, (*a_batch, i, k), (*b_batch, k, j), columns)
    operands["y_scale"] = scales(rng, kind, low=-3, high=6)
    operands["y_zero_point"] = codes(rng, (), pair[0])
    constants = frozenset(operands) - {"a"} if constant else frozenset[str]()
    expected = one_node.run("QLinearMatMul", operands, pair[0], constants=constants)
    assert identical(arithmetic.qlinear_matmul(**operands), expected)


@on_contract_platform
@many(700)
@given(st.data(), DTYPE_PAIRS, SIZES, SCALE_KINDS, GENERATORS)
def test_qgemm(
    data: st.DataObject,
    pair: Any,
    sizes: tuple[int, int, int],
    kind: str,
    rng: np.random.Generator,
) -> None:
    i, k, j = sizes
    trans_a, trans_b = data.draw(st.booleans()), data.draw(st.booleans())
    columns = (j,) if data.draw(st.booleans()) else ()
    a, b = ((k, i) if trans_a else (i, k)), ((j, k) if trans_b else (k, j))
    operands = products(rng, pair, kind, a, b, columns)
    c_shape = data.draw(st.sampled_from([None, (j,), (1, j), (i, j), (i, 1), (1,), ()]))
    operands["c"] = None if c_shape is None else biases(rng, c_shape)
    is_float = data.draw(st.booleans())
    operands["y_scale"] = None if is_float else scales(rng, kind, low=-3, high=6)
    operands["y_zero_point"] = None if is_float else codes(rng, (), pair[0])
    alpha = data.draw(st.sampled_from([1.0, 0.5, 0.3, -1.0, -2.7, 1e30, 0.0]))
    attributes = {"alpha": alpha, "transA": int(trans_a), "transB": int(trans_b)}
    constants = frozenset(n for n in operands if n != "a" and operands[n] is not None)
    expected = one_node.run(
        "QGemm",
        operands,
        np.float32 if is_float else pair[0],
        attributes,
        constants=constants if data.draw(st.booleans()) else frozenset(),
    )
    actual = arithmetic.qgemm(**operands, alpha=alpha, trans_a=trans_a, trans_b=trans_b)
    assert identical(actual, expected)


def test_long_sums_wrap_modulo_2_to_the_32() -> None:
    """140,000 products of 255 * 255 pass 2^32; both wrap alike."""
    a, b = np.full((1, 140_000), 255, np.uint8), np.full((140_000, 1), 255, np.uint8)
    acc = arithmetic.matmul_integer(a, b)
    assert acc.tolist() == [[(140_000 * 255 * 255 + 2**31) % 2**32 - 2**31]]
    assert identical(acc, one_node.run("MatMulInteger", {"a": a, "b": b}, np.int32))
