"""Which edges of a float network get codes, and the float operators that stay between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bitbybit.errors import DataError
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import Edge, FloatIsland, QuantizedModel, QuantParams, Reshape
from bitbybit.quantization.scheme import Range, Scheme, activation_params

OPSET = 13
"""Opset of a network without foreign operators: the first with per-axis QuantizeLinear."""


class CodeEdges:
    """The plan of a quantization.

    What integer layers read and write gets codes. Reshapes, and operators that only pick
    elements, leave codes and scale as they are. A float operator gives codes only where an
    integer layer reads its result.

    Parameters
    ----------
    model
        A float network.

    Attributes
    ----------
    origin : edge with codes → the edge whose scale it has, itself or one before it; in graph order
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        integer = [layer for layer in model.layers if not isinstance(layer, FloatIsland)]
        wanted = {name for layer in integer for name in layer.inputs}
        self.origin = {name: name for name in model.inputs if name in wanted}
        for layer in model.layers:
            source = self.origin.get(layer.inputs[0]) if layer.inputs else None
            moves = isinstance(layer, FloatIsland) and moves_codes(layer)
            if source is not None and (moves or isinstance(layer, Reshape)):
                self.origin[layer.name] = source
            elif not isinstance(layer, FloatIsland) or layer.name in wanted:
                self.origin[layer.name] = layer.name

    @cached_property
    def ends(self) -> frozenset[str]:
        """Origins of the codes at the network's inputs and outputs."""
        names = (*self.model.inputs, *self.model.outputs)
        return frozenset(self.origin[name] for name in names if name in self.origin)

    def bits(self, scheme: Scheme, edge: str) -> int:
        """Return the width of an edge's codes: graph inputs and outputs keep 8 bits."""
        return 8 if self.origin[edge] in self.ends else scheme.activation_bits

    def params(self, scheme: Scheme, edge: str, ranges: Mapping[str, Range]) -> QuantParams:
        """Return scale and zero point of an edge's codes, from the ranges of a calibration."""
        if edge not in ranges:
            raise DataError(
                "the calibration has no range for an edge",
                where=edge,
                next_step="Calibrate this network.",
            )
        return activation_params(*ranges[edge], scheme, self.bits(scheme, edge))


def moves_codes(layer: FloatIsland) -> bool:
    """Whether an island only picks elements (MaxPool, Transpose, Slice), so codes will do."""
    nodes = onnx.ModelProto.FromString(layer.model).graph.node
    row = OPERATORS.get(nodes[0].op_type)
    return len(nodes) == 1 and row is not None and row.keeps in ("order", "all", "some")


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
    body, before = list(graph.node), list[onnx.NodeProto]()
    for given, edge in zip(graph.input, inputs, strict=True):
        real, inner = given.name, edge.name
        given.CopyFrom(_info(edge))
        if edge.params is not None and not on_codes:
            inner = f"{layer.name}/in{len(before)}"
            names = [edge.name, *_parameters(graph, inner, edge.params)]
            before.append(
                helper.make_node("DequantizeLinear", names, [inner], f"{inner}_dequantize")
            )
        _rename(body, real, inner)
    if output is not None:
        result, real = graph.output[0].name, f"{layer.name}/float"
        _rename(body, result, real)
        names = [real, *_parameters(graph, layer.name, output)]
        body.append(helper.make_node("QuantizeLinear", names, [result], f"{layer.name}/quantize"))
    params = inputs[0].params if on_codes else output
    if params is not None:
        kind = helper.np_dtype_to_tensor_dtype(params.dtype)
        graph.output[0].type.tensor_type.elem_type = kind
    del graph.node[:]
    graph.node.extend([*before, *body])
    return _island(layer.name, inputs, layer.reason, model)


def clip_island(name: str, source: Edge, rails: tuple[int, int], opset: int) -> FloatIsland:
    """Return an island that clips the codes of an edge to ``rails``."""
    limits = [
        numpy_helper.from_array(np.array(value).astype(source.dtype), f"{name}/{position}")
        for position, value in enumerate(rails, 1)
    ]
    names = [source.name, *(limit.name for limit in limits)]
    node = helper.make_node("Clip", names, [name], name, domain="")
    result = replace(source, name=name)
    graph = helper.make_graph([node], "island", [_info(source)], [_info(result)], limits)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="bitbybit")
    model.ir_version = helper.find_min_ir_version_for(opsets)
    return _island(name, [source], "Clip is no integer layer of the contract", model)


def _island(name: str, inputs: Sequence[Edge], reason: str, model: onnx.ModelProto) -> FloatIsland:
    content = model.SerializeToString(deterministic=True)
    return FloatIsland(name, tuple(e.name for e in inputs), reason=reason, model=content)


def _info(edge: Edge) -> onnx.ValueInfoProto:
    dims = [f"d{i}" if d is None else d for i, d in enumerate(edge.shape)]
    return helper.make_tensor_value_info(
        edge.name, helper.np_dtype_to_tensor_dtype(edge.dtype), dims
    )


def _parameters(graph: onnx.GraphProto, stem: str, params: QuantParams) -> list[str]:
    """Store scale and zero point; return their names."""
    values = {f"{stem}_scale": params.scale, f"{stem}_zero_point": params.zero_point}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(array), name) for name, array in values.items()
    )
    return list(values)


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Rename a tensor in some nodes."""
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
