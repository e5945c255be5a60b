"""ONNX → canonical view: parse, fold, rewrite, infer shapes, match, name."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.model.graph import Node, Shape, read_graph
from bitbybit.model.islands import DYNAMIC, all_layers
from bitbybit.model.onnx_file import Allowance, Budget, read_file, too_much
from bitbybit.model.operands import Match
from bitbybit.model.operators import DEQUANTIZE, border_domain
from bitbybit.model.rewrite import View, rewritten
from bitbybit.model.types import Edge, FloatIsland, Layer, QuantizedModel, QuantParams, Reshape
from bitbybit.text import shortened

LONGEST = 80
"""Characters kept of a canonical name."""

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def load(path: str | os.PathLike[str], *, budget: Budget | None = None) -> QuantizedModel:
    """Read an ONNX file (float, QDQ or QOperator, opset >= 10) into the canonical view.

    Parameters are found by the position of a node's input, never by name.  Nothing is executed.
    What is no integer layer of the contract is kept as a
    :class:`~bitbybit.model.types.FloatIsland`.

    Parameters
    ----------
    path : an ``.onnx`` file; external data must lie in its folder
    budget : what reading may take; without it, what any ordinary network needs

    Returns
    -------
    The network: layers in graph order, and edges with shape, dtype, scale and zero point.

    Raises
    ------
    ModelError : a file that is no ONNX model or contradicts itself
    UnsupportedError : an operator or construct that is not read, named with what was read so
        far; a file that takes more than the budget
    """
    budget = budget or Budget()
    view = rewritten(read_graph(read_file(path, budget)), budget)
    return _Assembly(view, all_layers(view), budget).model()


def canonical_name(text: str) -> str:
    """Return ``text`` as a canonical name of ``A-Z a-z 0-9 . _ -``, "" if nothing is left.

    Path separators become dots; the ``_quant`` that ONNX Runtime's quantizer appends in its
    QOperator form and the operator that exporters append to a module's path are dropped, so
    that all forms of one network give the same name.

    Examples
    --------
    >>> canonical_name("/layer1/conv2/Conv_quant")
    'layer1.conv2'
    """
    name = re.sub(r"[/:\\]+", ".", text[: 4 * LONGEST]).removesuffix("_quant")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    name = re.sub(r"\.{2,}", ".", name).strip("._-")
    head, _, last = name.rpartition(".")
    if head and last in _WEIGHTED:
        name = head
    return name[:LONGEST].rstrip("._-")


class Namer:
    """Gives every layer and graph input its own name."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, fallback: str) -> str:
        """Return the canonical name of ``text``, numbered if it is taken or empty.

        Parameters
        ----------
        text : the name in the file
        fallback : what to number when ``text`` leaves nothing, for example ``conv``
        """
        name = canonical_name(text)
        if name and name not in self._taken:
            self._taken.add(name)
            return name
        stem = name or fallback
        number = self._next.get(stem, 2 if name else 1)
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._next[stem] = number + 1
        name = f"{stem}_{number}"
        self._taken.add(name)
        return name


