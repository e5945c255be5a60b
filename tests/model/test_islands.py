"""Float islands: the smallest connected pieces, each a model of its own that runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from bitbybit.model.costs import cost
from bitbybit.model.load import load
from bitbybit.model.types import FloatIsland, QuantizedModel, Reshape
from bitbybit.model.writer import write
from tests.support.equality import equivalent
from tests.support.graphs import GraphMaker, run_onnx
from tests.support.runtime import on_contract_platform


def island(model: QuantizedModel, name: str) -> FloatIsland:
    """Return a layer that must be an island."""
    layer = model.layer(name)
    assert isinstance(layer, FloatIsland)
    return layer


def run_island(layer: FloatIsland, *arrays: Any) -> Any:
    """Run the model of an island on arrays in the order of its inputs."""
    session = onnxruntime.InferenceSession(layer.model, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names == list(layer.inputs)
    assert [o.name for o in session.get_outputs()] == [layer.name]
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def test_an_island_is_a_model_with_integer_edges(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image", 0.05, np.int8(10))
    y = g.node("Mul", "swish", [x, g.node("Sigmoid", "gate", [x])])
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.03, np.int8(-100))))
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16)
    found = run_island(island(model, "swish"), np.broadcast_to(codes[:, :, :6, :6], (2, 3, 6, 6)))
    assert found.dtype == np.int8
    real = (codes[0, 0, :6, :6].astype(np.float64) - 10) * np.float32(0.05)
    expected = np.rint(real / (1 + np.exp(-real)) / np.float32(0.03)) - 100
    assert np.abs(found[1, 2] - np.clip(expected, -128, 127)).max() == 0


def test_a_float_tensor_with_several_readers_is_an_edge(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.node("Sigmoid", "shared", [g.qdq("input", "image")])
    a = g.qdq("qa", g.node("Tanh", "a", [x]), 0.01)
    b = g.qdq("qb", g.node("Exp", "b", [x]), 0.02)
    y = g.qdq("logits", g.node("Add", "add", [a, b]), 0.03)
    model = load(g.save(tmp_path / "m.onnx", y))
    assert [(x.name, x.kind, x.inputs) for x in model.layers[1:5]] == [
        ("shared", "float_island", ("input",)),
        ("a", "float_island", ("shared",)),
        ("b", "float_island", ("shared",)),
        ("add", "add", ("a", "b")),
    ]
    assert model.edges["shared"].dtype == np.float32
    assert model.edges["a"].dtype == model.edges["b"].dtype == np.int8


def test_a_node_with_several_outputs_is_one_island_per_output(tmp_path: Path) -> None:
    g = GraphMaker(("N", 4, 6, 6))
    x = g.qdq("input", "image")
    g.nodes.append(helper.make_node("Split", [x], ["left", "right"], name="split", axis=1))
    y = g.node("Add", "add", [g.qdq("a", "left", 0.05), g.qdq("b", "right", 0.1)])
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.1)))
    halves = model.layer("add").inputs
    codes = np.random.default_rng(0).integers(-128, 128, (2, 4, 6, 6)).astype(np.int8)
    for name, part in zip(halves, (codes[:, :2], codes[:, 2:]), strict=True):
        assert model.edges[name].shape == (None, 2, 6, 6)
        split = model.layer(model.layer(name).inputs[0])
        assert run_island(island(model, split.name), codes).shape == part.shape


@pytest.mark.parametrize("quantized", [False, True])
def test_a_shape_that_is_computed_joins_its_reshape(quantized: bool, tmp_path: Path) -> None:
    """What PyTorch exports for ``x.view(x.size(0), -1)``."""
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image", 0.05, np.int8(1)) if quantized else "image"
    shape = g.node("Shape", "shape", [x])
    batch = g.node("Gather", "batch", [shape, g.constant("zero", np.array(0, np.int64))])
    batch = g.node("Unsqueeze", "vector", [batch, g.constant("axes", np.array([0], np.int64))])
    rest = g.constant("rest", np.array([-1], np.int64))
    target = g.node("Concat", "target", [batch, rest], axis=0)
    y = g.node("Reshape", "flat", [x, target])
    y = g.qdq("logits", y, 0.05, np.int8(1)) if quantized else g.node("Sigmoid", "logits", [y])
    model = load(g.save(tmp_path / "m.onnx", y))
    names = [layer.name for layer in model.layers]
    assert names == (["input", "flat", "logits.real"] if quantized else ["flat", "logits"])
    image = np.random.default_rng(0).normal(0, 2, (2, 3, 6, 6)).astype(np.float32)
    if quantized:
        write(model, tmp_path / "again.onnx")
        again = run_onnx(tmp_path / "again.onnx", image)[0]
        assert np.array_equal(again, run_onnx(tmp_path / "m.onnx", image)[0])


def test_a_reshape_of_open_size_is_an_island_on_codes(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, "H", "W"))
    x, parameters = g.quantize("input", "image")
    y = g.node("Flatten", "flat", [x])
    model = load(g.save(tmp_path / "m.onnx", g.node("DequantizeLinear", "y", [y, *parameters])))
    assert not any(isinstance(layer, Reshape) for layer in model.layers)
    assert "open beyond the batch" in island(model, "flat").reason
    codes = np.random.default_rng(0).integers(-128, 128, (2, 3, 4, 5)).astype(np.int8)
    assert np.array_equal(run_island(island(model, "flat"), codes), codes.reshape(2, -1))


def test_integer_operators_without_requantization_are_islands(tmp_path: Path) -> None:
    g = GraphMaker(("N", 9))
    x, _ = g.quantize("input", "image", 0.05, np.int8(3))
    w = g.constant("w", g.rng.integers(-128, 128, (9, 4)).astype(np.int8))
    zeros = [g.constant(n, np.array(v, np.int8)) for n, v in (("xz", 3), ("wz", 0))]
    y = g.node("MatMulInteger", "sum", [x, w, *zeros])
    model = load(g.save(tmp_path / "m.onnx", g.node("Cast", "logits", [y], to=1)))
    assert [layer.name for layer in model.layers] == ["input", "logits"]
    assert "MatMulInteger is no integer layer" in island(model, "logits").reason
    assert cost(model, model.layer("logits")).macs == 36


@on_contract_platform
def test_islands_are_written_back_whole(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("input", "image")
    gate = g.node("Sigmoid", "gate", [x])
    scales = g.rng.uniform(0.005, 0.02, 4).astype(np.float32)
    w = g.weight("w", (4, 3, 1, 1), scales, np.zeros(4, np.int8), axis=0)
    y = g.node("Conv", "conv", [g.node("Mul", "swish", [x, gate]), w])  # float inside
    model = load(g.save(tmp_path / "m.onnx", g.qdq("logits", y, 0.05, np.int8(2))))
    assert [layer.name for layer in model.layers] == ["input", "conv", "logits.real"]
    image = np.random.default_rng(1).normal(0, 3, (2, 3, 6, 6)).astype(np.float32)
    for form in ("qdq", "qoperator"):
        write(model, tmp_path / "again.onnx", form)
        assert equivalent(model, load(tmp_path / "again.onnx")) == ""
        expected = run_onnx(tmp_path / "m.onnx", image)[0]
        assert np.array_equal(expected, run_onnx(tmp_path / "again.onnx", image)[0])
    found = cost(model, model.layer("conv"))
    assert (found.macs, found.weights, found.biases) == (4 * 3 * 36, 12, 0)


def calls(path: Path) -> int:
    """Count the Python and C calls that reading a file takes."""
    count = 0

    def tick(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    load(path)  # caches are warm
    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        load(path)
    finally:
        sys.setprofile(before)
    return count


def chain(kind: str, size: int, path: Path) -> Path:
    """Write a graph that grows with ``size``: layers, islands, or one deep island."""
    g = GraphMaker(("N", 4))
    x = "image" if kind == "islands" else g.qdq("input", "image")
    for i in range(size):
        if kind == "layers":
            x = g.qdq(f"q{i}", g.node("Add", f"add{i}", [x, x]), 0.1)
        else:
            x = g.node("Sigmoid", f"s{i}", [x])
    return g.save(path, x)


@pytest.mark.parametrize("kind", ["layers", "islands", "one island"])
def test_reading_is_linear_in_the_size_of_the_graph(kind: str, tmp_path: Path) -> None:
    counts = [calls(chain(kind, size, tmp_path / "m.onnx")) for size in (100, 200, 400)]
    assert counts[2] - counts[1] < 2.2 * (counts[1] - counts[0])


def test_twenty_thousand_nodes(tmp_path: Path) -> None:
    model = load(chain("one island", 20_000, tmp_path / "m.onnx"))
    assert [layer.kind for layer in model.layers] == ["quantize", "float_island"]
    assert len(model.layers[1].nodes) == 20_001


def test_a_constant_output_is_an_island_without_inputs(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    y = g.qdq("logits", g.qdq("input", "image"), 0.1)
    names = g.constant("names", np.arange(4, dtype=np.int64)), g.weight("w", (2, 3), 0.5)
    folded = g.node("Constant", "folded", [], value_float=2.5)
    proto = g.model(y)
    for name, kind, shape in ((names[0], 7, [4]), (names[1], 1, [2, 3]), (folded, 1, [])):
        proto.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    model = load(path)
    assert model.outputs[1:] == ("names", "w.real.out", "folded.out")
    for name, expected in zip(
        model.outputs[1:], run_onnx(path, np.zeros((1, 3, 6, 6), np.float32))[1:], strict=True
    ):
        layer, edge = island(model, name), model.edges[name]
        assert layer.inputs == ()
        assert "constant" in layer.reason
        assert (edge.shape, edge.dtype) == (expected.shape, expected.dtype)
        assert np.array_equal(run_island(layer), expected)
    write(model, tmp_path / "again.onnx")
    again = load(tmp_path / "again.onnx")
    assert [(x.kind, x.inputs) for x in again.layers] == [(x.kind, x.inputs) for x in model.layers]
