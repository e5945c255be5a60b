"""Layers without weights, from the file to the verdict: read, computed, written, read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit.execution.engine import trace, walk
from bitbybit.execution.runtime import FileRuntime
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.types import FloatIsland
from bitbybit.model.writer import write
from tests.support.equality import equivalent
from tests.support.faults import Fault, inject
from tests.support.graphs import GraphMaker
from tests.support.runtime import on_contract_platform

Build = Callable[[GraphMaker, str], str]
ZERO = np.int8(0)


def ints(g: GraphMaker, *values: int) -> str:
    """Add a constant of int64."""
    return g.constant(f"ints{len(g.initializers)}", np.array(values, np.int64))


def function(op: str, scale: float = 0.02, **attributes: Any) -> Build:
    """Return a network of one operator of one input."""
    return lambda g, x: g.qdq("y", g.node(op, "layer", [x], **attributes), scale, np.int8(5))


def kept(op: str, *constants: tuple[int, ...], **attributes: Any) -> Build:
    """Return a network of one operator that keeps the scale."""

    def build(g: GraphMaker, x: str) -> str:
        inputs = [x, *(ints(g, *values) for values in constants)]
        return g.qdq("y", g.node(op, "layer", inputs, **attributes), 0.05, np.int8(3))

    return build


def split(g: GraphMaker, x: str) -> str:
    """Split the channels, and join them the other way round."""
    g.nodes.append(
        onnx.helper.make_node("Split", [x, ints(g, 1, 3)], ["a", "b"], name="layer", axis=1)
    )
    return g.qdq("y", g.node("Concat", "join", ["b", "a"], axis=-3), 0.05, np.int8(3))


def clip(g: GraphMaker, x: str) -> str:
    """Cut off both sides."""
    limits = [g.constant(n, np.float32(v)) for n, v in (("low", -1.1), ("high", 2.3))]
    return g.qdq("y", g.node("Clip", "layer", [x, *limits]), 0.02, np.int8(5))


def resize(g: GraphMaker, x: str) -> str:
    """Repeat rows and columns."""
    scales = g.constant("scales", np.array([1, 1, 2, 1.5], np.float32))
    more = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    y = g.node("Resize", "layer", [x, "", scales], nearest_mode="floor", **more)
    return g.qdq("y", y, 0.05, np.int8(3))


def gate(g: GraphMaker, x: str) -> str:
    """Multiply with one number for each channel."""
    pool = g.qdq("p", g.node("GlobalAveragePool", "pool", [x]), 0.03, ZERO)
    return g.qdq("y", g.node("Mul", "layer", [pool, x]), 0.1, np.int8(-7))


def concat(g: GraphMaker, x: str) -> str:
    """Put an edge beside itself at another scale."""
    other = g.qdq("o", g.node("LeakyRelu", "leaky", [x], alpha=0.2), 0.03, ZERO)
    return g.qdq("y", g.node("Concat", "layer", [x, other, x], axis=1), 0.05, np.int8(3))


def pad(g: GraphMaker, x: str) -> str:
    """Pad with the zero point, as real 0."""
    return kept("Pad", (0, 0, 1, 2, 0, 0, 0, 3))(g, x)


WINDOW: dict[str, Any] = {
    "kernel_shape": [3, 2],
    "strides": [2, 1],
    "pads": [1, 0, 2, 1],
    "ceil_mode": 1,
}
LAYERS: dict[str, tuple[Build, str]] = {
    "max pool": (kept("MaxPool", **WINDOW), "max_pool"),
    "max pool, SAME": (kept("MaxPool", kernel_shape=[3, 3], auto_pad="SAME_LOWER"), "max_pool"),
    "average pool": (function("AveragePool", **WINDOW, count_include_pad=1), "average_pool"),
    "mean": (function("ReduceMean", axes=[-2, -1]), "mean"),
    "mean without dimensions": (function("ReduceMean", axes=[2, 3], keepdims=0), "mean"),
    "softmax": (function("Softmax", 1 / 256, axis=-1), "softmax"),
    "concat": (concat, "concat"),
    "product": (gate, "mul"),
    "relu": (function("Relu"), "lookup"),
    "clip": (clip, "lookup"),
    "leaky relu": (function("LeakyRelu", alpha=0.3), "lookup"),
    "sigmoid": (function("Sigmoid", 1 / 256), "lookup"),
    "hard sigmoid": (function("HardSigmoid", 1 / 256, alpha=1 / 6), "lookup"),
    "hard swish": (function("HardSwish"), "lookup"),
    "tanh": (function("Tanh", 1 / 128), "lookup"),
    "another scale": (lambda g, x: g.qdq("layer", x, 0.07, np.uint8(99)), "lookup"),
    "transpose": (kept("Transpose", perm=[0, 2, 3, 1]), "move"),
    "slice": (kept("Slice", (1, -1), (4, -9), (1, 3), (2, -2)), "move"),
    "split": (split, "move"),
    "pad": (pad, "move"),
    "resize": (resize, "move"),
}


@on_contract_platform
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_read_computed_and_written(name: str, tmp_path: Path) -> None:
    build, kind = LAYERS[name]
    g = GraphMaker(("N", 4, 7, 6))
    model = load(g.save(tmp_path / "m.onnx", build(g, g.qdq("input", "image", 0.05, np.int8(3)))))
    assert not any(isinstance(layer, FloatIsland) for layer in model.layers)
    assert model.layer("layer").kind == kind
    report = verify(model, images=3)
    assert (report.exit_status, report.mismatches) == (0, 0)
    x = np.random.default_rng(1).normal(0, 3, (3, 4, 7, 6)).astype(np.float32)
    mine, slowly = trace(model, x), walk(model, x)
    assert all(np.array_equal(mine[edge], slowly[edge]) for edge in mine)
    for form, standard in (("qdq", False), ("qoperator", False), ("qoperator", True)):
        write(model, tmp_path / "again.onnx", form, standard)  # type: ignore[arg-type]
        again = load(tmp_path / "again.onnx")
        assert equivalent(model, again) == ""
        assert verify(again, images=3, quick=True).exit_status == 0


def wrong(name: str, kind: str, function: str, wrap: Callable[[Any], Any]) -> Fault:
    """Return a fault of one function of the arithmetic, which breaks layers of one kind."""
    return Fault(name, (kind,), {function: wrap})


def counted_otherwise(right: Any) -> Any:
    return lambda *x, count_include_pad, **more: right(
        *x, count_include_pad=1 - count_include_pad, **more
    )


def one_pixel_more(right: Any) -> Any:
    return lambda x, xs, xz, ys, yz, **more: right(x, xs, xz, ys * np.float32(43 / 42), yz, **more)


def turned_back(right: Any) -> Any:
    return lambda x, op, **more: right(
        x, op, **{n: np.argsort(v) if n == "perm" else v for n, v in more.items()}
    )


FAULTS = (
    wrong("the smallest", "max_pool", "max_pool", lambda f: lambda x, **more: ~f(~x, **more)),
    wrong("pads counted", "average_pool", "qlinear_average_pool", counted_otherwise),
    wrong("one pixel too many", "mean", "reduce_mean", one_pixel_more),
    wrong("another axis", "softmax", "qlinear_softmax",
          lambda f: lambda *x, axis: f(*x, axis=axis - 1)),
    wrong("codes at their own scale", "concat", "qlinear_concat",
          lambda _: lambda ys, yz, parts, axis: np.concatenate([x for x, _, _ in parts], axis)),
    wrong("raw codes", "mul", "qlinear_mul",
          lambda f: lambda a, sa, za, b, sb, zb, sc, zc: f(a, sa, za * 0, b, sb, zb * 0, sc, zc)),
    wrong("one entry too far", "lookup", "lookup",
          lambda f: lambda x, *y, **more: f(x + (x < 127), *y, **more)),
    wrong("the other way round", "move", "move", turned_back),
)  # fmt: skip


@on_contract_platform
def test_each_fault_breaks_the_layers_of_its_kind(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(0, 3, (3, 4, 7, 6)).astype(np.float32)
    models, answers = {}, {}
    for name, (build, _) in LAYERS.items():
        g = GraphMaker(("N", 4, 7, 6))
        path = g.save(tmp_path / "m.onnx", build(g, g.qdq("input", "image", 0.05, np.int8(3))))
        models[name] = load(path)
        answers[name] = FileRuntime(models[name]).run(x)[0]
    for fault in FAULTS:
        with inject(fault):
            found = {
                name
                for name, model in models.items()
                if not np.array_equal(trace(model, x)[model.outputs[0]], answers[name])
            }
        # a Concat brings codes to another scale by a look-up
        broken = {*fault.breaks, *({"concat"} if fault.breaks == ("lookup",) else ())}
        holds = {name: {layer.kind for layer in models[name].layers} for name in models}
        assert fault.breaks[0] in {LAYERS[name][1] for name in found}, fault.name
        assert all(holds[name] & broken for name in found), fault.name


def shuffled(g: GraphMaker, x: str, name: str) -> str:
    """Shuffle the channels as exporters of ShuffleNet do: every size is computed."""
    zero, one = (g.constant(f"{name}.{i}", np.array(i)) for i in (0, 1))
    shape = g.node("Shape", f"{name}.shape", [x])
    sizes = [g.node("Gather", f"{name}.{i}", [shape, i], axis=0) for i in (zero, one)]
    two = g.constant(f"{name}.two", np.array(2))
    half = g.node("Div", f"{name}.half", [sizes[1], two])
    axes = ints(g, 0)
    parts = [g.node("Unsqueeze", "", [n, axes]) for n in (sizes[0], two, half)]
    rest = g.node("Slice", f"{name}.rest", [shape, ints(g, 2), ints(g, 4)])
    target = g.node("Concat", f"{name}.target", [*parts, rest], axis=0)
    x = g.qdq(f"{name}.a", g.node("Reshape", f"{name}.split", [x, target]), 0.05, np.int8(3))
    x = g.node("Transpose", f"{name}.turn", [x], perm=[0, 2, 1, 3, 4])
    x = g.qdq(f"{name}.b", x, 0.05, np.int8(3))
    return g.qdq(f"{name}.c", g.node("Reshape", f"{name}.join", [x, shape]), 0.05, np.int8(3))


@on_contract_platform
def test_sizes_that_follow_from_known_shapes_are_folded(tmp_path: Path) -> None:
    g = GraphMaker((2, 4, 7, 6))
    x = shuffled(g, g.qdq("input", "image", 0.05, np.int8(3)), "first")
    x = g.qdq("pool", g.node("MaxPool", "max", [x], kernel_shape=[2, 2]), 0.05, np.int8(3))
    path = g.save(tmp_path / "m.onnx", shuffled(g, x, "second"))
    for opset in (17, 18):
        file = onnx.load(path)
        file.opset_import[0].version = opset
        onnx.save(file, path)
        model = load(path)
        shuffle = ["reshape", "move", "reshape"]
        kinds = ["quantize", *shuffle, "max_pool", *shuffle, "dequantize"]
        assert [layer.kind for layer in model.layers] == kinds
        assert model.edges[model.outputs[0]].shape == (2, 4, 6, 5)
        report = verify(model)
        assert (report.exit_status, report.mismatches) == (0, 0)
