"""ONNX → canonical view: parse, fold, rewrite, infer shapes, match, name."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from bitbybit.model.fold import Constants
from bitbybit.model.graph import Graph, Node, Shape, is_known, read_graph
from bitbybit.model.islands import DYNAMIC, IslandModel, islands
from bitbybit.model.match import matched
from bitbybit.model.onnx_file import Allowance, Budget, read_file, too_much, unsupported
from bitbybit.model.operands import Match
from bitbybit.model.operators import DEQUANTIZE
from bitbybit.model.rewrite import View, rewritten
from bitbybit.model.types import Dequantize, Edge, FloatIsland, Layer, QuantizedModel, Reshape
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
    file = read_file(path)
    count = len(file.proto.graph.node)
    if count > budget.nodes:
        what = "the graph has more nodes than reading may take"
        raise too_much(shortened(str(file.path)), what, f"<= {budget.nodes}", count)
    graph = read_graph(file)
    graph.constants = Constants(graph, budget)
    view = rewritten(graph)
    return _Assembly(view, _layers(view), budget).model()


def _layers(view: View) -> list[Match]:
    """Return all layers in graph order, islands included."""
    layers, reasons = matched(view)
    claimed = {node.index for match in layers for node in match.nodes}
    # not left: what became no step, or the real view of an edge
    kept = {s.node.index for s in view.steps if s.op != DEQUANTIZE or s.why} - claimed
    left = [node for node in view.graph.nodes if node.index in kept]
    layers += islands(view, left, reasons) + _dequantizers(view) + _constant_outputs(view)
    layers.sort(key=lambda match: match.place)
    _check_known(view.graph, layers)
    return layers


def _check_known(graph: Graph, layers: Iterable[Match]) -> None:
    """Refuse an operator that neither ONNX nor ONNX Runtime defines.

    Raises
    ------
    UnsupportedError : names the node, the operator and what was read before it
    """
    node = next((n for n in graph.nodes if not is_known(n, graph.file.opsets)), None)
    if node is None:
        return
    before = [m for m in layers if m.place < node.index and not isinstance(m.layer, FloatIsland)]
    so_far = "no layer was read before it"
    if before:
        last = shortened(before[-1].main.name or before[-1].main.op)
        so_far = f"{len(before)} layers were read before it, the last one '{last}'"
    full = shortened(f"{node.domain}.{node.op}" if node.domain else node.op)
    next_step = "Give the network up to there, or write this part with ONNX operators."
    raise unsupported(node.where, f"unsupported operator {full}; {so_far}", next_step=next_step)


def _dequantizers(view: View) -> list[Match]:
    """Return a Dequantize layer for each graph output that is the real view of an edge."""
    found = {}
    for name in view.graph.outputs:
        value = view.value(name)
        if value is not None and value.kind == "real":
            node = view.maker[view.resolve(name)].node
            place = view.graph.producer[name].index
            found[name] = Match(Dequantize(name, (value.edge,)), node, (node,), at=place)
    return list(found.values())


def _constant_outputs(view: View) -> list[Match]:
    """Return a float island without inputs for each graph output that is a constant."""
    added = [step for step in view.steps if step.node.index >= len(view.graph.nodes)]
    reason = "it is a constant of the file: no integer layer makes it"
    return [
        Match(FloatIsland(step.outputs[0], (), reason=reason), step.node, (step.node,))
        for step in added
    ]


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
        memory = Allowance(self.budget, file)
        return QuantizedModel(
            path=file.path,
            sha256=file.sha256,
            form=self._form(),
            opsets=dict(file.opsets),
            inputs=tuple(self.names[i.name] for i in graph.inputs),
            outputs=tuple(self.names[self._edge_of(name)] for name in self.view.outputs),
            layers=tuple(self._layer(match, memory) for match in self.layers),
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

    def _info(self, tensor: str, name: str) -> onnx.ValueInfoProto:
        """Return the type of an island's input or output."""
        shape = self._shape(tensor)
        dims = None if shape is None else [f"d{i}" if d is None else d for i, d in enumerate(shape)]
        kind = helper.np_dtype_to_tensor_dtype(self._dtype(tensor))
        return helper.make_tensor_value_info(name, kind, dims)

    def _layer(self, match: Match, memory: Allowance) -> Layer:
        layer = match.layer
        if isinstance(layer, FloatIsland):
            proto = IslandModel(match, self.view, self.names, self._info, memory).build()
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
