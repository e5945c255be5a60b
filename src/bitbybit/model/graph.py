"""The nodes of a file in topological order, with their neighbours and constants."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, ValueInfoProto

from bitbybit.model.onnx_file import (
    DTYPES,
    OnnxFile,
    tensor_values,
    unsupported,
    wrong,
)
from bitbybit.model.operators import MICROSOFT, ONNX_DOMAIN, Operator, operator
from bitbybit.model.types import AnyArray, QuantParams
from bitbybit.text import shortened

if TYPE_CHECKING:
    from bitbybit.model.fold import Constants

_DOMAINS = (ONNX_DOMAIN, MICROSOFT, "ai.onnx.ml")

Shape = tuple[int | None, ...]


@dataclass(eq=False)
class Node:
    """One node of the graph; ``index`` is its place in topological order."""

    proto: NodeProto
    where: str
    index: int = -1
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The operator type."""
        return self.proto.op_type

    @property
    def name(self) -> str:
        """The node's name in the file; may be empty."""
        return self.proto.name

    @property
    def domain(self) -> str:
        """The operator's domain; "ai.onnx" is written as ""."""
        domain = self.proto.domain
        return ONNX_DOMAIN if domain == "ai.onnx" else domain

    @property
    def row(self) -> Operator | None:
        """The row of its operator in the table of operators, None if there is none."""
        return operator(self.op, self.domain)

    @cached_property
    def attributes(self) -> dict[str, AttributeProto]:
        """Attributes by name."""
        return {a.name: a for a in self.proto.attribute}

    def input(self, position: int | None) -> str:
        """Return the name of an input, "" where it is left out or has no position."""
        given = position is not None and position < len(self.inputs)
        return self.inputs[position or 0] if given else ""

    def attribute(self, name: str, kind: int) -> AttributeProto | None:
        """Return an attribute of this type, None without; raises ModelError for another type."""
        found = self.attributes.get(name)
        if found is not None and found.type not in (kind, AttributeProto.UNDEFINED):
            types = AttributeProto.AttributeType
            given = types.Name(found.type) if found.type in types.values() else found.type
            what = f"the attribute '{name}' has the wrong type"
            raise wrong(self.where, what, types.Name(kind), given)
        return found

    def ints(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return an attribute of integers."""
        found = self.attribute(name, AttributeProto.INTS)
        return default if found is None else tuple(found.ints)

    def int(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        found = self.attribute(name, AttributeProto.INT)
        return default if found is None else found.i

    def float(self, name: str, default: float) -> float:
        """Return a float attribute."""
        found = self.attribute(name, AttributeProto.FLOAT)
        return default if found is None else found.f

    def text(self, name: str, default: str) -> str:
        """Return a string attribute."""
        found = self.attribute(name, AttributeProto.STRING)
        return default if found is None else found.s.decode("utf-8", "replace")


@dataclass(frozen=True, eq=False)
class Step:
    """A node of the rewritten graph.

    Attributes
    ----------
    op : operator of the ONNX domain, or of another one if it has no twin there
    inputs, outputs : tensors
    node : the node of the file that it stands for, with its attributes
    params : of QuantizeLinear and DequantizeLinear
    why : what keeps the node from being an integer layer, "" while nothing does
    on_codes : whether it reads codes where the file has their real view
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    node: Node
    params: QuantParams | None = field(default=None, kw_only=True)
    why: str = field(default="", kw_only=True)
    on_codes: bool = field(default=False, kw_only=True)

    def input(self, position: int) -> str:
        """Return the name of an input, "" where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(eq=False)
class Graph:
    """A checked graph.

    Attributes
    ----------
    file : the file it came from
    nodes : live nodes in topological order
    inputs : graph inputs that are not initializers, in file order
    outputs : names of the graph outputs, in file order
    producer : tensor → the node that makes it
    consumers : tensor → the live nodes that read it, in order (twice if they read it twice)
    constants : every tensor whose value the file fixes, folded when the graph is rewritten
    """

    file: OnnxFile
    nodes: list[Node] = field(default_factory=list)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    producer: dict[str, Node] = field(default_factory=dict)
    consumers: dict[str, list[Node]] = field(default_factory=dict)
    constants: Constants = field(init=False, repr=False)
    _values: dict[str, AnyArray] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The file, for messages."""
        return self.file.where

    @property
    def initializers(self) -> dict[str, TensorProto]:
        """Constants of the file by name."""
        return self.file.initializers

    def initializer(self, name: str) -> AnyArray:
        """Return the values of an initializer, read once."""
        if name not in self._values:
            where = f"{self.where}, initializer '{shortened(name)}'"
            self._values[name] = tensor_values(self.initializers[name], self.file.folder, where)
        return self._values[name]

    def attribute_tensor(self, node: Node, name: str) -> AnyArray:
        """Return the values of a tensor attribute."""
        return tensor_values(node.attributes[name].t, self.file.folder, node.where)

    @cached_property
    def output_set(self) -> frozenset[str]:
        """The names of the graph outputs."""
        return frozenset(self.outputs)


def read_graph(file: OnnxFile) -> Graph:
    """Index and check the graph of a file; linear in its size.

    Raises
    ------
    ModelError : a tensor without a producer or with two, a cycle, a node without the inputs and
        outputs that its operator needs
    UnsupportedError : control flow
    """
    proto, graph = file.proto.graph, Graph(file)
    graph.inputs = [i for i in proto.input if i.name not in graph.initializers]
    graph.outputs = [o.name for o in proto.output]
    if not graph.outputs:
        next_step = "Export the model again, with its outputs."
        raise wrong(graph.where, "the graph has no output", next_step=next_step)
    nodes = [_node(graph, n, i) for i, n in enumerate(proto.node)]
    _index_producers(graph, nodes)
    graph.nodes = _without_identities(graph, _sorted(graph, _live(graph, nodes)))
    for index, node in enumerate(graph.nodes):
        node.index = index
        _check_arity(node, file.opsets)
        for name in node.inputs:
            if name:
                graph.consumers.setdefault(name, []).append(node)
    return graph


def _node(graph: Graph, proto: NodeProto, position: int) -> Node:
    called = f"'{shortened(proto.name)}'" if proto.name else f"number {position}"
    where = f"{graph.where}, node {called} ({shortened(proto.op_type)})"
    node = Node(proto, where, position, tuple(proto.input), tuple(proto.output))
    if any(a.HasField("g") or a.graphs for a in proto.attribute):
        next_step = "Export the model without If, Loop and Scan; onnxsim often removes them."
        raise unsupported(where, "control flow with subgraphs is not read", next_step=next_step)
    return node


def is_known(node: Node, opsets: dict[str, int]) -> bool:
    """Tell whether ONNX or ONNX Runtime defines the operator of a node."""
    return _limits(node, opsets) is not None


def _check_arity(node: Node, opsets: dict[str, int]) -> None:
    """Refuse a node without the inputs and outputs that its operator needs."""
    least, most, outputs, most_outputs = _limits(node, opsets) or _NO_LIMITS
    if not least <= len(node.inputs) <= most or not all(node.inputs[:least]):
        what = "the operator misses an input or has one too many"
        expected = least if least == most else f"{least} or more"
        empty = "" in node.inputs[:least]
        left_out = f", input {node.inputs.index('')} left out" if empty else ""
        raise wrong(node.where, what, expected, f"{len(node.inputs)}{left_out}")
    if len(node.outputs) < outputs or not all(node.outputs[:outputs]):
        raise wrong(node.where, "the operator has no output")
    if any(node.outputs[most_outputs:]):
        what = "the operator has one output too many"
        raise wrong(node.where, what, f"<= {most_outputs}", len(node.outputs))


_ANY = 2**31
_NO_LIMITS = (0, _ANY, 0, _ANY)


def _limits(node: Node, opsets: dict[str, int]) -> tuple[int, int, int, int] | None:
    """Return least and most inputs, least and most outputs, None for an unknown operator."""
    if node.domain == ONNX_DOMAIN:
        return _arity(node.op, opsets[ONNX_DOMAIN])
    if node.domain not in _DOMAINS:
        return None
    if node.row is None:
        return 0, _ANY, 1, _ANY
    row = node.row
    return row.least_inputs, row.most_inputs or _ANY, 1, row.most_outputs or _ANY


@lru_cache(maxsize=512)
def _arity(op: str, opset: int) -> tuple[int, int, int, int] | None:
    """Return the limits of an ONNX operator, None if unknown."""
    try:
        schema = onnx.defs.get_schema(op, min(opset, onnx.defs.onnx_opset_version()), ONNX_DOMAIN)
    except onnx.defs.SchemaError:
        return None
    return schema.min_input, schema.max_input, schema.min_output, schema.max_output


def _index_producers(graph: Graph, nodes: list[Node]) -> None:
    given = {i.name for i in graph.inputs} | set(graph.initializers)
    for node in nodes:
        for name in node.outputs:
            if not name:
                continue
            if name in graph.producer or name in given:
                what = f"tensor '{shortened(name)}' is made twice"
                raise wrong(node.where, what, next_step="Rename one of the two outputs.")
            graph.producer[name] = node
    for node in nodes:
        for name in node.inputs:
            if name and name not in graph.producer and name not in given:
                raise wrong(node.where, f"nothing makes the input tensor '{shortened(name)}'")
    for name in graph.outputs:
        if name not in graph.producer and name not in given:
            raise wrong(graph.where, f"nothing makes the output '{shortened(name)}'")


def _without_identities(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Return the sorted nodes without Identity, and let readers read its input."""
    source: dict[str, str] = {}
    for node in nodes:
        node.inputs = tuple(source.get(name, name) for name in node.inputs)
        if _is_identity(node):
            source[node.outputs[0]] = node.inputs[0]
    graph.outputs = [source.get(name, name) for name in graph.outputs]
    return [node for node in nodes if not _is_identity(node)]


def _is_identity(node: Node) -> bool:
    """Tell whether a node passes its input on: Identity, or the Dropout of training."""
    if node.domain != ONNX_DOMAIN or not node.input(0) or not any(node.outputs[:1]):
        return False  # left out: `_check_arity` has a sentence for it
    unused = not any(node.outputs[1:]) and not any(node.inputs[2:])
    return node.op == "Identity" or (node.op == "Dropout" and unused)


def _live(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Return the nodes on which an output depends, in file order."""
    seen: set[int] = set()
    stack = list(graph.outputs)
    while stack:
        node = graph.producer.get(stack.pop())
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            stack.extend(node.inputs)
    return [node for node in nodes if id(node) in seen]


def _sorted(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Return the nodes in topological order, file order where that is free."""
    readers: dict[int, list[Node]] = {}
    waiting: dict[int, int] = {}
    for node in nodes:
        makers = {id(p): p for name in node.inputs if (p := graph.producer.get(name))}
        waiting[id(node)] = len(makers)
        for maker in makers:
            readers.setdefault(maker, []).append(node)
    ready = [(n.index, n) for n in nodes if not waiting[id(n)]]
    order: list[Node] = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for reader in readers.get(id(node), []):
            waiting[id(reader)] -= 1
            if not waiting[id(reader)]:
                heapq.heappush(ready, (reader.index, reader))
    if len(order) < len(nodes):
        stuck = min((n for n in nodes if waiting[id(n)] > 0), key=lambda n: n.index)
        raise wrong(stuck.where, "the graph has a cycle")
    return order


def declared_shape(info: ValueInfoProto) -> Shape | None:
    """Return the shape of a tensor; None without one, open and negative dimensions None."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    return tuple(size if size >= 0 else None for size in sizes)


def declared_dtype(info: ValueInfoProto, where: str) -> np.dtype[np.generic]:
    """Return the NumPy dtype of a graph input.

    Raises
    ------
    UnsupportedError : an element type that is not read
    """
    dtype = DTYPES.get(info.type.tensor_type.elem_type)
    if dtype is None or not info.type.HasField("tensor_type"):
        next_step = "Export the model with tensors of numbers as inputs."
        raise unsupported(where, "this is not a tensor of numbers", next_step=next_step)
    return dtype
