"""What a float island holds and costs: its model is parsed, not run."""

from __future__ import annotations

import math

import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from bitbybit.model.operators import OPERATORS
from bitbybit.model.shapes import infer_shapes
from bitbybit.model.types import AnyArray, FloatIsland

Dims = list[int | None]


def island_tensors(layer: FloatIsland) -> dict[str, AnyArray]:
    """Return the constants of an island's nodes by name, in the order of its model."""
    graph = onnx.ModelProto.FromString(layer.model).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def clip_limits(layer: FloatIsland) -> tuple[float, float] | None:
    """Return the constant limits of an island that is one Clip, None of any other island.

    A limit that the node leaves open is infinite.
    """
    graph = onnx.ModelProto.FromString(layer.model).graph
    if len(graph.node) != 1 or graph.node[0].op_type != "Clip":
        return None
    node, constants = graph.node[0], island_tensors(layer)
    limits = [-math.inf, math.inf]
    for attribute in node.attribute:  # before opset 11
        limits[("min", "max").index(attribute.name)] = float(attribute.f)
    for i, name in enumerate(node.input[1:3]):
        if name and (name not in constants or constants[name].size != 1):
            return None
        if name:
            limits[i] = float(constants[name].reshape(-1)[0])
    return limits[0], limits[1]


def island_cost(layer: FloatIsland) -> tuple[int | None, int, int]:
    """Return multiply-accumulates (None if a shape is open), weights and biases of an island.

    Weights are what a multiplying operator of the table reads as weight, and the matrices of
    operators that the table does not know; factors of a batch norm, limits and sizes are none.
    """
    proto = onnx.ModelProto.FromString(layer.model)
    tensors = {t.name: t for t in proto.graph.initializer}
    origin = {n: n for n in tensors}
    shapes = _shapes(proto)
    macs: int | None = 0
    weights, biases = set(), set()
    for node in proto.graph.node:
        row = OPERATORS.get(node.op_type)
        read = [origin.get(name, "") for name in node.input]
        if read and (node.op_type in _CONVERT or (row is not None and row.keeps)):
            origin[node.output[0]] = read[0]  # the same constant, moved or converted
        elif row is None:
            weights |= {name for name in read if name and _is_matrix(tensors[name])}
        elif row.weight is not None:
            weight = read[row.weight] if row.weight < len(read) else ""
            weights.add(weight)
            biases.add(read[row.bias] if row.bias is not None and row.bias < len(read) else "")
            more = _macs(node, tensors.get(weight), shapes)
            macs = None if macs is None or more is None else macs + more
    counts = (sum(math.prod(tensors[n].dims) for n in names - {""}) for names in (weights, biases))
    return macs, *counts


_CONVERT = ("DequantizeLinear", "QuantizeLinear", "Cast")


def _is_matrix(tensor: TensorProto) -> bool:
    """Whether a constant is long in more than one dimension, as the weights of an LSTM are."""
    return len([size for size in tensor.dims if size > 1]) > 1


def _macs(node: NodeProto, weight: TensorProto | None, shapes: dict[str, Dims]) -> int | None:
    """Return output elements of one image times products per element.

    A transposed convolution spreads each input element instead, over ``M/G * kH * kW``.
    """
    spread = node.op_type == "ConvTranspose"
    elements = shapes.get(node.input[0] if spread else node.output[0])
    if elements is None or weight is None or None in elements[1:]:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    channels = weight.dims[0 if "Conv" in node.op_type or transposed else -1]
    products = math.prod(weight.dims) // max(int(channels), 1)
    return int(products * math.prod(d for d in elements[1:] if d is not None))


def _shapes(proto: onnx.ModelProto) -> dict[str, Dims]:
    graph = infer_shapes(proto).graph
    return {
        info.name: [
            d.dim_value if d.HasField("dim_value") else None
            for d in info.type.tensor_type.shape.dim
        ]
        for info in (*graph.input, *graph.value_info, *graph.output)
        if info.type.tensor_type.HasField("shape")
    }
