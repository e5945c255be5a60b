"""Bad operands: each is refused with the operand's name, what was expected and what was found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic
from bitbybit.arithmetic import _operands
from bitbybit.errors import BitbybitError, UnsupportedError

ONE = np.float32(1)
Z8, ZU8, Z16 = np.int8(0), np.uint8(0), np.int16(0)
X = np.zeros((1, 4, 5, 5), np.int8)
W = np.zeros((6, 4, 3, 3), np.int8)
A, B = np.zeros((2, 3), np.int8), np.zeros((3, 4), np.int8)
REAL = np.zeros((2, 3), np.float32)


def conv(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "x": X, "x_scale": ONE, "x_zero_point": Z8, "w": W, "w_scale": ONE, "w_zero_point": Z8,
        "y_scale": ONE, "y_zero_point": Z8, "b": np.zeros(6, np.int32),
    }  # fmt: skip
    return arithmetic.qlinear_conv(**operands | changes)


def matmul(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "a": A, "a_scale": ONE, "a_zero_point": Z8, "b": B, "b_scale": ONE, "b_zero_point": Z8,
        "y_scale": ONE, "y_zero_point": Z8,
    }  # fmt: skip
    return arithmetic.qlinear_matmul(**operands | changes)


def gemm(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "a": A, "a_scale": ONE, "a_zero_point": Z8, "b": B, "b_scale": ONE, "b_zero_point": Z8,
        "c": np.zeros(4, np.int32), "y_scale": ONE, "y_zero_point": Z8,
    }  # fmt: skip
    return arithmetic.qgemm(**operands | changes)


def add(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "a": A, "a_scale": ONE, "a_zero_point": Z8, "b": A, "b_scale": ONE, "b_zero_point": Z8,
        "c_scale": ONE, "c_zero_point": Z8,
    }  # fmt: skip
    return arithmetic.qlinear_add(**operands | changes)


def pool(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "x": X, "x_scale": ONE, "x_zero_point": Z8, "y_scale": ONE, "y_zero_point": Z8,
    }  # fmt: skip
    return arithmetic.qlinear_global_average_pool(**operands | changes)


def quantize(**changes: Any) -> Any:
    operands: dict[str, Any] = {"x": REAL, "scale": ONE, "zero_point": Z8}
    return arithmetic.quantize_linear(**operands | changes)


def dequantize(**changes: Any) -> Any:
    operands: dict[str, Any] = {"q": A, "scale": ONE, "zero_point": Z8}
    return arithmetic.dequantize_linear(**operands | changes)


def requantize(**changes: Any) -> Any:
    operands: dict[str, Any] = {
        "acc": np.zeros((2, 3), np.int32), "multiplier": ONE, "y_zero_point": Z8,
    }  # fmt: skip
    return arithmetic.requantize(**operands | changes)


FUNCTIONS = (conv, matmul, gemm, add, pool, quantize, dequantize, requantize)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_operands_are_taken(function: Any) -> None:
    function()


BAD = [
    # scales
    (conv, {"x_scale": np.float32(0)}, "x_scale: the scale is not a positive number (expected > 0"),
    (conv, {"x_scale": np.float32(-1)}, "found -1.0"),
    (conv, {"w_scale": np.float32(math.nan)}, "w_scale: the scale is not a positive number"),
    (matmul, {"y_scale": np.float32(math.inf)}, "y_scale: the scale is not a positive number"),
    (add, {"c_scale": 0.0}, "C_scale: the scale is not a positive number"),
    (pool, {"x_scale": -2.0}, "x_scale: the scale is not a positive number"),
    (quantize, {"scale": 0.0}, "y_scale: the scale is not a positive number"),
    (dequantize, {"scale": math.nan}, "x_scale: the scale is not a positive number"),
    (gemm, {"b_scale": np.array([1, 1, -3, 1], np.float32)}, "found -3.0"),
    (conv, {"x_scale": np.float64(1)}, "x_scale: wrong dtype (expected float32, found float64)"),
    (
        conv,
        {"x_scale": np.ones(2, np.float32)},
        "x_scale: wrong number of values (expected a scalar, found (2,))",
    ),
    (conv, {"w_scale": np.ones(5, np.float32)}, "expected a scalar or shape (6,), found (5,)"),
    (matmul, {"b_scale": np.ones(3, np.float32)}, "b_scale: wrong number of values"),
    (quantize, {"scale": np.ones(3, np.float32)}, "y_scale: wrong number of values"),
    # zero points
    (conv, {"x_zero_point": ZU8}, "x_zero_point: wrong dtype (expected int8, found uint8)"),
    (conv, {"w_zero_point": Z16}, "w_zero_point: wrong dtype (expected int8, found int16)"),
    (conv, {"y_zero_point": 0}, "y_zero_point: the zero point decides the output's dtype"),
    (conv, {"x_zero_point": 200}, "expected int8, -128 to 127, found 200"),
    (matmul, {"y_zero_point": Z16}, "y_zero_point: wrong dtype (expected int8 or uint8"),
    (dequantize, {"zero_point": ZU8}, "x_zero_point: wrong dtype"),
    (add, {"b_zero_point": ZU8}, "B_zero_point: wrong dtype"),
    (add, {"c_zero_point": ZU8}, "C_zero_point: wrong dtype"),
    (pool, {"x_zero_point": -129}, "found -129"),
    (quantize, {"zero_point": np.int32(0)}, "y_zero_point: wrong dtype"),
    (
        dequantize,
        {"q": np.zeros(3, np.int32), "zero_point": np.int32(4)},
        "x_zero_point: int32 codes have no zero point (expected 0, found 4)",
    ),
    # dtypes and ranks
    (conv, {"x": X.astype(np.float32)}, "x: wrong dtype (expected int8 or uint8, found float32)"),
    (conv, {"x": X[0]}, "x: wrong number of dimensions (expected 4, found (4, 5, 5))"),
    (conv, {"w": W[0]}, "w: wrong number of dimensions"),
    (conv, {"w": W[None]}, "w: wrong number of dimensions"),
    (conv, {"x": X[None]}, "x: wrong number of dimensions"),
    (matmul, {"a": A[0]}, "A: wrong number of dimensions (expected at least 2, found (3,))"),
    (matmul, {"b": B[0]}, "B: wrong number of dimensions (expected at least 2, found (4,))"),
    (
        matmul,
        {"a": np.zeros((2, 2, 3), np.int8), "b": np.zeros((3, 3, 4), np.int8)},
        "B: the leading dimensions do not broadcast (expected like (2, 2, 3), found shape (3, 3,",
    ),
    (gemm, {"a": A[None]}, "A: wrong number of dimensions (expected 2"),
    (gemm, {"a": A[0]}, "A: wrong number of dimensions (expected 2"),
    (gemm, {"b": B[None]}, "B: wrong number of dimensions (expected 2"),
    (gemm, {"b": B[0]}, "B: wrong number of dimensions (expected 2"),
    (add, {"b": A.astype(np.uint8)}, "B: wrong dtype (expected int8, found uint8)"),
    (pool, {"x": A}, "X: wrong number of dimensions (expected at least 3"),
    (quantize, {"x": REAL.astype(np.float64)}, "x: wrong dtype (expected float32, found float64)"),
    (dequantize, {"q": REAL}, "x: wrong dtype"),
    (requantize, {"acc": np.zeros(3, np.int64)}, "accumulator: wrong dtype (expected int32"),
    # biases
    (conv, {"b": np.zeros(6, np.float32)}, "B: wrong dtype (expected int32, found float32)"),
    (conv, {"b": np.zeros(5, np.int32)}, "B: wrong shape (expected (6,), found (5,))"),
    (gemm, {"c": np.zeros(3, np.int32)}, "C: the shape does not broadcast (expected like (2, 4)"),
    (gemm, {"c": np.zeros(4, np.float32)}, "C: wrong dtype"),
    # shapes and attributes
    (
        conv,
        {"w": np.zeros((6, 3, 3, 3), np.int8)},
        "expected C/group = 4, found shape (6, 3, 3, 3)",
    ),
    (conv, {"group": 3}, "group: the groups do not divide the channels"),
    (conv, {"group": 0}, "group: the groups do not divide the channels"),
    (conv, {"strides": (0, 1)}, "strides: one positive integer per axis is needed"),
    (conv, {"dilations": (1,)}, "dilations: one positive integer per axis is needed"),
    (conv, {"pads": (0, -1, 0, 0)}, "pads: wrong pads (expected 4 integers >= 0"),
    (conv, {"pads": (1, 1)}, "pads: wrong pads (expected 4 integers >= 0"),
    (conv, {"auto_pad": "SAME"}, "auto_pad: unknown value (expected NOTSET, SAME_UPPER"),
    (
        conv,
        {"auto_pad": "VALID", "pads": (1, 1, 1, 1)},
        "pads with auto_pad VALID: pads and auto_pad exclude each other",
    ),
    (conv, {"dilations": (3, 3)}, "the window is larger than the padded input"),
    (matmul, {"b": B.T}, "B: the inner dimensions differ (expected K = 3, found shape (4, 3))"),
    (add, {"b": np.zeros((2, 2), np.int8)}, "B: the shapes do not broadcast"),
    (gemm, {"y_scale": None}, "y_scale, y_zero_point: an output scale comes with"),
    (quantize, {"axis": 2, "scale": np.ones(3, np.float32)}, "axis: the axis is out of range"),
    (dequantize, {"axis": -3}, "axis: the axis is out of range (expected -2 to 1, found -3)"),
    (requantize, {"axis": 7}, "axis: the axis is out of range"),
    (requantize, {"multiplier": np.ones(3, np.float32)}, "multiplier: wrong number of values"),
    (requantize, {"multiplier": np.ones((2, 2), np.float32)}, "multiplier: the shape does not"),
    (requantize, {"multiplier": math.nan}, "multiplier: the multiplier is not a number"),
]


WHERE = {
    conv: {
        "x": "x", "x_scale": "x_scale", "x_zero_point": "x_zero_point", "w": "w",
        "w_scale": "w_scale", "w_zero_point": "w_zero_point", "y_scale": "y_scale",
        "y_zero_point": "y_zero_point", "b": "B",
    },
    matmul: {
        "a": "A", "a_scale": "x_scale", "a_zero_point": "a_zero_point", "b": "B",
        "b_scale": "b_scale", "b_zero_point": "b_zero_point", "y_scale": "y_scale",
        "y_zero_point": "y_zero_point",
    },
    gemm: {
        "a": "A", "a_scale": "x_scale", "a_zero_point": "a_zero_point", "b": "B",
        "b_scale": "b_scale", "b_zero_point": "b_zero_point", "y_scale": "y_scale",
        "y_zero_point": "y_zero_point", "c": "C",
    },
    add: {
        "a": "A", "a_scale": "A_scale", "a_zero_point": "A_zero_point", "b": "B",
        "b_scale": "B_scale", "b_zero_point": "B_zero_point", "c_scale": "C_scale",
        "c_zero_point": "C_zero_point",
    },
    pool: {
        "x": "X", "x_scale": "x_scale", "x_zero_point": "x_zero_point", "y_scale": "y_scale",
        "y_zero_point": "y_zero_point",
    },
    quantize: {"x": "x", "scale": "y_scale", "zero_point": "y_zero_point"},
    dequantize: {"q": "x", "scale": "x_scale", "zero_point": "x_zero_point"},
    requantize: {
        "acc": "accumulator", "multiplier": "multiplier", "y_zero_point": "y_zero_point",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "name", "where"),
    [(function, name, where) for function in WHERE for name, where in WHERE[function].items()],
)
def test_an_operand_of_another_type_is_named(function: Any, name: str, where: str) -> None:
    with pytest.raises(arithmetic.OperandError) as error:
        function(**{name: np.zeros((1, 4, 5, 5), np.complex64)})
    assert error.value.where == where


@pytest.mark.parametrize(("function", "changes", "sentence"), BAD)
def test_bad_operand_is_refused(function: Any, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(arithmetic.OperandError) as error:
        function(**changes)
    assert sentence in str(error.value)


UINT8_W = {"w": W.astype(np.uint8), "w_zero_point": ZU8}
UINT8_B = {"b": B.astype(np.uint8), "b_zero_point": ZU8}
UNSUPPORTED = [
    (conv, UINT8_W, "w: an int8 input needs an int8 weight"),
    (matmul, UINT8_B, "B: an int8 input needs an int8 weight"),
    (gemm, UINT8_B, "B: an int8 input needs an int8 weight"),
    (conv, {"y_zero_point": ZU8}, "y_zero_point: ONNX Runtime computes outputs of the input's"),
    (matmul, {"y_zero_point": ZU8}, "y_zero_point: ONNX Runtime computes outputs of the input's"),
    (gemm, {"y_zero_point": ZU8}, "y_zero_point: ONNX Runtime computes outputs of the input's"),
    (pool, {"y_zero_point": ZU8}, "y_zero_point: ONNX Runtime computes outputs of the input's"),
    (pool, {"x_scale": 1e9}, "refuses to pool with this multiplier"),
    (conv, {"auto_pad": "SAME_UPPER", "dilations": (2, 2)}, "rejects SAME padding with a dilation"),
]


@pytest.mark.parametrize(("function", "changes", "sentence"), UNSUPPORTED)
def test_what_onnx_runtime_does_not_compute_is_named(
    function: Any, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UnsupportedError) as error:
        function(**changes)
    assert sentence in str(error.value)


@pytest.mark.parametrize(("function", "changes", "sentence"), BAD + UNSUPPORTED)
def test_refusal_is_one_sentence(function: Any, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BitbybitError) as error:
        function(**changes)
    assert "\n" not in str(error.value)
    assert error.value.where
    assert error.value.found != ""


def test_the_table_of_an_addition_needs_a_zero_point_with_a_type() -> None:
    for zero in (0, np.int16(0)):
        with pytest.raises(arithmetic.OperandError) as error:
            arithmetic.add_table(1.0, 0, 1.0, 0, 1.0, zero)  # type: ignore[arg-type]
        assert error.value.where == "C_zero_point"


LARGE = [
    (conv, {"x": X[:, :, :3], "pads": (1, 2, 4, 7)}, "padded x", 1 * 4 * 8 * 14 * 4),
    (conv, {"pads": (1, 1, 1, 2), "w": np.zeros((9, 4, 1, 1), np.int8), "b": None}, "output",
     1 * 9 * 7 * 8 * 4),
    (matmul, {}, "output", 2 * 4 * 4),
    (matmul, {"a": np.zeros((5, 1, 2, 3), np.int8), "b": np.zeros((7, 3, 4), np.int8)}, "output",
     5 * 7 * 2 * 4 * 4),
    (add, {"b": np.zeros((5, 1, 3), np.int8)}, "C", 5 * 2 * 3 * 8),
]  # fmt: skip


@pytest.mark.parametrize(("function", "changes", "where", "size"), LARGE)
def test_arrays_are_counted_to_the_byte_before_they_are_made(
    function: Any, changes: Any, where: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", size)
    function(**changes)
    monkeypatch.setattr("bitbybit.arithmetic._operands.LARGEST", size - 1)
    with pytest.raises(UnsupportedError) as error:
        function(**changes)
    assert error.value.where == where
    assert f"{size} bytes" in str(error.value)


def test_a_zero_point_may_be_any_code_and_becomes_one() -> None:
    for dtype in (np.int8, np.uint8):
        info = np.iinfo(dtype)
        for code in (info.min, info.max):
            zero = _operands.zero_point(int(code), "z", np.dtype(dtype))
            assert (zero.dtype, zero.shape, int(zero)) == (np.dtype(dtype), (), code)
        for code in (info.min - 1, info.max + 1):
            with pytest.raises(arithmetic.OperandError, match="z: the zero point is not a code"):
                _operands.zero_point(int(code), "z", np.dtype(dtype))
    with pytest.raises(arithmetic.OperandError, match="x_zero_point: wrong number of values"):
        conv(x_zero_point=np.zeros(2, np.int8))
    with pytest.raises(arithmetic.OperandError, match="y_zero_point: wrong number of values"):
        conv(y_zero_point=np.zeros(2, np.int8))


def test_single_values_keep_their_shape_and_python_numbers_become_float32() -> None:
    assert arithmetic.along(np.array(3), 1, 4).shape == ()
    assert arithmetic.along(np.arange(3), None, 4).shape == (3,)
    assert _operands.scale(0.1, "s") == np.float32(0.1)
    assert _operands.scale(0.1, "s").dtype == np.float32
