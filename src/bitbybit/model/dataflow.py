"""A file as nodes and edges: all its nodes and tensors, each with its layer, as plain data."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from bitbybit.model.graph import Graph, Node
from bitbybit.model.load import load
from bitbybit.model.onnx_file import wrong
from bitbybit.model.operators import DEQUANTIZE, QUANTIZE, Operand
from bitbybit.model.shapes import tensor_types
from bitbybit.model.types import QuantizedModel


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


def parsed(model: QuantizedModel) -> Graph:
    """Return the parsed file that a network keeps."""
    if model.source is None:
        next_step = "Write it with bitbybit.write, and load that file."
        raise wrong(
            model.path, "the network was made in memory and has no file", next_step=next_step
        )
    return model.source


def scales_of(node: Node) -> tuple[Operand, ...]:
    """Return the operands of a node that have a scale or a zero point among its inputs."""
    return () if node.row is None else node.row.operands


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
            skip = {at for operand in scales_of(node) for at in (operand.scale, operand.zero_point)}
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
        pairs = [(node.input(o.scale), node.input(o.zero_point)) for o in scales_of(node)]
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
        dtype, shape = self.types.get(tensor, ("", None))
        self.edges.append(FlowEdge(tensor, source, target, dtype, shape))

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
