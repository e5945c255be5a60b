"""Each report that can be cast as the dump of a layer: its cause is among what is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bitbybit.arithmetic.alternatives import ADDERS
from bitbybit.hardware.diagnosis import diagnose
from bitbybit.model.load import load
from tests.support.one_node import one_node_model

CASES = {
    case["id"]: case
    for case in json.loads(Path(__file__).with_name("cases.json").read_text("utf-8"))["cases"]
}
DATA = {"QLinearAdd": ("A", "B"), "QLinearConv": ("x",), "QLinearMatMul": ("a",)}
Values = dict[str, NDArray[Any]]

NAMED = {
    # the dump is what the person expected, where the contract is what came out
    "one-number-swaps-the-operands": "add: the adder real-numbers",
    "one-pair-of-65536": "add: the adder real-numbers",
    "two-back-ends-of-an-add": "add: the adder 22-bit-multipliers",
    "nothing-plus-nothing": "add: the first zero point is missing",
    "halves-truncated": "quantization: truncated",
    "half-a-step-truncated": "quantization: truncated",
    "the-lower-rail": r"rails: it saturates to -127\.\.127",
    "ties-of-a-language": "quantization: rounded half away from zero",
    "an-odd-zero-point": "quantization: rounded with the zero point inside",
    "a-reference-that-wraps": "rails: it wraps",
    "a-reference-that-wraps-uint8": "rails: it wraps",
    "float32-makes-a-tie": "requantization: the scheme double-rounding: ",
    "two-roundings-for-one": "requantization: the scheme double-rounding: ",
    "a-quarter-rounded-twice": "requantization: the scheme double-rounding: ",
    "an-exponent-off-by-one": "scales: .*shift",
    "a-column-that-saturates": "partial sums: .*pair",
    "the-largest-pair": "partial sums: .*pair",
    "a-pair-with-zero-point-113": "partial sums: .*pair",
    "a-pair-with-zero-point-114": "partial sums: .*pair",
    "pool-of-minus-ten": "requantization: the average is rounded half away from zero",
}
"""Case → what must be among the explanations."""


def values(case: dict[str, Any]) -> Values:
    return {
        name: np.asarray(tensor["values"], tensor["dtype"])
        for name, tensor in case["operands"].items()
    }


def cast(case: dict[str, Any]) -> tuple[str, Values, tuple[str, ...], Any, str]:
    """Return operator, operands, which of them are data, the dump, and which tensor that is."""
    operator, v = case["operator"], values(case)
    zero: Any
    one: Any
    part = "expected" if case["got"]["formula"] == "contract" else "got"
    dump = np.asarray(case[part]["value"])
    if operator == "MatMulInteger":
        scale, zero = np.float32(1), np.uint8(0)
        operands = {
            "a": v["A"], "a_scale": scale, "a_zero_point": v.get("a_zero_point", zero),
            "b": v["B"], "b_scale": scale, "b_zero_point": v.get("b_zero_point", np.int8(0)),
            "y_scale": np.float32(1000), "y_zero_point": zero,
        }  # fmt: skip
        return "QLinearMatMul", as_arrays(operands), ("a",), dump.astype(np.int32), "acc"
    if operator == "FixedPoint":
        zero, one = np.zeros((), np.uint8), np.ones((1, 1, 1, 1), np.uint8)
        real = np.float32(float(v["q"]) / 2.0 ** int(v["shift"]))
        if case["id"] == "an-exponent-off-by-one":
            real /= 2  # it was meant so
        operands = {
            "x": one * 0, "x_scale": real, "x_zero_point": zero, "w": one,
            "w_scale": np.float32(1), "w_zero_point": zero, "y_scale": np.float32(1),
            "y_zero_point": zero, "b": v["acc"].reshape(1),
        }  # fmt: skip
        return "QLinearConv", as_arrays(operands), ("x",), dump.reshape(1, 1, 1, 1), "y"
    if operator == "Average":
        count = int(v["count"])
        x = np.full((1, 1, 1, count), int(v["sum"]) // count, np.int8)
        x[..., : int(v["sum"]) % count] += 1
        one, zero = np.float32(1), np.int8(0)
        operands = {"x": x, "xs": one, "xz": zero, "ys": one, "yz": zero}
        away = np.full((1, 1, 1, 1), case["expected"]["value"])
        return "QLinearGlobalAveragePool", as_arrays(operands), ("x",), away, "y"
    if operator == "QuantizeLinear":
        v["x"], v["y_scale"] = (v[name].astype(np.float32) for name in ("x", "y_scale"))
        return operator, v, ("x",), dump, "y"
    return operator, v, DATA[operator], dump, "y"


def as_arrays(operands: dict[str, Any]) -> Values:
    return {name: np.asarray(value) for name, value in operands.items()}


def named(case: dict[str, Any], folder: Path) -> list[str]:
    """Return what the function behind ``bitbybit check`` says of a case."""
    operator, v, data, dump, tensor = cast(case)
    zero = v.get("y_zero_point", v.get("C_zero_point", v.get("yz")))
    assert zero is not None
    attributes = {"channels_last": 0} if "Pool" in operator else None
    constants = frozenset(v) - frozenset(data)
    proto = one_node_model(operator, {**v}, zero.dtype, attributes, constants)
    path = folder / "one.onnx"
    onnx.save(proto, path)
    model = load(path)
    (layer,) = model.layers
    got = dump.astype(zero.dtype if tensor == "y" else np.int32)
    found = diagnose(model, layer.name, [v[name] for name in data], got, tensor=tensor)
    assert found.different > 0
    return [str(explanation) for explanation in found.explanations]


@pytest.mark.parametrize("name", NAMED)
def test_the_cause_of_a_report_is_among_what_is_named(name: str, tmp_path: Path) -> None:
    explanations = named(CASES[name], tmp_path)
    assert [text for text in explanations if re.match(NAMED[name], text)], explanations


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one-pair-of-65536", "two-back-ends-of-an-add"])
@pytest.mark.parametrize("adder", ["real-numbers", "22-bit-multipliers"])
def test_a_whole_table_leaves_few_causes(name: str, adder: str, tmp_path: Path) -> None:
    """One element has twenty explanations; all pairs of the reported scales have these."""
    v = values(CASES[name])
    info = np.iinfo(v["A"].dtype)
    codes = np.arange(info.min, info.max + 1).astype(v["A"].dtype)
    v["A"], v["B"] = (part.reshape(1, -1) for part in np.meshgrid(codes, codes, indexing="ij"))
    dump = ADDERS[adder](*v.values())
    model_of = one_node_model("QLinearAdd", {**v}, info.dtype, None, frozenset(v) - {"A", "B"})
    onnx.save(model_of, tmp_path / "add.onnx")
    model = load(tmp_path / "add.onnx")
    found = diagnose(model, model.layers[0].name, [v["A"], v["B"]], dump)
    explanations = [str(each) for each in found.explanations]
    assert f"add: the adder {adder}" in explanations
    assert len(explanations) < 8, explanations


def test_what_cannot_be_cast_is_known() -> None:
    rest = {case["operator"] for name, case in CASES.items() if name not in NAMED}
    assert rest == {
        "AddTable", "Average", "Bias", "Clip", "DynamicQuantizeLinear", "DynamicScale",
        "FixedPoint", "MatMulInteger", "MultiplyAdd", "QGemm", "QLinearConv", "QdqConv", "Resize",
    }  # fmt: skip
