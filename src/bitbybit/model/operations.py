"""Every quantized operation of a file, and all its nodes and tensors by layer, as plain data."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from bitbybit.digits import hex_float, shortest
from bitbybit.model.fold import Constants
from bitbybit.model.graph import Graph, Node, declared_shape
from bitbybit.model.load import load
from bitbybit.model.onnx_file import DTYPES, type_name, wrong
from bitbybit.model.operators import DEQUANTIZE, QUANTIZE, Operand
from bitbybit.model.shapes import inferred
from bitbybit.model.types import AnyArray, QuantizedModel
from bitbybit.text import printable

Record = dict[str, Any]


def operations(path: str | os.PathLike[str]) -> Record:
    """Return the quantization-related operations of an ONNX file.

    These are the operators on codes, QuantizeLinear, DequantizeLinear, and every node that
    reads what DequantizeLinear made or makes what QuantizeLinear reads.

    Returns
    -------
    A record that JSON can hold: ``model_path`` (the file's name), ``sha256``, ``opset_version``
    (of the ONNX domain), ``opsets`` (all domains), ``operations`` in graph order, each with
    ``name, op_type, domain, inputs, outputs, attributes, tensors`` (dtype and shape by tensor
    name), ``scales`` and ``zero_points`` (by the operator's own argument name: initializer,
    values, dtype, shape, axis), and ``summary`` (``total_nodes, qlinear_nodes,
    op_type_counts``).

    Raises
    ------
    ModelError, UnsupportedError : as :func:`bitbybit.load`
    """
    graph = parsed(load(path))
    tensors = tensor_types(graph.file.proto)
    found = [n for n in graph.nodes if _is_quantized(graph, n)]
    counts = Counter(node.op for node in graph.nodes)
    opsets = graph.file.opsets
    return {
        "model_path": graph.file.path.name,
        "sha256": graph.file.sha256,
        "opset_version": opsets[""],
        "opsets": {domain or "ai.onnx": version for domain, version in opsets.items()},
        "operations": [_operation(graph.constants, node, tensors) for node in found],
        "summary": {
            "total_nodes": len(graph.nodes),
            "qlinear_nodes": sum(n.row is not None and n.row.twin != "" for n in found),
            "quantization_nodes": len(found),
            "op_type_counts": dict(sorted(counts.items())),
        },
    }


def parsed(model: QuantizedModel) -> Graph:
    """Return the parsed file that a network keeps."""
    if model.source is None:
        next_step = "Write it with bitbybit.write, and load that file."
        raise wrong(
            model.path, "the network was made in memory and has no file", next_step=next_step
        )
    return model.source


def _is_quantized(graph: Graph, node: Node) -> bool:
    if node.row is not None and node.row.on_codes:
        return True
    makers = [graph.producer.get(name) for name in node.inputs]
    readers = [r for name in node.outputs for r in graph.consumers.get(name, [])]
    return any(m is not None and m.op == DEQUANTIZE for m in makers) or any(
        r.op == QUANTIZE for r in readers
    )


def _scales_of(node: Node) -> tuple[Operand, ...]:
    """Return the operands of a node that have a scale or a zero point among its inputs."""
    return () if node.row is None else node.row.operands


def _operation(constants: Constants, node: Node, tensors: dict[str, Record]) -> Record:
    names = [n for n in (*node.inputs, *node.outputs) if n in tensors]
    parameters: dict[str, Record] = {"scale": {}, "zero_point": {}}
    for operand in _scales_of(node):
        for part, found in parameters.items():
            position = getattr(operand, part)
            if position is not None:
                found[f"{operand.name}_{part}"] = _parameter(constants, node, operand, position)
    return {
        "name": node.name,
        "op_type": node.op,
        "domain": node.domain or "ai.onnx",
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attributes": {name: _attribute(a) for name, a in sorted(node.attributes.items())},
        "tensors": {name: tensors[name] for name in names},
        "scales": parameters["scale"],
        "zero_points": parameters["zero_point"],
    }


def _parameter(constants: Constants, node: Node, operand: Operand, position: int) -> Record:
    """Return a scale or zero point; a missing zero point is 0, a computed one has no values."""
    name = node.input(position)
    record: Record = {"name": name, "dtype": None, "shape": None, "axis": None, "value": None}
    if not name:
        return record | {"value": 0, "shape": []}
    values = constants.plain(name)
    if values is None:
        return record
    axis = _axis(node, operand) if values.size > 1 else None
    record |= {"dtype": str(values.dtype), "shape": list(values.shape), "axis": axis}
    if values.dtype == np.float32 and np.isfinite(values).all():
        scale = values.astype(np.float32, copy=False)
        return record | {"value": shortest(scale), "hex": hex_float(scale)}
    return record | {"value": _finite(values)}


def _axis(node: Node, operand: Operand) -> int:
    """Return the axis of several scales: the output channels of a weight, else axis 1."""
    if node.op in (QUANTIZE, DEQUANTIZE):
        return node.int("axis", 1)
    row = node.row
    if row is None or row.weight_axis is None or operand.value != row.weight:
        return 1
    return 1 - row.weight_axis if node.int("transB", 0) else row.weight_axis


def _finite(values: AnyArray) -> Any:
    """Return values for JSON, which knows no NaN, no infinity and no complex number."""
    flat = values.reshape(-1).tolist()
    if all(isinstance(v, (int, float)) and math.isfinite(v) for v in flat):
        return values.tolist()
    return [str(v) for v in flat]


def _attribute(attribute: AttributeProto) -> Any:
    """Return an attribute's value: text for bytes, type and shape for a tensor."""
    kind = AttributeProto.AttributeType.Name(attribute.type)
    if kind == "TENSOR":
        return {"dtype": _dtype(attribute.t.data_type), "shape": list(attribute.t.dims)}
    if kind.removesuffix("S") not in ("INT", "FLOAT", "STRING"):
        return f"attribute of type {attribute.type}"
    value = helper.get_attribute_value(attribute)
    return [_plain(v) for v in value] if kind.endswith("S") else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def tensor_types(proto: onnx.ModelProto) -> dict[str, Record]:
    """Return dtype and shape of every tensor of which ONNX can tell."""
    found: dict[str, Record] = {}
    for name, info in inferred(proto).items():
        shape = declared_shape(info)
        dims = None if shape is None else list(shape)
        found[name] = {"dtype": _dtype(info.type.tensor_type.elem_type), "shape": dims}
    for tensor in proto.graph.initializer:
        found[tensor.name] = {"dtype": _dtype(tensor.data_type), "shape": list(tensor.dims)}
    return found


def _dtype(data_type: int) -> str:
    return str(DTYPES[data_type]) if data_type in DTYPES else type_name(data_type)


@dataclass(frozen=True)
class FlowNode:
    """A node of the file, or one end of a tensor: a graph input, graph output or initializer.

    Attributes
    ----------
    name : its name in the file
    op : operator type; "input", "output" or "initializer" for the end of a tensor
    layer : canonical name of the layer that it belongs to, "" if none
    role : "activation", "weight" or "bias": what it carries
    parameters : ``(scale, zero point)`` names in the file, one pair per operand; "" where the
        file has none
    """

    name: str
    op: str
    layer: str
    role: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FlowEdge:
    """A tensor on its way from one node to another.

    Attributes
    ----------
    tensor : its name in the file
    source, target : positions in ``Dataflow.nodes``
    dtype : "int8", "float32", ...; "" where the file does not tell
    shape : dimensions, None for one that is open; None as a whole where the file does not tell
    """

    tensor: str
    source: int
    target: int
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Dataflow:
    """A file as nodes and edges.

    Attributes
    ----------
    file, sha256 : name of the file and the hash of its bytes
    layers : canonical layer name → kind, in graph order
    nodes : in topological order, then graph inputs, initializers and outputs
    edges : the tensors that flow; scales and zero points are named by the nodes instead
    """

    file: str
    sha256: str
    layers: dict[str, str]
    nodes: tuple[FlowNode, ...]
    edges: tuple[FlowEdge, ...]


def dataflow(path: str | os.PathLike[str]) -> Dataflow:
    """Read an ONNX file as nodes and edges.

    Names are returned as the file has them: whoever shows them must escape them.

    Parameters
    ----------
    path : float, QDQ or QOperator file

    Raises
    ------
    ModelError, UnsupportedError : as :func:`~bitbybit.model.load.load`
    """
    model = load(path)
    return _Flow(model, parsed(model)).result()


class _Flow:
    """Collects nodes and edges; ends of tensors are added when an edge needs them."""

    def __init__(self, model: QuantizedModel, graph: Graph) -> None:
        self.model, self.graph = model, graph
        self.types = tensor_types(graph.file.proto)
        self.layers = _layers_of_nodes(model, graph)
        self.nodes = [self._node(node) for node in graph.nodes]
        self.ends: dict[tuple[str, str, str], int] = {}
        self.edges: list[FlowEdge] = []

    def result(self) -> Dataflow:
        for node in self.graph.nodes:
            skip = {
                at for operand in _scales_of(node) for at in (operand.scale, operand.zero_point)
            }
            for position, tensor in enumerate(node.inputs):
                if tensor and position not in skip:
                    self._edge(tensor, node.index)
        for tensor in self.graph.outputs:
            end = self._end(tensor, "output", "activation", "")
            self._edge(tensor, end)
        kinds = {layer.name: layer.kind for layer in self.model.layers}
        return Dataflow(
            self.model.path.name, self.model.sha256, kinds, tuple(self.nodes), tuple(self.edges)
        )

    def _node(self, node: Node) -> FlowNode:
        pairs = [(node.input(o.scale), node.input(o.zero_point)) for o in _scales_of(node)]
        parameters = tuple(pair for pair in pairs if any(pair))
        layer = self.layers[node.index]
        return FlowNode(node.name, node.op, layer, self._role(node), parameters)

    def _role(self, node: Node) -> str:
        """Return what a node carries: a constant's role is the place where it is read."""
        if node.op != DEQUANTIZE or node.input(0) in self.graph.producer:
            return "activation"
        readers = self.graph.consumers.get(node.outputs[0], [])
        return _operand(readers[0], node.outputs[0]) if readers else "activation"

    def _edge(self, tensor: str, target: int) -> None:
        maker = self.graph.producer.get(tensor)
        if maker is not None:
            source = maker.index
        elif tensor in self.graph.initializers:
            role = self.nodes[target].role
            if role == "activation" and target < len(self.graph.nodes):
                role = _operand(self.graph.nodes[target], tensor)
            source = self._end(tensor, "initializer", role, self.nodes[target].layer)
        else:
            source = self._end(tensor, "input", "activation", "")
        kind = self.types.get(tensor, {"dtype": None, "shape": None})
        shape = None if kind["shape"] is None else tuple(kind["shape"])
        self.edges.append(FlowEdge(tensor, source, target, kind["dtype"] or "", shape))

    def _end(self, tensor: str, op: str, role: str, layer: str) -> int:
        key = (tensor, op, layer)
        if key not in self.ends:
            self.ends[key] = len(self.nodes)
            self.nodes.append(FlowNode(tensor, op, layer, role))
        return self.ends[key]


def _operand(reader: Node, tensor: str) -> str:
    """Return the role of a constant: weights come second, the bias third, or last in QLinear."""
    place = reader.inputs.index(tensor)
    if place == (2 if reader.row is None else reader.row.bias):
        return "bias"
    return "weight" if place else "activation"


def _layers_of_nodes(model: QuantizedModel, graph: Graph) -> list[str]:
    """Return the canonical layer of every node, "" where a name does not identify the node.

    A quantizer belongs to the layer whose output it makes; what it made is dequantized in the
    same layer; a dequantized constant belongs to its first reader.
    """
    boundary = (QUANTIZE, DEQUANTIZE)
    unique = Counter((node.op, node.name) for node in graph.nodes if node.name)
    own = {"quantize": QUANTIZE, "dequantize": DEQUANTIZE}
    layer_of = {
        (op, name): layer.name
        for layer in model.layers
        for op, name in layer.nodes
        if unique[op, name] == 1 and (op not in boundary or own.get(layer.kind) == op)
    }
    found = [layer_of.get((node.op, node.name), "") for node in graph.nodes]
    for node in graph.nodes:
        maker = graph.producer.get(node.input(0))
        if node.op in boundary and not found[node.index] and maker is not None:
            found[node.index] = found[maker.index]
    for node in graph.nodes:
        readers = graph.consumers.get(node.outputs[0], []) if node.op in boundary else []
        if not found[node.index] and readers:
            found[node.index] = found[readers[0].index]
    return found