class _Assembly:
    """Names the layers and gives their edges shapes."""

    def __init__(self, view: View, layers: list[Match], budget: Budget) -> None:
        self.view = view
        self.layers = layers
        self.budget = budget
        self.memory = Allowance(budget, view.graph.file)
        self.names: dict[str, str] = {}
        self._least = {m.layer.name: m.least for m in layers}
        namer = Namer()
        for info in view.graph.inputs:
            self.names[info.name] = namer.take(info.name, "graph_input")
        for match in layers:
            island = isinstance(match.layer, FloatIsland)
            fallback = match.main.op.lower() if island else match.layer.kind
            self.names[match.layer.name] = namer.take(match.main.name, fallback)

    def model(self) -> QuantizedModel:
        graph, file = self.view.graph, self.view.graph.file
        return QuantizedModel(
            path=file.path,
            sha256=file.sha256,
            form=self._form(),
            opsets=dict(file.opsets),
            inputs=tuple(self.names[i.name] for i in graph.inputs),
            outputs=tuple(self.names[self._edge_of(name)] for name in self.view.outputs),
            layers=tuple(self._layer(match) for match in self.layers),
            edges={self.names[tensor]: self._edge(tensor) for tensor in self.names},
            file_outputs=tuple(output.name for output in file.proto.graph.output),
            source=graph,
        )

    def _edge_of(self, output: str) -> str:
        """Return the edge of a graph output: codes, or what a layer makes of them."""
        if output in self.names:
            return output
        value = self.view.value(output)
        return output if value is None else value.edge

    def _form(self) -> str:
        if not self.view.quantized:
            return "float"
        nodes = [n for m in self.layers for n in m.nodes if not isinstance(m.layer, Reshape)]
        qoperator = any(n.row is not None and n.row.twin for n in nodes)
        integer = [m for m in self.layers if m.layer.twin]
        if qoperator:
            return "mixed" if any(len(m.nodes) > 1 for m in integer) else "qoperator"
        if not integer and any(n.op in DYNAMIC for n in self.view.graph.nodes):
            return "dynamic"
        return "qdq"

    def _shape(self, tensor: str) -> Shape | None:
        known = self.view.shapes[tensor]
        return self._least.get(tensor) if known is None else known

    def _dtype(self, tensor: str) -> np.dtype[np.generic]:
        return self.view.dtypes.get(tensor) or self.view.shapes.dtype(tensor)

    def _edge(self, tensor: str) -> Edge:
        shape = self._shape(tensor) or ()
        if math.prod(d for d in shape if d) > self.budget.elements:
            where = f"{self.view.graph.where}, tensor '{shortened(tensor)}'"
            what, most = "a tensor is larger than reading may take", self.budget.elements
            raise too_much(where, what, f"<= {most} elements", f"shape {shape}")
        return Edge(
            name=self.names[tensor],
            onnx_name=self.view.file_names.get(tensor, tensor),
            shape=shape,
            dtype=self._dtype(tensor),
            params=self.view.codes.get(tensor),
        )

    def info(self, tensor: str) -> onnx.ValueInfoProto:
        """Return the type of an island's input or output."""
        shape = self._shape(tensor)
        dims = None if shape is None else [f"d{i}" if d is None else d for i, d in enumerate(shape)]
        kind = helper.np_dtype_to_tensor_dtype(self._dtype(tensor))
        return helper.make_tensor_value_info(self.names[tensor], kind, dims)

    def _layer(self, match: Match) -> Layer:
        layer = match.layer
        if isinstance(layer, FloatIsland):
            proto = _IslandModel(self, match).build()
            layer = replace(layer, model=proto.SerializeToString(deterministic=True))
        return replace(
            layer,
            name=self.names[layer.name],
            inputs=tuple(self.names[e] for e in layer.inputs),
            nodes=tuple((node.op, node.name) for node in self._nodes(match)),
        )

    def _nodes(self, match: Match) -> list[Node]:
        """Return the nodes of a layer with the DequantizeLinear that feed them, in graph order."""
        nodes = {n.index: n for n in match.nodes if n.index < len(self.view.graph.nodes)}
        for node in match.nodes:
            for tensor in node.inputs:
                maker = self.view.graph.producer.get(tensor)
                if maker is not None and maker.op == DEQUANTIZE:
                    nodes[maker.index] = maker
        return [nodes[i] for i in sorted(nodes)]


class _IslandModel:
    """The model of one island: its edges carry their canonical names."""

    def __init__(self, assembly: _Assembly, match: Match) -> None:
        self.assembly, self.match = assembly, match
        self.view, self.names = assembly.view, assembly.names
        self.name = self.names[match.layer.name]
        self.inside = {o for n in match.nodes for o in n.outputs if o}
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        output = match.layer.name
        self._made = {output: self.name}
        if output not in self.inside:  # moved codes: the file has their real view
            self._made[match.nodes[0].outputs[0]] = self.name

    def build(self) -> onnx.ModelProto:
        """Return the model."""
        for node in self.match.nodes:
            self._copy(node)
        inputs = [self.assembly.info(e) for e in self.match.layer.inputs]
        output = self.assembly.info(self.match.layer.name)
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
        graph, found = self.view.graph, self.view.constants.get(tensor)
        params = None if found is None else found.params
        name = self._own(tensor if params is None else f"{tensor}/codes")
        size = graph.initializers[tensor].ByteSize() if found is None else found.values.nbytes
        self.assembly.memory.take(size, graph.where, "copying constants into float islands")
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
