"""The ONNX specification's own node tests, run through this arithmetic.

They ship with the onnx package and are made by its authors. Those that lie outside the integers
covered here are listed with the reason, and must be refused in one sentence.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": arithmetic.quantize_linear,
    "DequantizeLinear": arithmetic.dequantize_linear,
    "ConvInteger": arithmetic.conv_integer,
    "MatMulInteger": arithmetic.matmul_integer,
    "QLinearConv": arithmetic.qlinear_conv,
    "QLinearMatMul": arithmetic.qlinear_matmul,
}

FLOAT8 = "8-bit floats are no integers"
FLOAT4 = "4-bit floats are no integers"
FOUR_BITS = "4-bit integers: 8 bits and more are covered"
TWO_BITS = "2-bit integers: 8 bits and more are covered"
BLOCKED = "blocked scales (opset 21): per tensor and per axis are covered"
FLOAT16 = "float16 scales: the contract computes in float32"

REFUSED = {
    "test_dequantizelinear_e4m3fn": FLOAT8,
    "test_dequantizelinear_e4m3fn_float16": FLOAT8,
    "test_dequantizelinear_e4m3fn_zero_point": FLOAT8,
    "test_dequantizelinear_e5m2": FLOAT8,
    "test_dequantizelinear_uint4": FOUR_BITS,
    "test_dequantizelinear_int4": FOUR_BITS,
    "test_dequantizelinear_uint2": TWO_BITS,
    "test_dequantizelinear_int2": TWO_BITS,
    "test_dequantizelinear_float4e2m1": FLOAT4,
    "test_dequantizelinear_blocked": BLOCKED,
    "test_qlinearmatmul_2D_uint8_float16": FLOAT16,
    "test_qlinearmatmul_3D_uint8_float16": FLOAT16,
    "test_qlinearmatmul_2D_int8_float16": FLOAT16,
    "test_qlinearmatmul_3D_int8_float16": FLOAT16,
    "test_quantizelinear_e4m3fn": FLOAT8,
    "test_quantizelinear_e5m2": FLOAT8,
    "test_quantizelinear_uint4": FOUR_BITS,
    "test_quantizelinear_int4": FOUR_BITS,
    "test_quantizelinear_uint2": TWO_BITS,
    "test_quantizelinear_int2": TWO_BITS,
    "test_quantizelinear_float4e2m1": FLOAT4,
    "test_quantizelinear_blocked_asymmetric": BLOCKED,
    "test_quantizelinear_blocked_symmetric": BLOCKED,
}


def node_cases() -> dict[str, Any]:
    """Return the specification's cases of the operators above, by name."""
    package = "onnx.backend.test.case.node"
    for operator in FUNCTIONS:
        importlib.import_module(f"{package}.{operator.lower()}")
    cases = importlib.import_module(package)._NodeTestCases
    return {
        case.name: case
        for case in cases
        if [node.op_type in FUNCTIONS for node in case.model.graph.node] == [True]
    }


CASES = node_cases()


def compute(case: Any) -> Any:
    (node,), ((inputs, _),) = case.model.graph.node, case.data_sets
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    operands = [
        onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for value in inputs
    ]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        if len(operands) == 2:
            operands.append(np.zeros_like(operands[1], operands[0].dtype))
        axis = attributes.get("axis", 1)  # the specification's default
        attributes = {"axis": axis if np.ndim(operands[1]) else None}
    return FUNCTIONS[node.op_type](*operands, **attributes)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_gives_the_specifications_result(name: str) -> None:
    _, (expected,) = CASES[name].data_sets[0]
    actual = compute(CASES[name])
    assert actual.dtype == expected.dtype
    assert np.array_equal(actual, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_not_covered(name: str) -> None:
    with pytest.raises(BitbybitError):
        compute(CASES[name])
