"""Uint8 activations with int8 weights: what the saturating vpmaddubsw does without VNNI.

The instruction adds two products u8 * s8 in int16. 255 * 127 twice is 64,770, more than 32,767.
The engine computes the mathematical sum; ONNX Runtime does so only with VNNI, or where weights have
7 bits. These tests name what is wrong where, and that the engine is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import INT8, UINT8, codes
from tests.support.runtime import identical, on_contract_platform, without_vnni


def conv_operands(
    x_dtype: np.dtype[Any], w_dtype: np.dtype[Any], bits: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(8)
    x = rng.integers(*((128, 256) if x_dtype == UINT8 else (0, 128)), (1, 8, 6, 6)).astype(x_dtype)
    return x, codes(rng, (4, 8, 3, 3), w_dtype, bits)


def qlinear_conv_both(bits: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the engine's and ONNX Runtime's U8S8 convolution with weights of ``bits`` bits."""
    x, w = conv_operands(UINT8, INT8, bits)
    scale, zero = np.float32(1), np.uint8(100)
    operands: dict[str, Any] = {
        "x": x,
        "x_scale": scale,
        "x_zero_point": zero,
        "w": w,
        "w_scale": scale,
    }
    operands |= {"w_zero_point": np.int8(0), "y_scale": np.float32(2000), "y_zero_point": zero}
    constants = frozenset(operands) - {"x"}
    runtime = one_node.run("QLinearConv", operands, np.uint8, constants=constants)
    return arithmetic.qlinear_conv(**operands), runtime


@on_contract_platform
def test_weights_of_7_bits_are_exact() -> None:
    assert identical(*qlinear_conv_both(bits=7))


@without_vnni
def test_qlinear_conv_saturates_with_weights_of_8_bits() -> None:
    engine, runtime = qlinear_conv_both(bits=8)
    assert np.count_nonzero(engine != runtime) > 0


@on_contract_platform
def test_conv_integer_is_exact_and_so_proves_the_engines_sum() -> None:
    """ConvInteger takes another kernel: it gives exact accumulators for U8S8."""
    x, w = conv_operands(UINT8, INT8, 8)
    expected = one_node.run("ConvInteger", {"x": x, "w": w}, np.int32)
    assert identical(arithmetic.conv_integer(x, w), expected)


@without_vnni
@pytest.mark.parametrize(
    ("a_dtype", "b_dtype", "exact"),
    [(INT8, INT8, True), (UINT8, UINT8, True), (INT8, UINT8, True), (UINT8, INT8, False)],
    ids=str,
)
def test_matmul_integer_saturates_for_u8s8_only(
    a_dtype: np.dtype[Any], b_dtype: np.dtype[Any], exact: bool
) -> None:
    a = np.full((3, 8), np.iinfo(a_dtype).max, a_dtype)
    b = np.full((8, 5), np.iinfo(b_dtype).max, b_dtype)
    runtime = one_node.run("MatMulInteger", {"a": a, "b": b}, np.int32)
    assert np.array_equal(arithmetic.matmul_integer(a, b), runtime) == exact


@without_vnni
def test_conv_integer_saturates_for_s8u8_only() -> None:
    """The weights are its left operand, so its saturating pair is int8 inputs, uint8 weights."""
    x, w = conv_operands(INT8, UINT8, 8)
    runtime = one_node.run("ConvInteger", {"x": x, "w": w}, np.int32)
    assert not np.array_equal(arithmetic.conv_integer(x, w), runtime)


@without_vnni
def test_saturated_pairs_explain_the_difference() -> None:
    """Pairs of products, each clipped to int16, then added: exactly the runtime's wrong sum."""
    a, b = np.full((1, 4), 255, np.uint8), np.full((4, 1), 127, np.int8)
    runtime = one_node.run("MatMulInteger", {"a": a, "b": b}, np.int32)
    assert arithmetic.matmul_integer(a, b).tolist() == [[4 * 255 * 127]]
    assert runtime.tolist() == [[2 * 32767]]
