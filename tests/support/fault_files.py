"""The files that once showed a fault: those in ``tests/faults/graphs``, and those made here.

What is large is made by a few lines, with the same fault inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support import torch_archive as pt

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = ROOT / "tests" / "faults" / "graphs"
MODELS = ROOT / "models"
Builder = Callable[[Path], object]


def path_of(name: str, folder: Path) -> Path:
    """Return the path of a file of this name, made in ``folder`` if it is not committed."""
    committed = GRAPHS / name
    if committed.exists():
        return committed
    made = folder / name
    if not made.exists():
        BUILDERS[name](made)
    return made


def tamed(path: Path, folder: Path) -> Path:
    """Return a copy with int8 weights in [-64, 63].

    Two products with a uint8 code then stay inside int16: ONNX Runtime is exact on every
    x86-64 with AVX2, not only on one with VNNI.
    """
    model = onnx.load(path)
    bounds = {name for node in model.graph.node if node.op_type == "Clip" for name in node.input}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int8 and (values.ndim > 1 or tensor.name in bounds):
            tensor.CopyFrom(numpy_helper.from_array(np.clip(values, -64, 63), tensor.name))
    target = folder / path.name
    target.write_bytes(model.SerializeToString())
    return target


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _initializer(model: onnx.ModelProto, name: str) -> TensorProto:
    found: TensorProto = next(t for t in model.graph.initializer if t.name == name)
    return found


def _one_weight(value: float) -> Builder:
    """ResNet8, float, with one weight that is no number."""

    def build(path: Path) -> None:
        model = onnx.load(MODELS / "resnet8.onnx")
        weight = _initializer(model, "stem.weight")
        values = numpy_helper.to_array(weight).copy()
        values.flat[5] = value
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        _write(model, path)

    return build


def _weight_as_image(path: Path) -> None:
    """ResNet8, float, whose body reads a weight instead of the image: no batch comes out."""
    model = onnx.load(MODELS / "resnet8.onnx")
    relu = next(n for n in model.graph.node if n.name == "stem/relu")
    relu.input[0] = "stack1.conv1.weight"
    _write(model, path)


def _renamed(prefix: str) -> Builder:
    """ResNet8, int8, with every name behind this prefix."""

    def build(path: Path) -> None:
        model = onnx.load(MODELS / "resnet8_int8_qoperator.onnx")
        graph = model.graph
        for number, node in enumerate(graph.node):
            node.name = f"{prefix}#{number}"
            for names in (node.input, node.output):
                names[:] = [f"{prefix}#{name}" if name else "" for name in names]
        for thing in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            thing.name = f"{prefix}#{thing.name}"
        _write(model, path)

    return build


def _rank_over_64(path: Path) -> None:
    """ResNet8, int8, with a scale of 5,000 dimensions; NumPy has 64."""
    model = onnx.load(MODELS / "resnet8_int8.onnx")
    _initializer(model, "stack1.conv1/y_scale").dims[:] = [1] * 5000
    _write(model, path)


def _big_bias(path: Path) -> None:
    """A convolution whose accumulators exceed 2^24: float32 rounds them before the product."""
    rng, channels = np.random.default_rng(0), 2000
    constants: dict[str, Any] = {
        "xs": np.float32(1), "xz": np.uint8(0),
        "w": np.zeros((channels, 1, 1, 1), np.int8),
        "ws": np.exp2(rng.uniform(-30, -20, channels)).astype(np.float32),
        "wz": np.zeros(channels, np.int8), "ys": np.float32(1), "yz": np.uint8(0),
        "b": rng.integers(2**24, 2**31 - 1, channels, np.int32),
    }  # fmt: skip
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"], name="c")
    _write(_model([node], {"x": (TensorProto.UINT8, ["N", 1, 1, 1])}, constants), path)


def _cast_bomb(path: Path) -> None:
    """3,000 casts of one constant of 1 MB: 24 GB if all are folded."""
    names = [f"c{i}" for i in range(3000)]
    casts = [helper.make_node("Cast", ["c"], [name], to=TensorProto.DOUBLE) for name in names]
    total = helper.make_node("Sum", ["x", *names], ["y"])
    constants = {"c": np.zeros(1 << 20, np.int8)}
    _write(_model([*casts, total], {"x": (TensorProto.FLOAT, ["N", 4])}, constants), path)


def _const_copies(path: Path) -> None:
    """1,400 islands that read one constant of 1 MB: 1.4 GB and more if each keeps a copy."""
    chain = ["x", *(f"t{i}" for i in range(1400)), "y"]
    adds = [helper.make_node("Mul", [a, "c"], [b], name=b) for a, b in pairwise(chain)]
    constants = {"c": np.ones((1, 1 << 18), np.float32)}
    _write(_model(adds, {"x": (TensorProto.FLOAT, ["N", 1 << 18])}, constants), path)


def _many_relus(path: Path) -> None:
    """100,000 nodes, each an island of its own."""
    chain = ["x", *(f"t{i}" for i in range(99_999)), "y"]
    relus = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(chain)]
    _write(_model(relus, {"x": (TensorProto.FLOAT, ["N", 4])}, {}), path)


def _bias_of_zeros(path: Path) -> None:
    """A bias whose codes are all zero, with the scale of another layer."""
    model = onnx.load(GRAPHS / "bias_of_another_scale.onnx")
    _initializer(model, "b").CopyFrom(numpy_helper.from_array(np.zeros(4, np.int32), "b"))
    _write(model, path)


def _expected(source: str, change: Callable[[dict[str, np.ndarray]], None]) -> Builder:
    """The expected outputs of another file, changed."""

    def build(path: Path) -> None:
        with np.load(GRAPHS / source) as arrays:
            values = dict(arrays)
        change(values)
        np.savez(path, **values)

    return build


def _right_alias(values: dict[str, np.ndarray]) -> None:
    values["a"] = values["b"]


def _one_alias(values: dict[str, np.ndarray]) -> None:
    del values["a"]


def _unknown_name(values: dict[str, np.ndarray]) -> None:
    values["no such output"] = values["a"]


def _identity_of_nothing(path: Path) -> None:
    """An Identity whose input is left out."""
    nodes = [helper.make_node("Identity", [""], ["y"], name="id")]
    _write(_model(nodes, {"x": (TensorProto.FLOAT, ["N", 4])}, {}), path)


def _extra_output(path: Path) -> None:
    """A Relu with a second output, which the next node reads."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r", "more"], name="relu"),
        helper.make_node("Add", ["r", "more"], ["y"]),
    ]
    _write(_model(nodes, {"x": (TensorProto.FLOAT, ["N", 4])}, {}), path)


