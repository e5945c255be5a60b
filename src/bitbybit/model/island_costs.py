"""Cost of a float island: its model is parsed, not run."""

from __future__ import annotations

import math

import onnx
from onnx import NodeProto, TensorProto

from bitbybit.model.islands import infer_shapes
from bitbybit.model.operators import OPERATORS

_ONLY_MOVED = ("DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Cast")


def island_cost(model: bytes) -> tuple[int | None, int, int]:
    """Return multiply-accumulates (None if a shape is open), weights and biases of an island.

    Every constant with at least one dimension that is not an index counts as weight, except
    the bias of an operator that multiplies and accumulates.
    """
    proto = onnx.ModelProto.FromString(model)
    tensors = {t.name: t for t in proto.graph.initializer}
    parameters = {
        n
        for node in proto.graph.node
        for n in node.input[1:]
        if n in tensors and node.op_type in ("DequantizeLinear", "QuantizeLinear")
    }
    origin = {n: n for n in tensors}
    for node in proto.graph.node:
        if node.op_type in _ONLY_MOVED and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
    shapes = _shapes(proto)
    macs: int | None = 0
    biases = set()
    for node in proto.graph.node:
        row = OPERATORS.get(node.op_type)
        if row is None or row.weight is None:
            continue
        weight, bias = row.weight, row.bias
        if bias is not None and len(node.input) > bias and node.input[bias] in origin:
            biases.add(origin[node.input[bias]])
        source = node.input[weight] if len(node.input) > weight else ""
        more = _macs(node, tensors.get(origin.get(source, "")), shapes)
        macs = None if macs is None or more is None else macs + more
    sizes = {
        name: math.prod(t.dims)
        for name, t in tensors.items()
        if t.dims and t.data_type != TensorProto.INT64 and name not in parameters
    }
    bias_count = sum(size for name, size in sizes.items() if name in biases)
    return macs, sum(sizes.values()) - bias_count, bias_count


def _macs(
    node: NodeProto, weight: TensorProto | None, shapes: dict[str, list[int | None]]
) -> int | None:
    """Return output elements of one image times products per element.

    A transposed convolution spreads each input element instead, over ``M/G * kH * kW``.
    """
    spread = node.op_type == "ConvTranspose"
    elements = shapes.get(node.input[0] if spread else node.output[0])
    if elements is None or weight is None or None in elements[1:]:
        return None
    channels = weight.dims[0] if "Conv" in node.op_type else weight.dims[-1]
    if node.op_type in ("Gemm", "QGemm"):
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        channels = weight.dims[0 if transposed else 1]
    products = math.prod(weight.dims) // max(int(channels), 1)
    pixels = math.prod(d for d in elements[1:] if d is not None)
    return int(products * pixels)


def _shapes(proto: onnx.ModelProto) -> dict[str, list[int | None]]:
    graph = infer_shapes(proto).graph
    return {
        info.name: [
            d.dim_value if d.HasField("dim_value") else None
            for d in info.type.tensor_type.shape.dim
        ]
        for info in (*graph.input, *graph.value_info, *graph.output)
        if info.type.tensor_type.HasField("shape")
    }
