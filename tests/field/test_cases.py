"""What people reported, computed again: what they expected, what came out, and what it is today.

``cases.json`` holds operands, two values and the name of the formula that gives each. Here the
formulas stand: the contract is the library's, the others are what went wrong.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bitbybit import arithmetic, cpu
from bitbybit.arithmetic import OperandError
from bitbybit.arithmetic.alternatives import ADDERS
from bitbybit.arithmetic.requantizers import REQUANTIZERS, shift_half_up, twice_rounded
from tests.support import one_node
from tests.support.runtime import on_contract_platform

Values = dict[str, NDArray[Any]]
Formula = Callable[[Values], Any]

FILE = json.loads(Path(__file__).with_name("cases.json").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = FILE["cases"]
IDS = [case["id"] for case in CASES]
FIELDS = {"id", "sources", "date", "operator", "operands", "expected", "got", "runtime", "cause"}


def operands(case: Mapping[str, Any]) -> Values:
    return {
        name: np.asarray(tensor["values"], tensor["dtype"])
        for name, tensor in case["operands"].items()
    }


# Sums


def in_a_vector(v: Values) -> Any:
    many = {**v, "A": np.tile(v["A"], 16), "B": np.tile(v["B"], 16)}
    return arithmetic.qlinear_add(*many.values())[:1]


def pairs_that_differ(v: Values) -> list[int]:
    codes = np.arange(256).astype(v["zero_point"].dtype)
    a, b = np.meshgrid(codes, codes, indexing="ij")
    zero, found = v["zero_point"], []
    for scale in v["c_scales"]:
        six = a, v["a_scale"], zero, b, v["b_scale"], zero, scale, zero
        found.append(int((arithmetic.qlinear_add(*six) != ADDERS["qdq-literally"](*six)).sum()))
    return found


# Products


def saturating_pairs(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """Sum products of raw codes, two at a time in 16 bits, as vpmaddubsw does."""
    products = a.astype(np.int64)[:, :, None] * b.astype(np.int64)[None]
    tops = range(0, products.shape[1], 2)
    pairs = [np.clip(products[:, k : k + 2].sum(axis=1), -(2**15), 2**15 - 1) for k in tops]
    return np.asarray(sum(pairs))


def matmul_of_pairs(v: Values) -> NDArray[np.int64]:
    a, b = v["A"].astype(np.int64), v["B"].astype(np.int64)
    za, zb = (int(v.get(name, np.int64(0))) for name in ("a_zero_point", "b_zero_point"))
    zeros = zb * a.sum(axis=1)[:, None] + za * b.sum(axis=0) - a.shape[1] * za * zb
    return np.asarray(saturating_pairs(v["A"], v["B"]) - zeros)


def matmul(v: Values) -> Any:
    zeros = (v.get(f"{x}_zero_point", v[x.upper()].dtype.type(0)) for x in "ab")
    try:
        return arithmetic.matmul_integer(v["A"], v["B"], *zeros)
    except OperandError:
        return "refused"


def per_row(v: Values) -> Any:
    a = v["A"].astype(int) - v["a_zero_point"].astype(int)[:, None]
    return a @ v["B"].astype(int)


def gemm(v: Values) -> Any:
    return arithmetic.qgemm(*v.values()).astype(float).round(6)


def gemm_of_pairs(v: Values) -> Any:
    return (saturating_pairs(v["a"], v["b"]) * float(v["a_scale"]) * float(v["b_scale"])).round(6)


def wrapped(v: Values) -> Any:
    """Quantize without rails: the low byte is what is left."""
    a, b = (v[n].astype(int) - int(v[f"{n}_zero_point"]) for n in "ab")
    multiplier = arithmetic.conv_multiplier(v["a_scale"], v["b_scale"], v["y_scale"])
    whole = np.rint((a @ b) * float(multiplier)).astype(np.int64) + int(v["y_zero_point"])
    return whole.astype(v["y_zero_point"].dtype)


def conv_by(scheme: str) -> Formula:
    def formula(v: Values) -> Any:
        acc = arithmetic.accumulate_conv(v["x"], v["x_zero_point"], v["w"], v["w_zero_point"])
        scales = v["x_scale"], v["w_scale"], v["y_scale"]
        return REQUANTIZERS[scheme](acc, *scales, v["y_zero_point"], 1)

    return formula


def conv_without_rails(v: Values) -> Any:
    acc = arithmetic.accumulate_conv(v["x"], v["x_zero_point"], v["w"], v["w_zero_point"])
    scale = float(v["x_scale"]) * v["w_scale"].astype(float) / float(v["y_scale"])
    return np.rint(acc * scale).astype(int)


# Quantization


def quantize_by(whole: Callable[[NDArray[Any], int], NDArray[Any]], low: int = -128) -> Formula:
    def formula(v: Values) -> Any:
        zero = v["y_zero_point"]
        info = np.iinfo(zero.dtype)
        steps = v["x"].astype(np.float32) / np.float32(v["y_scale"])
        return np.clip(whole(steps, int(zero)), max(info.min, low), info.max).astype(int)

    return formula


def half_away(x: Any) -> Any:
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def quantize(v: Values) -> Any:
    scale = v["y_scale"].astype(np.float32)
    return arithmetic.quantize_linear(v["x"].astype(np.float32), scale, v["y_zero_point"])


def dynamic(x: NDArray[np.float32]) -> tuple[Any, np.uint8]:
    """Return scale and zero point of DynamicQuantizeLinear."""
    low, high = min(0, x.min()), max(0, x.max())
    scale = np.float32((high - low) / np.float32(255))
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def dynamic_by(whole: Callable[[NDArray[Any], Any], NDArray[Any]]) -> Formula:
    def formula(v: Values) -> Any:
        scale, zero = dynamic(v["x"])
        return np.clip(whole(v["x"], scale) + int(zero), 0, 255).astype(int)

    return formula


def in_a_batch(v: Values) -> Any:
    scale, zero = dynamic(np.concatenate([v["x"], v["beside"]]))
    return arithmetic.quantize_linear(v["x"], scale, zero)


# Integers alone


def average_by(whole: Callable[[Any], Any]) -> Formula:
    return lambda v: int(whole(int(v["sum"]) / int(v["count"])))


def wrapped_sum(v: Values) -> int:
    return int(half_away(int(v["sum"].astype(np.int32)) / int(v["count"])))


def resized(v: Values) -> NDArray[np.float64]:
    """Interpolate linearly between the centres of pixels."""
    x, size = v["x"].astype(float), int(v["size"])
    at = np.clip((np.arange(size) + 0.5) * len(x) / size - 0.5, 0, len(x) - 1)
    return np.asarray(np.interp(at, np.arange(len(x)), x))


def fixed_by(scheme: Callable[[Any, Any, Any], Any]) -> Formula:
    return lambda v: int(scheme(v["acc"].astype(np.int64), v["q"], v["shift"]))


def shift_for_division(acc: Any, q: Any, shift: Any) -> Any:
    product = int(acc) * int(q)
    assert shift == 31
    return (product + (1 << 30 if product >= 0 else 1 - (1 << 30))) >> 31


def int32_bias(v: Values) -> float:
    scale = float(v["x_scale"]) * float(v["w_scale"])
    return round(float(np.clip(np.rint(v["bias"] / scale), -(2**31), 2**31 - 1) * scale), 3)


def bias_alone(v: Values, scale: Any) -> int:
    """Quantize the real value of a bias, the only summand where the input holds zeros."""
    return int(np.rint(float(v["bias"]) * float(scale) / float(v["y_scale"])))


def clip(x: Any) -> Any:
    return np.clip(x, -128, 127)


FORMULAS: dict[str, dict[str, Formula]] = {
    "QLinearAdd": {
        "contract": lambda v: arithmetic.qlinear_add(*v.values()),
        "on-paper": lambda v: ADDERS["real-numbers"](*v.values()),
        "22-bit-multipliers": lambda v: ADDERS["22-bit-multipliers"](*v.values()),
        "in-a-vector": in_a_vector,
    },
    "AddTable": {
        "equal": lambda v: [0] * v["c_scales"].size, "pairs-that-differ": pairs_that_differ,
    },
    "QGemm": {"contract": gemm, "pair-saturation": gemm_of_pairs},
    "MatMulInteger": {
        "contract": matmul, "pair-saturation": matmul_of_pairs, "by-definition": per_row,
    },
    "QLinearMatMul": {
        "contract": lambda v: arithmetic.qlinear_matmul(*v.values()), "wrapped": wrapped,
    },
    "QLinearConv": {
        "contract": lambda v: arithmetic.qlinear_conv(*v.values()),
        "without-rails": conv_without_rails,
        **{
            scheme: conv_by(scheme)
            for scheme in ("double-rounding", "single-rounding", "double-rounding-upward")
        },
    },
    "QuantizeLinear": {
        "contract": quantize,
        "truncated": quantize_by(lambda steps, zero: np.trunc(steps) + zero),
        "rail-of-minus-127": quantize_by(lambda steps, zero: np.rint(steps) + zero, -127),
        "half-away-from-zero": quantize_by(lambda steps, zero: half_away(steps) + zero),
        "zero-point-before-rounding": quantize_by(lambda steps, zero: np.rint(steps + zero)),
    },
    "DynamicQuantizeLinear": {
        "contract": lambda v: arithmetic.quantize_linear(v["x"], *dynamic(v["x"])),
        "half-away-from-zero": dynamic_by(lambda x, scale: half_away(x / scale)),
        "reciprocal": dynamic_by(lambda x, scale: np.rint(x * (np.float32(1) / scale))),
        "in-a-batch": in_a_batch,
    },
    "DynamicScale": {
        "definition": lambda v: float(dynamic(v["x"] + 0)[0]) if v["x"].any() else 0.0,
        "runtime": lambda v: float(dynamic(v["x"])[0]) if v["x"].any() else 1.0,
        "reference": lambda v: float(dynamic(v["x"])[0]) if v["x"].any() else 1 / 255,
    },
    "FixedPoint": {
        "single-rounding": fixed_by(lambda acc, q, shift: shift_half_up(acc * q, int(shift))),
        "double-rounding": fixed_by(twice_rounded),
        "double-rounding-upward": fixed_by(
            lambda acc, q, shift: shift_half_up(shift_half_up(acc * q, 31), int(shift) - 31)
        ),
        "floor": fixed_by(lambda acc, q, shift: acc * q >> shift),
        "one-more-shift": fixed_by(lambda acc, q, shift: shift_half_up(acc * q, int(shift) + 1)),
        "shift-for-division": fixed_by(shift_for_division),
    },
    "Average": {
        "half-away-from-zero": average_by(half_away),
        "half-up": average_by(lambda mean: np.floor(mean + 0.5)),
        "wrapped-sum": wrapped_sum,
    },
    "Clip": {
        "scale-then-clip": lambda v: clip(v["x"] * v["factor"] / v["factor"]),
        "clip-then-scale": lambda v: np.rint(clip(v["x"] * v["factor"]) / v["factor"]),
    },
    "QdqConv": {
        "as-written": lambda v: bias_alone(v, v["bias_scale"]),
        "bias-scale-dropped": lambda v: bias_alone(v, v["x_scale"] * v["w_scale"]),
    },
    "Bias": {"real": lambda v: float(v["bias"]), "int32-rail": int32_bias},
    "MultiplyAdd": {
        "two-roundings": lambda v: float(v["a"] * v["b"] + v["c"]),
        "one-rounding": lambda v: float(arithmetic.fma32(v["a"], v["b"], v["c"])),
    },
    "Resize": {
        "half-even": lambda v: np.rint(resized(v)), "truncated": lambda v: np.trunc(resized(v)),
    },
}  # fmt: skip
"""Operator → name of a formula → what it makes of the operands."""


def said(case: Mapping[str, Any]) -> dict[str | None, Any]:
    """Return the value that each formula of a case must give."""
    pairs = [(case[part]["formula"], case[part]["value"]) for part in ("expected", "got")]
    more: dict[str | None, Any] = case.get("also", {})
    return dict(pairs) | more


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_each_formula_gives_the_reported_number(case: dict[str, Any]) -> None:
    for formula, value in said(case).items():
        if formula is not None:
            found = FORMULAS[case["operator"]][formula](operands(case))
            assert np.asarray(found).tolist() == value, formula


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_was_expected_is_not_what_came_out(case: dict[str, Any]) -> None:
    assert case["expected"]["value"] != case["got"]["value"]
    assert case["expected"]["formula"] != case["got"]["formula"]


def run(case: Mapping[str, Any]) -> Any:
    """Return what ONNX Runtime makes of a case today."""
    v, operator = operands(case), case["operator"]
    if operator == "DynamicQuantizeLinear":
        return dynamically(v["x"])[0]
    if operator == "DynamicScale":
        return float(dynamically(v["x"])[1])
    if operator == "QdqConv":
        levels = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
        return [int(fused_or_not(v, level).item()) for level in levels]
    kind = {"MatMulInteger": np.int32, "QGemm": np.float32, "QuantizeLinear": np.int8}.get(operator)
    zero = v.get("y_zero_point", v.get("C_zero_point"))
    dtype = kind if zero is None else zero.dtype
    if case["got"]["value"] == "refused":
        with pytest.raises(Exception, match=r"(?i)zero.?point"):
            one_node.run(operator, v, dtype)
        return "refused"
    found = one_node.run(operator, v, dtype)
    return found.astype(float).round(6) if operator == "QGemm" else found


def dynamically(x: NDArray[np.float32]) -> list[Any]:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8)
    ends = [helper.make_tensor_value_info(n, k, None) for n, k in zip("ysz", kinds, strict=True)]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    model = helper.make_model(
        helper.make_graph([node], "g", [given], ends),
        opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    return list(one_node.session(model).run(None, {"x": x}))


def fused_or_not(v: Values, level: str) -> Any:
    """Run a QDQ convolution of zeros with the bias's own scale, optimized as ``level`` says."""
    import onnxruntime

    constants = {
        "xs": v["x_scale"], "xz": np.uint8(128), "ws": v["w_scale"].reshape(1),
        "wz": np.zeros(1, np.int8), "w": np.ones((1, 1, 1, 1), np.int8), "b": v["bias"].reshape(1),
        "bs": v["bias_scale"].reshape(1), "bz": np.zeros(1, np.int32), "ys": v["y_scale"],
        "yz": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xr"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["br"], axis=0),
        helper.make_node("Conv", ["xr", "wr", "br"], ["yr"]),
        helper.make_node("QuantizeLinear", ["yr", "ys", "yz"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.UINT8, [1, 1, 1, 1])],
        [info("y", TensorProto.UINT8, [1, 1, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.full((1, 1, 1, 1), 128, np.uint8)})[0]


JUDGED = [case for case in CASES if case["runtime"]]


@on_contract_platform
@pytest.mark.parametrize("case", JUDGED, ids=[case["id"] for case in JUDGED])
def test_the_runtime_gives_today_what_the_case_says(case: dict[str, Any]) -> None:
    values, name = said(case), case["runtime"]
    if name == "both":  # a session without optimizations, and the default one
        assert run(case) == [case["expected"]["value"], case["got"]["value"]]
        return
    if "pair-saturation" in values and not cpu.is_contract_platform("uint8", "int8"):
        name = "pair-saturation"  # AVX2 without VNNI
    assert np.asarray(run(case)).tolist() == values[name]


def test_the_file_keeps_its_form() -> None:
    assert FILE["schema_version"] == 1
    assert [name for name, count in Counter(IDS).items() if count > 1] == []
    for case in CASES:
        assert case.keys() - {"also", "older", "attributes"} == FIELDS, case["id"]
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", name) for name in case["sources"])
        assert case["sources"]
        assert re.fullmatch(r"(\d{4}(-\d\d){1,2})?", case["date"])
        assert case["cause"].endswith(".")
        names = {name for name in said(case) if name is not None}
        assert names <= FORMULAS[case["operator"]].keys()
        assert case["runtime"] in {None, "both", *names}


def test_every_formula_is_some_case_s() -> None:
    used = {(case["operator"], name) for case in CASES for name in said(case)}
    formulas = {(operator, name) for operator, row in FORMULAS.items() for name in row}
    assert formulas - used == set()