def _quantized(
    path: Path, between: list[onnx.NodeProto], constants: dict[str, Any], size: list[str | int]
) -> None:
    """x, QuantizeLinear, codes q, some nodes, codes p, DequantizeLinear, y."""
    quantizer = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    nodes = [quantizer, *between, helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"])]
    values = {"s": np.float32(0.05), "z": np.array(3, np.int8), **constants}
    model = _model(nodes, {"x": (TensorProto.FLOAT, size)}, values)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _write(model, path)


def _reshape_too_large(path: Path) -> None:
    """A Reshape into more elements than its input has."""
    shape = np.array([4, 4, 2**31], np.int64)
    reshape = helper.make_node("Reshape", ["q", "shape"], ["p"], name="rs")
    _quantized(path, [reshape], {"shape": shape}, ["N", 8])


def _pool_of_unknown_shape(path: Path) -> None:
    """A global pool behind an operator whose shape ONNX cannot infer."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Gelu", ["d"], ["g"], name="gelu", domain="com.microsoft"),
        helper.make_node("QuantizeLinear", ["g", "s", "z"], ["g8"]),
        helper.make_node(
            "QLinearGlobalAveragePool", ["g8", "s", "z", "s", "z"], ["p"], name="pool",
            domain="com.microsoft", channels_last=0,
        ),
    ]  # fmt: skip
    _quantized(path, nodes, {}, ["N", 3, 4, 4])


def _addition_of_joined_codes(path: Path) -> None:
    """Codes joined by Concat, then added: com.microsoft's addition has a shape as well."""
    nodes = [
        helper.make_node("Concat", ["q", "q"], ["j"], name="join", axis=3),
        helper.make_node(
            "QLinearAdd", ["j", "s", "z", "j", "s", "z", "s", "z"], ["p"], name="add",
            domain="com.microsoft",
        ),
    ]  # fmt: skip
    _quantized(path, nodes, {}, ["N", 3, 4, 4])


def _zero_point_that_is_nan(path: Path) -> None:
    """A zero point of type bfloat16 that is NaN."""
    model = onnx.load(MODELS / "resnet8_int8.onnx")
    zero = _initializer(model, "stem/y_zero_point")
    zero.CopyFrom(helper.make_tensor(zero.name, TensorProto.BFLOAT16, [], [float("nan")]))
    _write(model, path)


def _attribute_of_two_values(path: Path) -> None:
    """A Constant whose value is of type FLOAT, and holds a tensor besides: which one counts?"""
    tensor = numpy_helper.from_array(np.array(0.05, np.float32))
    node = helper.make_node("Constant", [], ["scale"], name="constant", value=tensor)
    node.attribute[0].type, node.attribute[0].f = onnx.AttributeProto.FLOAT, -np.inf
    relu = [
        helper.make_node("DequantizeLinear", ["q", "scale", "z"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["p"]),
    ]
    _quantized(path, [node, *relu], {}, ["N", 4])


def _input_with_a_scale_per_channel(path: Path) -> None:
    """A convolution of 3 outputs whose input has 2 scales."""
    constants: dict[str, Any] = {
        "xs": np.full(2, 0.1, np.float32), "xz": np.zeros(2, np.uint8),
        "w": np.ones((3, 2, 1, 1), np.uint8), "ws": np.full(3, 0.1, np.float32),
        "wz": np.zeros(3, np.uint8), "ys": np.float32(1), "yz": np.uint8(0),
        "b": np.zeros(3, np.int32),
    }  # fmt: skip
    conv = helper.make_node("QLinearConv", ["x", *constants], ["y"], name="conv")
    _write(_model([conv], {"x": (TensorProto.UINT8, ["N", 2, 4, 4])}, constants), path)


def _output_named_twice(path: Path) -> None:
    """An output, and a constant as output, each named twice."""
    _quantized(
        path, [helper.make_node("Identity", ["q"], ["p"])], {"c": np.ones(3, np.float32)}, [4]
    )
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    model.graph.output.extend(onnx.ValueInfoProto(name="c") for _ in range(2))
    _write(model, path)


def _odd_constants(path: Path) -> None:
    """Constants that nothing should compute: bounds of many numbers, a shape and axes that are NaN,
    a complex number, 70 dimensions."""
    constants: dict[str, Any] = {
        "c": np.arange(-4, 4, dtype=np.int8), "bounds": np.zeros(3, np.int8),
        "nan": np.array([np.nan], np.float32), "i": np.array([1j], np.complex64),
        "axes": np.arange(70),
    }  # fmt: skip
    nodes = [
        helper.make_node("Clip", ["c", "bounds"], ["clipped"]),
        helper.make_node("Reshape", ["c", "nan"], ["reshaped"]),
        helper.make_node("Unsqueeze", ["c", "nan"], ["unsqueezed"]),
        helper.make_node("Unsqueeze", ["c", "axes"], ["deep"]),
        helper.make_node("Cast", ["i"], ["cast"], to=TensorProto.FLOAT),
    ]
    names = [node.output[0] for node in nodes]
    nodes.append(helper.make_node("Sum", ["x", *names], ["y"]))
    _write(_model(nodes, {"x": (TensorProto.FLOAT, ["N", 4])}, constants), path)


def _endless_pads(path: Path) -> None:
    """A convolution with 200,000 pads."""
    model = onnx.load(MODELS / "resnet8_int8_qoperator.onnx")
    node = next(n for n in model.graph.node if n.op_type == "QLinearConv")
    next(a for a in node.attribute if a.name == "pads").ints[:] = [1] * 200_000
    _write(model, path)


def _large_image(path: Path) -> None:
    """Input images of 3,840,000 codes."""
    flatten = helper.make_node("Flatten", ["q"], ["p"], name="flatten")
    _quantized(path, [flatten], {}, ["N", 8, 4, 4, 30_000])


def _expanded(path: Path) -> None:
    """A state dict with a tensor from ``Tensor.expand``: a stride of 0, 12 values from 3."""
    expanded = pt.tensor("0", 3, (4, 3), (0, 1))
    data = np.arange(3, dtype="<f4").tobytes()
    pt.write(path, pt.dictionary(w=expanded), {"data/0": data})


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[str | int]]],
    constants: Mapping[str, np.ndarray | np.generic],
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    made = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    elem = TensorProto.UINT8 if nodes[-1].op_type == "QLinearConv" else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("y", elem, None)]
    graph = helper.make_graph(nodes, "fault", made, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


BUILDERS: dict[str, Builder] = {
    "float_nan.onnx": _one_weight(np.nan),
    "float_inf.onnx": _one_weight(np.inf),
    "evaluate_52130.onnx": _weight_as_image,
    "csv_cr_formula.onnx": _renamed("\r=1+1"),
    "csv_escape.onnx": _renamed("\x1b[2J\x1b]0;pwn\x07"),
    "csv_formula.onnx": _renamed("\t@SUM(1;1)\u202e"),
    "rank_over_64.onnx": _rank_over_64,
    "big_bias.onnx": _big_bias,
    "cast_bomb.onnx": _cast_bomb,
    "const_copies.onnx": _const_copies,
    "relu_100k.onnx": _many_relus,
    "bias_of_zeros.onnx": _bias_of_zeros,
    "identity_of_nothing.onnx": _identity_of_nothing,
    "extra_output.onnx": _extra_output,
    "reshape_too_large.onnx": _reshape_too_large,
    "pool_of_unknown_shape.onnx": _pool_of_unknown_shape,
    "addition_of_joined_codes.onnx": _addition_of_joined_codes,
    "zero_point_that_is_nan.onnx": _zero_point_that_is_nan,
    "attribute_of_two_values.onnx": _attribute_of_two_values,
    "input_with_a_scale_per_channel.onnx": _input_with_a_scale_per_channel,
    "output_named_twice.onnx": _output_named_twice,
    "odd_constants.onnx": _odd_constants,
    "endless_pads.onnx": _endless_pads,
    "large_image.onnx": _large_image,
    "expanded.pt": _expanded,
    "alias_right_exp.npz": _expected("alias_out_wrong_first_exp.npz", _right_alias),
    "alias_one_exp.npz": _expected("alias_out_wrong_first_exp.npz", _one_alias),
    "unknown_exp.npz": _expected("swapnames_exp.npz", _unknown_name),
}
"""Name of a file that is not committed → what makes it."""
