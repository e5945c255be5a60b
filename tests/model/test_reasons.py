"""Why a node is no integer layer: each reason, and constants that files leave to be folded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bitbybit.errors import BitbybitError, UnsupportedError
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, FloatIsland, QuantizedModel
from bitbybit.model.writer import write
from tests.support.graphs import GraphMaker

Build = Callable[[GraphMaker, str], str]
INT32_ZERO = np.int32(0)


def conv(g: GraphMaker, x: str, w: str, *more: str, **attributes: object) -> str:
    """Add Conv between the given tensors, and its Q and DQ."""
    return g.qdq("logits", g.node("Conv", "layer", [x, w, *more], **attributes), 0.2)


def gemm(g: GraphMaker, x: str, w: str, *more: str, **attributes: object) -> str:
    """Add Reshape, Gemm, Q and DQ."""
    flat = g.node("Reshape", "flat", [x, g.constant("shape", np.array([-1, 108]))])
    return g.qdq("logits", g.node("Gemm", "layer", [flat, w, *more], **attributes), 0.2)


def per_channel(g: GraphMaker, axis: int, shape: tuple[int, ...]) -> str:
    """Add a weight with scales along any axis."""
    size = shape[axis]
    scales = np.linspace(0.01, 0.02, size, dtype=np.float32)
    return g.weight("w", shape, scales, np.zeros(size, np.int8), axis=axis)


def float_weight(g: GraphMaker, shape: tuple[int, ...]) -> str:
    """Add a float weight."""
    return g.constant("w", g.rng.normal(0, 1, shape).astype(np.float32))


def computed_weight(g: GraphMaker) -> str:
    """Make a weight of random numbers: no constant."""
    return g.node("RandomNormal", "w", [], shape=[4, 3, 3, 3], seed=1.0)


def per_channel_activation(g: GraphMaker, x: str) -> str:
    """Quantize the input with one scale per channel."""
    scales = g.params("xs", np.array([0.1, 0.2, 0.3]), np.zeros(3, np.int8))
    codes = g.node("QuantizeLinear", "again", [g.node("Neg", "neg", [x]), *scales], axis=1)
    return g.node("DequantizeLinear", "again.real", [codes, *scales], axis=1)


def given_weight(g: GraphMaker, element: int) -> str:
    """Take a weight as graph input."""
    g.inputs.append(helper.make_tensor_value_info("w", element, [4, 3, 3, 3]))
    return "w"


def qlinear_conv(g: GraphMaker, w: str) -> str:
    """Add QLinearConv of what the quantized input holds, and its DequantizeLinear."""
    x = [g.nodes[0].output[0], *g.nodes[0].input[1:]]
    y = g.params("y", 0.2, np.int8(1))
    codes = g.node("QLinearConv", "layer", [*x, w, *g.params("w0", 0.01, np.int8(0)), *y])
    return g.node("DequantizeLinear", "real", [codes, *y])


LAYERS = {"pool and relu": "relu", "clip with computed limits": "clip", "half precision scale": "y"}
"""The island of a case, where it is not called "layer"."""

REASONS: dict[str, tuple[Build, str]] = {
    "float weights": (
        lambda g, x: conv(g, x, float_weight(g, (4, 3, 3, 3))),
        "Conv: its weights are not quantized",
    ),
    "weights that are no constant": (
        lambda g, x: conv(g, x, computed_weight(g)),
        "RandomNormal is no integer layer of the contract",
    ),
    "weights that are a graph input": (
        lambda g, x: conv(g, x, given_weight(g, TensorProto.FLOAT)),
        "Conv: its weights are not constants",
    ),
    "codes of weights that are a graph input": (
        lambda g, _: qlinear_conv(g, given_weight(g, TensorProto.INT8)),
        "QLinearConv: its weights are not constants",
    ),
    "scales along the input channels": (
        lambda g, x: conv(g, x, per_channel(g, 1, (4, 3, 3, 3))),
        "Conv: its weight scales do not follow the output channels",
    ),
    "scales along the rows": (
        lambda g, x: gemm(g, x, per_channel(g, 0, (108, 5))),
        "Gemm: its weight scales do not follow the output channels",
    ),
    "alpha": (
        lambda g, x: gemm(g, x, g.weight("w", (108, 5)), alpha=2.0),
        "Gemm: its alpha is not 1 or its input is transposed",
    ),
    "beta": (
        lambda g, x: gemm(g, x, g.weight("w", (108, 5)), g.weight("b", (5,)), beta=2.0),
        "Gemm: its beta is not 1",
    ),
    "bias of another scale": (
        lambda g, x: conv(
            g, x, g.weight("w", (4, 3, 3, 3)), g.weight("b", (4,), np.float32(1), INT32_ZERO)
        ),
        "Conv: its bias has the scale 1.0, not x_scale * w_scale = 0.0005000000237487257",
    ),
    "no output channel": (
        lambda g, x: conv(g, x, g.weight("w", (0, 3, 3, 3))),
        "Conv: it has no output channel",
    ),
    "int8 bias": (
        lambda g, x: gemm(g, x, g.weight("w", (108, 5)), g.weight("b", (5,))),
        "Gemm: its bias is int8, not int32",
    ),
    "bias that is no constant": (
        lambda g, x: conv(g, x, g.weight("w", (1, 3, 6, 6)), x),
        "Conv: its bias is not a constant",
    ),
    "huge float bias": (
        lambda g, x: conv(
            g, x, g.weight("w", (4, 3, 3, 3)), g.constant("b", np.full(4, 1e9, np.float32))
        ),
        "Conv: its float bias does not fit into int32",
    ),
    "uint8 weights beside int8": (
        lambda g, x: conv(g, x, g.weight("w", (4, 3, 3, 3), 0.01, np.uint8(128))),
        "Conv: no integer kernel takes int8 inputs and uint8 weights",
    ),
    "mixed types": (
        lambda g, x: g.qdq(
            "logits", g.node("GlobalAveragePool", "layer", [x]), 0.1, np.uint8(0)
        ),
        "GlobalAveragePool: its input is int8 and its output uint8",
    ),
    "no quantized output": (
        lambda g, x: g.node("Conv", "layer", [x, g.weight("w", (4, 3, 3, 3))]),
        "Conv: its output is used without a QuantizeLinear",
    ),
    "activation with one scale per channel": (
        lambda g, x: conv(g, per_channel_activation(g, x), g.weight("w", (4, 3, 3, 3))),
        "Conv: an activation has one scale per channel",
    ),
    "sum with a constant": (
        lambda g, x: g.qdq("logits", g.node("Add", "layer", [x, g.weight("c", (3, 1, 1))]), 0.1),
        "Add: one of its inputs is a constant",
    ),
    "sum that repeats an input": (
        lambda g, x: g.qdq(
            "logits",
            g.node("Add", "layer", [x, g.qdq("p", g.node("GlobalAveragePool", "pool", [x]), 0.1)]),
            0.1,
        ),
        "Add: it repeats an input to add shapes (None, 3, 6, 6) and (None, 3, 1, 1)",
    ),
    "pool and relu": (
        lambda g, x: g.qdq(
            "logits",
            g.node("Relu", "relu", [g.node("GlobalAveragePool", "layer", [x])]),
            0.1,
        ),
        "GlobalAveragePool: Relu follows it",
    ),
    "batched dense": (
        lambda g, x: g.qdq("logits", g.node("MatMul", "layer", [x, g.weight("w", (6, 5))]), 0.1),
        "MatMul: its input has 4 dimensions",
    ),
    "weights of another rank": (
        lambda g, x: g.qdq(
            "logits", g.node("MatMul", "layer", [x, g.weight("w", (1, 3, 6, 5))]), 0.1
        ),
        "MatMul: its weights have 4 dimensions",
    ),
    "clip with computed limits": (
        lambda g, x: g.qdq(
            "logits",
            g.node(
                "Clip",
                "clip",
                [
                    g.node("Conv", "layer", [x, g.weight("w", (1, 3, 6, 6))]),
                    g.node("ReduceMin", "min", [x], keepdims=0),
                ],
            ),
            0.1,
        ),
        "Conv: the limits of Clip are not constants",
    ),
    "mean over the image": (
        lambda g, x: g.qdq("logits", g.node("ReduceMean", "layer", [x], axes=[1]), 0.1),
        "ReduceMean: it averages over other axes than those of an image",
    ),
    "half precision scale": (
        lambda g, x: g.node("DequantizeLinear", "y", [g.node("QuantizeLinear", "layer", [
            x, g.constant("h", np.array(0.1, np.float16)), g.constant("z", np.array(0, np.int8))
        ]), g.constant("s", np.array(0.1, np.float32))]),
        "QuantizeLinear: its scale is float16, not float32",
    ),
    "one scale per block": (
        lambda g, x: conv(
            g,
            x,
            g.node("DequantizeLinear", "w", [
                g.constant("codes", np.zeros((4, 3, 2, 2), np.int8)),
                g.constant("s", np.ones((4, 3, 1, 2), np.float32)),
            ], axis=2, block_size=2),
        ),
        "DequantizeLinear: it has one scale per block",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS)
def test_reasons(case: str, tmp_path: Path) -> None:
    make, reason = REASONS[case]
    opset = 21 if "block" in case or "half" in case else 17
    g = GraphMaker(("N", 3, 6, 6), opset=opset)
    output = make(g, g.qdq("input", "image", 0.05, np.int8(3)))
    model = load(g.save(tmp_path / "m.onnx", output))
    islands = [(x.name, x.reason) for x in model.layers if isinstance(x, FloatIsland)]
    assert (LAYERS.get(case, "layer"), reason) in islands


def only(model: QuantizedModel, kind: str) -> list[str]:
    """Return the names of the layers of one kind; there are no islands."""
    assert not any(isinstance(layer, FloatIsland) for layer in model.layers)
    return [layer.name for layer in model.layers if layer.kind == kind]


def test_opset_10_keeps_limits_and_axes_in_attributes(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6), opset=10)
    x = g.qdq("input", "image")
    y = g.node("Conv", "conv", [x, g.weight("w", (4, 3, 6, 6))])
    y = g.qdq("q", g.node("Clip", "clip", [y], min=0.0, max=6.0), 6 / 255)
    y = g.node("Unsqueeze", "more", [g.node("Squeeze", "less", [y], axes=[2, 3])], axes=[2])
    model = load(g.save(tmp_path / "m.onnx", y))
    assert only(model, "reshape") == ["less", "more"]
    assert [model.edges[e].shape for e in ("conv", "less", "more")] == [
        (None, 4, 1, 1),
        (None, 4),
        (None, 4, 1),
    ]


def test_squeeze_without_axes(tmp_path: Path) -> None:
    g = GraphMaker((2, 3, 6, 6))
    x = g.node("GlobalAveragePool", "pool", [g.qdq("input", "image")])
    y = g.node("Squeeze", "less", [g.qdq("q", x)])
    assert load(g.save(tmp_path / "m.onnx", y)).edges["less"].shape == (2, 3)
    g = GraphMaker(("N", 3, 6, 6))
    y = g.node("Squeeze", "less", [g.qdq("input", "image")])
    model = load(g.save(tmp_path / "m.onnx", y))
    island = next(x for x in model.layers if isinstance(x, FloatIsland))
    assert island.reason == "Squeeze: it drops dimensions that the file leaves open"


@pytest.mark.parametrize(
    ("op", "target", "expected"),
    [
        ("Reshape", [0, 7], "Reshape changes the number of elements"),
        ("Reshape", [0, 7, -1], "Reshape cannot fill this shape"),
        ("Reshape", [-1, -1], "a shape may hold one -1"),
        ("Squeeze", [1], "Squeeze drops a dimension that is not 1"),
        ("Unsqueeze", [9], "the axis is out of range"),
    ],
)
def test_impossible_reshapes(op: str, target: list[int], expected: str, tmp_path: Path) -> None:
    g = GraphMaker((2, 3, 6, 6))
    shape = g.constant("target", np.array(target, np.int64))
    g.nodes.append(helper.make_node(op, [g.qdq("input", "image"), shape], ["logits"], name="moved"))
    model = helper.make_model(
        helper.make_graph(
            g.nodes,
            "g",
            g.inputs,
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
            g.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(BitbybitError, match=expected):
        load(tmp_path / "m.onnx")


def test_constants_are_folded(tmp_path: Path) -> None:
    """Scales, zero points and weights behind Cast, Reshape, Unsqueeze and Transpose."""
    g = GraphMaker(("N", 6))
    scale = g.node("Cast", "scale", [g.constant("double", np.array(0.05))], to=TensorProto.FLOAT)
    zero = g.node("Reshape", "zero", [g.constant("zeros", np.zeros((1, 1), np.uint8)),
                                      g.constant("scalar", np.array([], np.int64))])  # fmt: skip
    x = g.node("QuantizeLinear", "input", ["image", scale, zero])
    x = g.node("DequantizeLinear", "real", [x, scale, zero])
    w = g.weight("w", (5, 2, 3), 0.01, np.uint8(100))
    w = g.node("Reshape", "matrix", [w, g.constant("shape", np.array([0, 6], np.int64))])
    w = g.node("Transpose", "transposed", [w])
    b = g.node("Constant", "b", [], value_floats=[1.0, 2.0, 3.0, 4.0, 5.0])
    b = g.node("Unsqueeze", "row", [b, g.node("Constant", "axes", [], value_ints=[0])])
    y = g.qdq("logits", g.node("Gemm", "dense", [x, w, b]), 0.1, np.uint8(9))
    model = load(g.save(tmp_path / "m.onnx", y))
    assert only(model, "dense") == ["dense"]
    dense = model.layer("dense")
    assert isinstance(dense, Dense)
    assert dense.weight.values.shape == (6, 5)
    assert dense.bias is not None
    assert (
        dense.bias.values.tolist()
        == np.rint(
            np.arange(1, 6, dtype=np.float32) / (np.float32(0.05) * np.float32(0.01))
        ).tolist()
    )


def test_typed_fields_are_read_like_raw_data(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    codes = np.arange(-54, 54).reshape(4, 3, 3, 3)
    w = helper.make_tensor("codes", TensorProto.INT8, codes.shape, codes.reshape(-1).tolist())
    g.initializers.append(w)
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.01])
    g.initializers.append(scale)
    real = g.node("DequantizeLinear", "w", ["codes", "s"])
    path = g.save(tmp_path / "m.onnx", conv(g, g.qdq("input", "image"), real))
    layer = load(path).layer("layer")
    assert isinstance(layer, Conv)
    assert layer.weight.values.dtype == np.int8
    assert np.array_equal(layer.weight.values, codes)
    w.int32_data[0] = 200
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(w)
    onnx.save(model, path)
    with pytest.raises(BitbybitError, match="a value lies outside int8"):
        load(path)


def test_islands_of_an_old_opset_cannot_be_written(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 6, 6), opset=11)
    y = g.qdq("logits", g.node("Softplus", "s", [g.qdq("input", "image")]), 0.1)
    model = load(g.save(tmp_path / "m.onnx", y))
    with pytest.raises(UnsupportedError, match="opset that is too old"):
        write(model, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()
