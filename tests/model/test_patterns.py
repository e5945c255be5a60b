"""Patterns that exporters and quantizers leave behind, each read as the layers it denotes.

``rewritten`` writes what was read and compares ONNX Runtime's outputs of both files, so that a
misread parameter, pad or axis cannot hide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, FloatIsland, QuantizedModel, Reshape
from bitbybit.model.writer import write
from tests.support.graphs import GraphMaker, run_onnx
from tests.support.runtime import on_contract_platform

pytestmark = on_contract_platform
LOW = np.int8(-128)


def kinds(model: QuantizedModel) -> list[tuple[str, str]]:
    """Return name and kind of each layer."""
    return [(layer.name, layer.kind) for layer in model.layers]


def rewritten(path: Path, shape: tuple[int, ...] = (2, 3, 6, 6), *, integer: bool = False) -> Any:
    """Read a file, write it in every form, compare what ONNX Runtime makes of all files."""
    model = load(path)
    rng = np.random.default_rng(3)
    image = rng.normal(0, 3, shape).astype(np.float32)
    if integer:
        image = rng.integers(-128, 128, shape).astype(model.edges[model.inputs[0]].dtype)
    expected = run_onnx(path, image)
    for form, standard in (("qdq", False), ("qoperator", False), ("qoperator", True)):
        write(model, path.with_name("again.onnx"), form, standard)  # type: ignore[arg-type]
        for a, b in zip(expected, run_onnx(path.with_name("again.onnx"), image), strict=True):
            assert np.array_equal(a, b), form
    assert np.unique(expected[0]).size > 5
    return model


def conv(g: GraphMaker, name: str, x: str, channels: int = 4, **attributes: Any) -> str:
    """Add a QDQ convolution of three channels with a fitting bias."""
    w = g.weight(f"{name}.w", (channels, 3, 3, 3), 0.01)
    b = g.weight(f"{name}.b", (channels,), np.float32(0.05) * np.float32(0.01), np.int32(0))
    return g.node("Conv", name, [x, w, b], **attributes)


def test_names_and_zero_points_are_not_needed(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("", "image", zero_point=None)
    w = g.weight("w", (4, 3, 3, 3), 0.01, np.uint8(120))
    y = g.node("Identity", "", [g.node("Conv", "", [x, w])])
    y = g.qdq("", y, 0.2, None)
    model = rewritten(g.save(tmp_path / "m.onnx", g.node("Identity", "", [y])))
    assert kinds(model) == [
        ("quantize_1", "quantize"), ("conv_1", "conv"), ("dequantize_1", "dequantize"),
    ]  # fmt: skip
    assert model.edges["conv_1"].dtype == np.uint8
    assert model.layer("conv_1").relu


def test_constants_may_be_left_unfolded(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image")
    real = g.constant("w.float", g.rng.normal(0, 0.5, (3, 3, 3, 4)).astype(np.float32))
    w, parameters = g.quantize("w.codes", real, 0.01, np.int8(0))
    w = g.node("DequantizeLinear", "w.real", [g.node("Identity", "w.same", [w]), *parameters])
    w = g.node("Transpose", "w.transposed", [w], perm=[3, 2, 0, 1])
    scale = g.node("Constant", "y.scale", [], value_float=0.2)
    zero = onnx.numpy_helper.from_array(np.array(7, np.int8))
    ends = [scale, g.node("Constant", "y.zero", [], value=zero)]
    y = g.node("QuantizeLinear", "y", [g.node("Conv", "conv", [x, w]), *ends])
    y = g.node("DequantizeLinear", "logits", [y, *ends])
    model = rewritten(g.save(tmp_path / "m.onnx", y))
    assert kinds(model) == [("input", "quantize"), ("conv", "conv"), ("logits", "dequantize")]
    layer = model.layer("conv")
    assert layer.weight.values.shape == (4, 3, 3, 3)
    assert layer.weight.values.dtype == np.int8


def test_domain_aliases_and_order_do_not_matter(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    y = g.qdq("logits", conv(g, "conv", g.qdq("input", "image")), 0.3)
    proto = g.model(y)
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    for node in nodes:
        node.domain = "ai.onnx"
    proto.graph.node.extend(nodes)
    proto.opset_import[0].domain = "ai.onnx"
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    model = load(tmp_path / "m.onnx")
    assert [kind for _, kind in kinds(model)] == ["quantize", "conv", "dequantize"]
    assert model.opsets == {"": 17}


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
@pytest.mark.parametrize("channels", [1, 5])
def test_a_float_bias_is_quantized_as_the_runtime_does(
    op: str, channels: int, tmp_path: Path
) -> None:
    g = GraphMaker(("N", 3, 6, 6) if op == "Conv" else ("N", 9))
    x = g.qdq("input", "image")
    scales = g.rng.uniform(0.005, 0.02, channels).astype(np.float32)
    zeros = np.zeros(channels, np.int8)
    shape = (channels, 3, 3, 3) if op == "Conv" else (channels, 9)
    w = g.weight("w", shape, scales, zeros, axis=0)
    bias = g.constant("b", g.rng.normal(0, 2, channels).astype(np.float32))
    extra = {"transB": 1} if op == "Gemm" else {}
    y = g.qdq("logits", g.node(op, "layer", [x, w, bias], **extra), 0.1, np.int8(3))
    size = (30, 3, 6, 6) if op == "Conv" else (64, 9)
    layer = rewritten(g.save(tmp_path / "m.onnx", y), size).layer("layer")
    assert layer.bias.values.dtype == np.int32
    assert layer.bias.values.any()


def test_dense_layers_of_every_spelling(tmp_path: Path) -> None:
    g = GraphMaker(("N", 9))
    x = g.qdq("input", "image")
    scales = g.rng.uniform(0.005, 0.02, 7).astype(np.float32)
    w = g.weight("w1", (7, 9), scales, np.zeros(7, np.int8), axis=0)
    b = g.weight("b1", (7,), np.float32(0.05) * scales, np.zeros(7, np.int32), axis=0)
    x = g.qdq("q1", g.node("Gemm", "gemm", [x, w, b], transB=1), 0.05)
    w = g.weight("w2", (7, 6))
    b = g.weight("b2", (6,), np.float32(0.05) * np.float32(0.01), np.int32(0))
    x = g.qdq("q2", g.node("Add", "bias", [b, g.node("MatMul", "matmul", [x, w])]), 0.03)
    w = g.weight("w3", (6, 5))
    x = g.qdq("logits", g.node("MatMul", "plain", [x, w]), 0.04, np.int8(1))
    model = rewritten(g.save(tmp_path / "m.onnx", x), (64, 9))
    assert [k for _, k in kinds(model)] == ["quantize", "dense", "dense", "dense", "dequantize"]
    gemm, matmul = model.layer("gemm"), model.layer("matmul")
    assert isinstance(gemm, Dense)
    assert isinstance(matmul, Dense)
    assert gemm.weight.values.shape == (9, 7)
    assert gemm.weight.params is not None
    assert gemm.weight.params.axis == 1
    assert (gemm.relu, matmul.relu) == (True, True)
    assert matmul.bias is not None
    assert [n for n, _ in matmul.nodes].count("Add") == 1


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_auto_pad_is_resolved(auto_pad: str, stride: int, tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 7, 8))
    y = conv(g, "conv", g.qdq("input", "image"), auto_pad=auto_pad, strides=[stride, stride])
    path = g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.4, np.int8(-5)))
    rewritten(path, (4, 3, 7, 8))


@pytest.mark.parametrize(
    ("limits", "zero_point", "folds"),
    [
        ((0, 6), LOW, True),
        ((0, 50), LOW, False),  # the codes reach 0.3 * 255: Clip cuts some off
        ((0, 6), np.int8(-127), False),
        ((-1.28, 1e9), LOW, True),
        ((-1.28, 1e9), np.int8(-100), False),
    ],
)
def test_clip_folds_where_saturation_replaces_it(
    limits: tuple[float, float], zero_point: np.int8, folds: bool, tmp_path: Path
) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    ends = [g.constant(f"limit{i}", np.float32(v)) for i, v in enumerate(limits)]
    y = g.node("Clip", "clip", [conv(g, "conv", g.qdq("input", "image")), *ends])
    scale = 6 / 255 if limits == (0, 6) else 0.3
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", y, scale, zero_point)))
    assert kinds(model)[1][1] == ("conv" if folds else "float_island")
    if not folds:
        island = model.layers[1]
        assert isinstance(island, FloatIsland)
        assert "Clip" in island.reason


def test_a_relu_before_another_zero_point_is_an_island(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    y = g.node("Relu", "relu", [conv(g, "conv", g.qdq("input", "image"))])
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.1, np.int8(0))))
    island = model.layers[1]
    assert isinstance(island, FloatIsland)
    assert island.reason == (
        "Conv: Relu stands before a zero point of 0 instead of -128, "
        "so saturation does not replace it"
    )
    assert model.edges[island.name].dtype == np.int8
    rewritten(tmp_path / "m.onnx")


def test_several_consumers_of_one_tensor(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    y = conv(g, "conv", g.qdq("input", "image"))
    a, b = g.qdq("a", y, 0.3), g.qdq("b", y, 0.3)  # twins: one edge
    y = g.node("Add", "add", [a, b])
    model = rewritten(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.5, np.int8(4))))
    assert model.layer("add").inputs == ("conv", "conv")


def test_two_scales_for_one_tensor_keep_it_float(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    y = conv(g, "conv", g.qdq("input", "image"))
    a, b = g.qdq("a", y, 0.3), g.qdq("b", y, 0.2)
    y = g.qdq("logits", g.node("Add", "add", [a, b]), 0.5, np.int8(4))
    model = rewritten(g.save(tmp_path / "m.onnx", y))
    assert kinds(model) == [
        ("input", "quantize"), ("conv", "float_island"), ("a", "quantize"), ("b", "quantize"),
        ("add", "add"), ("logits.real", "dequantize"),
    ]  # fmt: skip
    assert model.edges["conv"].dtype == np.float32


def test_moved_codes_stay_codes(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image")
    x = g.node("MaxPool", "pool", [x], kernel_shape=[2, 2], strides=[2, 2])  # no Q behind it
    x = g.qdq("sum", g.node("Add", "add", [x, x]), 0.1)
    x = g.node("Transpose", "nhwc", [x], perm=[0, 2, 3, 1])
    shape = g.constant("shape", np.array([0, -1], np.int64))
    x = g.node("Reshape", "flat", [x, shape])
    w = g.weight("w", (27, 4))
    model = rewritten(
        g.save(
            tmp_path / "m.onnx", g.qdq("logits", g.node("MatMul", "dense", [x, w]), 0.2, np.int8(1))
        )
    )
    assert kinds(model) == [
        ("input", "quantize"), ("pool", "max_pool"), ("add", "add"),
        ("nhwc", "move"), ("flat", "reshape"), ("dense", "dense"),
        ("logits.real", "dequantize"),
    ]  # fmt: skip
    assert model.edges["pool"].dtype == model.edges["nhwc"].dtype == np.int8
    assert model.edges["nhwc"].shape == (None, 3, 3, 3)
    flat = model.layer("flat")
    assert isinstance(flat, Reshape)
    assert flat.shape == (None, 27)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "expected"),
    [
        ("Flatten", None, {}, (None, 108)),
        ("Flatten", None, {"axis": -3}, (None, 108)),
        ("Reshape", [-1, 108], {}, (None, 108)),
        ("Reshape", [0, 3, 36], {}, (None, 3, 36)),
        ("Reshape", [0, 3, -1], {}, (None, 3, 36)),
        ("Unsqueeze", [1], {}, (None, 1, 3, 6, 6)),
    ],
)
def test_reshapes(
    op: str,
    inputs: list[int] | None,
    attributes: dict[str, Any],
    expected: tuple[Any, ...],
    tmp_path: Path,
) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    extra = [g.constant("target", np.array(inputs, np.int64))] if inputs else []
    x, parameters = g.quantize("input", "image")
    y = g.node(op, "moved", [x, *extra], **attributes)
    model = rewritten(
        g.save(tmp_path / "m.onnx", g.node("DequantizeLinear", "logits", [y, *parameters]))
    )
    assert kinds(model)[1] == ("moved", "reshape")
    assert model.edges["moved"].shape == model.edges["logits"].shape == expected


def test_rescaling_without_operator_is_a_lookup(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("logits", g.qdq("input", "image"), 0.3, np.int8(9))
    model = rewritten(g.save(tmp_path / "m.onnx", x))
    assert kinds(model)[1] == ("logits", "lookup")
    same = GraphMaker(("N", 3, 6, 6))
    codes, parameters = same.quantize("input", "image")
    for i in range(3):
        real = same.node("DequantizeLinear", f"real{i}", [codes, *parameters])
        codes = same.node("QuantizeLinear", f"codes{i}", [real, *parameters])
    real = same.node("DequantizeLinear", "logits", [codes, *parameters])
    model = rewritten(same.save(tmp_path / "same.onnx", real))
    assert kinds(model) == [("input", "quantize"), ("logits", "dequantize")]


def test_sixteen_bit_activations_are_an_island(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6), opset=21)
    x = g.qdq("input", "image", 0.001, np.int16(0))
    y = g.node("Conv", "conv", [x, g.weight("w", (4, 3, 3, 3))])
    model = rewritten(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.01, np.int16(0))))
    island = model.layer("conv")
    assert isinstance(island, FloatIsland)
    assert island.reason == "Conv: no integer kernel takes int16 activations"


def test_one_operator_on_integer_graph_inputs(tmp_path: Path) -> None:
    g = GraphMaker((2, 3, 6, 6), element=TensorProto.INT8)
    w = g.constant("w", g.rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8))
    parameters = [*g.params("x", 0.05, np.int8(3)), w, *g.params("w0", 0.01, np.int8(0))]
    y = g.node("QLinearConv", "conv", ["image", *parameters, *g.params("y", 0.2, np.int8(1))])
    model = rewritten(g.save(tmp_path / "m.onnx", y), integer=True)
    assert kinds(model) == [("conv", "conv")]
    assert (model.inputs, model.outputs, model.form) == (("image",), ("conv",), "qoperator")
    x = model.edges["image"]
    assert x.params is not None
    assert (x.dtype, int(x.params.zero_point)) == (np.int8, 3)


def test_several_graph_outputs(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    first, parameters = g.quantize("q1", conv(g, "first", g.qdq("input", "image")), 0.05)
    real = g.node("DequantizeLinear", "seen", [first, *parameters])
    pool = g.qdq("q2", g.node("GlobalAveragePool", "pool", [real]), 0.05)
    proto = g.model(pool)
    proto.graph.output.append(helper.make_tensor_value_info(first, TensorProto.INT8, None))
    proto.graph.output.append(helper.make_tensor_value_info(real, TensorProto.FLOAT, None))
    onnx.save(proto, tmp_path / "m.onnx")
    model = rewritten(tmp_path / "m.onnx")
    assert model.outputs == ("q2.real", "first", "seen")
    assert [model.edges[e].onnx_name for e in model.outputs] == ["logits", first, real]


def test_a_layer_that_reads_with_another_scale_is_an_island(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    codes, _ = g.quantize("input", "image", 0.05)
    x = g.node("DequantizeLinear", "other", [codes, *g.params("other.p", 0.07, LOW)])
    w = g.weight("w", (4, 3, 3, 3))
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", g.node("Conv", "c", [x, w]), 0.3)))
    island = model.layer("c")
    assert isinstance(island, FloatIsland)
    assert "another scale" in island.reason


def test_one_operator_that_reads_codes_with_two_scales_is_an_island(tmp_path: Path) -> None:
    g = GraphMaker((2, 3, 6, 6), element=TensorProto.INT8)
    parameters = [g.params(name, scale, np.int8(0)) for name, scale in (("a", 0.1), ("b", 0.2))]
    inputs = ["image", *parameters[0], "image", *parameters[1], *g.params("y", 0.3, np.int8(0))]
    y = g.node("QLinearAdd", "add", inputs, domain="com.microsoft")
    model = load(g.save(tmp_path / "m.onnx", y))
    island = model.layer("add")
    assert isinstance(island, FloatIsland)
    assert "another scale" in island.reason
    assert model.edges["add"].shape == (2, 3, 6, 6)


def test_grouped_and_dilated_convolutions(tmp_path: Path) -> None:
    g = GraphMaker(("N", 4, 9, 9))
    x = g.qdq("input", "image")
    w = g.weight("w", (6, 2, 3, 3))
    y = g.node("Conv", "grouped", [x, w], group=2, dilations=[2, 1], pads=[0, 1, 2, 3])
    model = rewritten(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.3)), (2, 4, 9, 9))
    layer = model.layer("grouped")
    assert isinstance(layer, Conv)
    assert (layer.group, layer.dilations, layer.pads) == (2, (2, 1), (0, 1, 2, 3))


def test_float_values_between_layers_keep_their_names(tmp_path: Path) -> None:
    """A float chain becomes one island, its reason names the first cause."""
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image")
    gate = g.node("Sigmoid", "gate", [x])
    y = g.node("Mul", "swish", [x, gate])
    model = rewritten(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.1, np.int8(-90))))
    assert kinds(model)[1] == ("swish", "float_island")
    island = model.layer("swish")
    assert island.reason == "Sigmoid: its output is used without a QuantizeLinear"
    assert {op for op, _ in island.nodes} == {
        "DequantizeLinear",
        "Sigmoid",
        "Mul",
        "QuantizeLinear",
    }
    onnx.checker.check_model(onnx.ModelProto.FromString(island.model), full_check=True)
