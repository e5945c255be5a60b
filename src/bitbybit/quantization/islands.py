"""Float operators between integer layers, and the Clip that makes rails narrower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import AnyArray, Edge, FloatIsland, QuantParams

OPSET = 13
"""Opset of a network without foreign operators: the first with per-axis QuantizeLinear."""


def moves_codes(layer: FloatIsland) -> bool:
    """Whether an island only picks elements (MaxPool, Transpose, Slice), so codes will do."""
    nodes = onnx.ModelProto.FromString(layer.model).graph.node
    row = OPERATORS.get(nodes[0].op_type)
    return len(nodes) == 1 and row is not None and row.keeps != ""


def quantized_island(
    layer: FloatIsland, inputs: Sequence[Edge], output: QuantParams | None
) -> FloatIsland:
    """Return an island that reads the edges of the integer network.

    Parameters
    ----------
    layer
        The island of the float network.
    inputs
        The edges that stand for its inputs. One with parameters is dequantized first, unless
        the island only picks elements: then it works on the codes themselves.
    output
        Parameters to quantize the result with; None to leave it as it comes.
    """
    model = onnx.ModelProto.FromString(layer.model)
    graph = model.graph
    on_codes = moves_codes(layer) and inputs[0].params is not None
    result = graph.output[0].name
    before: list[NodeProto] = []
    for given, edge in zip(graph.input, inputs, strict=True):
        real = given.name
        given.CopyFrom(_info(edge))
        inner = edge.name
        if edge.params is not None and not on_codes:
            inner = f"{layer.name}/in{len(before)}"
            names = [edge.name, *_parameters(graph, inner, edge.params)]
            node = helper.make_node("DequantizeLinear", names, [inner], f"{inner}_dequantize")
            before.append(node)
        _rename(graph, real, inner)
    if output is not None:
        _rename(graph, result, f"{layer.name}/float")
        names = [f"{layer.name}/float", *_parameters(graph, layer.name, output)]
        node = helper.make_node("QuantizeLinear", names, [result], f"{layer.name}/quantize")
        graph.node.append(node)
    params = inputs[0].params if on_codes else output
    if params is not None:
        kind = helper.np_dtype_to_tensor_dtype(params.dtype)
        graph.output[0].type.tensor_type.elem_type = kind
    body = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(body)
    return FloatIsland(
        layer.name,
        tuple(edge.name for edge in inputs),
        reason=layer.reason,
        model=model.SerializeToString(deterministic=True),
    )


def clip_island(name: str, source: Edge, low: int, high: int, opset: int) -> FloatIsland:
    """Return an island that clips the codes of an edge to ``[low, high]``."""
    dtype = source.dtype
    limits = [
        numpy_helper.from_array(np.array(value).astype(dtype), f"{name}/{position}")
        for position, value in ((1, low), (2, high))
    ]
    node = helper.make_node(
        "Clip", [source.name, *(x.name for x in limits)], [name], name, domain=""
    )
    result = Edge(name, name, source.shape, dtype, source.params)
    graph = helper.make_graph([node], "island", [_info(source)], [_info(result)], limits)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="bitbybit")
    model.ir_version = helper.find_min_ir_version_for(opsets)
    return FloatIsland(
        name,
        (source.name,),
        reason="Clip is no integer layer of the contract",
        model=model.SerializeToString(deterministic=True),
    )


def _info(edge: Edge) -> onnx.ValueInfoProto:
    dims = [f"d{i}" if d is None else d for i, d in enumerate(edge.shape)]
    return helper.make_tensor_value_info(
        edge.name, helper.np_dtype_to_tensor_dtype(edge.dtype), dims
    )


def _parameters(graph: onnx.GraphProto, stem: str, params: QuantParams) -> list[str]:
    """Store scale and zero point; return their names."""
    return [
        _constant(graph, f"{stem}_scale", params.scale),
        _constant(graph, f"{stem}_zero_point", params.zero_point),
    ]


def _constant(graph: onnx.GraphProto, name: str, values: AnyArray) -> str:
    tensor: TensorProto = numpy_helper.from_array(np.array(values), name)
    graph.initializer.append(tensor)
    return name


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor in all nodes."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
