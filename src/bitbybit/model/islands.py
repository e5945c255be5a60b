"""Float islands: nodes that make no integer layer, in the smallest connected pieces.

In a quantized file an island grows from an edge backwards, over every float tensor that only
it reads, to the integer edges that feed it; so it has one output.  In a float file every node
is an island of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.model.graph import Node
from bitbybit.model.onnx_file import Allowance
from bitbybit.model.operands import Match
from bitbybit.model.operators import DEQUANTIZE, QUANTIZE, border_domain
from bitbybit.model.rewrite import View
from bitbybit.model.types import FloatIsland, Quantize, QuantParams

DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul")
"""Operators that compute a scale from the values that they are given."""


def islands(view: View, left: Sequence[Node], reasons: dict[int, str]) -> list[Match]:
    """Return one match per island, and a Quantize layer for a QuantizeLinear left alone.

    ``left`` are the nodes of no layer, in graph order.
    """
    graph = view.graph
    groups: dict[str, list[Node]] = {}
    group_of: dict[int, str] = {}
    for node in reversed(left):
        used = [o for o in node.outputs if o in graph.consumers or o in graph.output_set]
        roots = used
        if all(_joins(view, tensor) for tensor in used):
            owners = {group_of.get(c.index, "") for tensor in used for c in graph.consumers[tensor]}
            roots = [*owners] if len(owners) == 1 and "" not in owners else used
        if len(roots) == 1:
            group_of[node.index] = roots[0]
        for root in roots:
            groups.setdefault(root, []).append(node)
    return [_island(view, root, members[::-1], reasons) for root, members in groups.items()]


def _joins(view: View, tensor: str) -> bool:
    """Tell whether the maker of a tensor belongs to the island of its reader."""
    value = view.value(tensor)
    if tensor in view.graph.output_set or value is None or value.kind == "codes":
        return False
    return view.quantized or tensor in view.shape_tensors


def _island(view: View, root: str, nodes: list[Node], reasons: dict[int, str]) -> Match:
    first = nodes[0]
    if len(nodes) == 1 and first.op == QUANTIZE and root in view.codes:
        value = view.value(first.inputs[0])
        if value is not None and value.kind == "float" and first.index not in reasons:
            return Match(Quantize(root, (value.edge,)), first, (first,))
    core = [n for n in nodes if n.op not in (QUANTIZE, DEQUANTIZE)] or nodes
    refused = next((n for n in nodes if n.index in reasons), None)
    node, why = core[0], "it works on float values"
    if refused is not None:
        node, why = refused, reasons[refused.index]
    text = _dynamic(view, node) or (why if why.startswith(node.op) else f"{node.op}: {why}")
    layer = FloatIsland(root, _inputs(view, nodes), reason=text)
    return Match(layer, core[-1], tuple(nodes))


def _dynamic(view: View, node: Node) -> str:
    """Say of a node of dynamic quantization that it is one, "" of others."""
    makers = [view.graph.producer.get(name) for name in node.inputs]
    ops = {node.op, *(m.op for m in makers if m is not None)}
    if ops.isdisjoint((*DYNAMIC, "MatMulIntegerToFloat")):
        return ""
    return (
        f"{node.op} belongs to dynamic quantization: the scale of its activations is computed "
        "from each input"
    )


def _inputs(view: View, nodes: list[Node]) -> tuple[str, ...]:
    """Return the edges that feed an island, each once, in order of first use."""
    inside = {o for n in nodes for o in n.outputs}
    values = [view.value(n) for node in nodes for n in node.inputs if n not in inside]
    return tuple(dict.fromkeys(value.edge for value in values if value is not None))


class IslandModel:
    """The model of one island: its edges carry their canonical names.

    Parameters
    ----------
    match : the island
    view : the rewritten graph
    names : edge → canonical name
    info : edge and name → type and shape of a graph input or output
    memory : what copied constants of all islands may take
    """

    def __init__(
        self,
        match: Match,
        view: View,
        names: dict[str, str],
        info: Callable[[str, str], onnx.ValueInfoProto],
        memory: Allowance,
    ) -> None:
        self.match = match
        self.view = view
        self.names = names
        self.name = names[match.layer.name]
        self.inside = {o for n in match.nodes for o in n.outputs if o}
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._info = info
        self._memory = memory
        output = match.layer.name
        self._made = {output: self.name}
        if output not in self.inside:  # moved codes: the file has their real view
            self._made[match.nodes[0].outputs[0]] = self.name

    def build(self) -> onnx.ModelProto:
        """Return the model."""
        for node in self.match.nodes:
            self._copy(node)
        inputs = [self._info(e, self.names[e]) for e in self.match.layer.inputs]
        output = self._info(self.match.layer.name, self.name)
        graph = helper.make_graph(self.nodes, "island", inputs, [output], self.initializers)
        used = {n.domain for n in self.nodes} | {""}
        versions = sorted(self.view.graph.file.opsets.items())
        opsets = [helper.make_opsetid(d, v) for d, v in versions if d in used]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="bitbybit")
        model.ir_version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        return model

    def _copy(self, node: Node) -> None:
        inputs = [self._input(name) if name else "" for name in node.inputs]
        outputs = [self._own(name) if name else "" for name in node.outputs]
        copy = NodeProto()
        copy.CopyFrom(node.proto)
        copy.ClearField("doc_string")
        copy.ClearField("metadata_props")
        copy.name = self.name if node is self.match.main else f"{self.name}/node{len(self.nodes)}"
        copy.domain = node.domain
        copy.input[:] = inputs
        copy.output[:] = outputs
        self.nodes.append(copy)

    def _own(self, tensor: str) -> str:
        return self._made.setdefault(tensor, f"{self.name}/{len(self._made)}")

    def _input(self, tensor: str) -> str:
        if tensor in self.inside:
            return self._own(tensor)
        value = self.view.value(tensor)
        if value is None:
            return self._constant(tensor)
        name = self.names[value.edge]
        if value.kind != "real" or self.match.on_codes:
            return name
        params = self.view.codes[value.edge]
        if tensor not in self._made and params is not None:
            self._dequantize(tensor, name, params)
        return self._made[tensor]

    def _constant(self, tensor: str) -> str:
        """Copy a constant: codes with their DequantizeLinear if it is quantized."""
        if tensor in self._made:
            return self._made[tensor]
        graph, found = self.view.graph, self.view.constant(tensor)
        params = None if found is None else found.params
        name = self._own(tensor if params is None else f"{tensor}/codes")
        size = graph.initializers[tensor].ByteSize() if found is None else found.values.nbytes
        self._memory.take(size, graph.where, "copying constants into float islands")
        if found is None:  # of a type that is not read: copied as it stands
            proto = TensorProto()
            proto.CopyFrom(graph.initializers[tensor])
            proto.name = name
        else:
            values = np.ascontiguousarray(found.values).reshape(found.values.shape)
            proto = numpy_helper.from_array(values, name)
        self.initializers.append(proto)
        if params is not None:
            self._dequantize(tensor, name, params)
        return self._made[tensor]

    def _dequantize(self, tensor: str, codes: str, params: QuantParams) -> None:
        """Add a DequantizeLinear node that makes ``tensor`` of ``codes``."""
        output = self._own(tensor)
        parts = (f"{output}_scale", f"{output}_zero_point")
        for name, value in zip(parts, (params.scale, params.zero_point), strict=True):
            self.initializers.append(numpy_helper.from_array(np.array(value), name))
        node = helper.make_node(DEQUANTIZE, [codes, *parts], [output], name=f"{output}_dequantize")
        bits = 8 * params.zero_point.dtype.itemsize
        node.domain = border_domain(bits, self.view.graph.file.opsets[""])
        if params.axis is not None:
            node.attribute.append(helper.make_attribute("axis", params.axis))
        self.nodes.append(node)
