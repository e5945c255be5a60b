"""One forward walk over the nodes that finds those which make an integer layer.

Every tensor gets a :class:`Value`.  Nodes that make no layer are left for the islands, with a
reason.  Nothing here looks at a tensor's name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.model.constants import Constants, quantize_params
from bitbybit.model.drafts import Draft, Value
from bitbybit.model.graph import (
    Graph,
    Node,
    check_arity,
    check_known,
    declared_dtype,
    declared_shape,
)
from bitbybit.model.names import printable
from bitbybit.model.operators import OPERATORS, computes_on_codes
from bitbybit.model.parameters import NotIntegerError, same_params
from bitbybit.model.types import Dequantize, QuantParams

Handler = Callable[["Recogniser", Node], None]


def is_quantized(graph: Graph) -> bool:
    """Tell whether any node works with integer codes."""
    return any(computes_on_codes(node.op) for node in graph.nodes)


class Recogniser:
    """The state of the walk.

    Attributes
    ----------
    quantized : whether the file works with codes at all; if not, layers are float layers
    values : tensor → what it stands for
    params : edge → scale and zero point, None for a float edge
    dtypes : edge → dtype, where it is known
    ranks : graph input → rank
    integer_names : edge → the tensor that holds its codes, where that is another one
    drafts : the layers found
    left : nodes that made no layer, with the reason
    shape_tensors : tensors that carry shapes, not data: made by Shape and computed from that
    """

    def __init__(self, graph: Graph, handlers: dict[tuple[str, str], Handler]) -> None:
        self.graph = graph
        self.constants = Constants(graph)
        self.quantized = is_quantized(graph)
        self.values: dict[str, Value] = {}
        self.params: dict[str, QuantParams | None] = {}
        self.dtypes: dict[str, np.dtype[np.generic]] = {}
        self.ranks: dict[str, int] = {}
        self.integer_names: dict[str, str] = {}
        self.drafts: list[Draft] = []
        self.left: dict[int, str] = {}
        self.shape_tensors: set[str] = set()
        self._handlers = handlers
        self._claimed: set[int] = set()

    def run(self) -> None:
        """Walk all nodes, then the graph outputs."""
        for info in self.graph.inputs:
            where = f"{self.graph.where}, graph input '{printable(info.name)}'"
            self.dtypes[info.name] = dtype = declared_dtype(info, where)
            shape = declared_shape(info, where)
            if shape is not None:
                self.ranks[info.name] = len(shape)
            coded = dtype.kind in "iu" and dtype.itemsize <= 2
            self.values[info.name] = Value("codes" if coded else "float", info.name)
        for node in self.graph.nodes:
            check_arity(node, self.graph.file.opsets)
        # Before the walk: matchers look ahead, to nodes whose parameters other nodes make.
        folded = {node.index for node in self.graph.nodes if self.constants.fold(node)}
        for node in self.graph.nodes:
            check_known(node, self.graph.file.opsets, self.read_so_far)
            if node.index not in self._claimed and node.index not in folded:
                self._visit(node)
        for name in self.graph.outputs:
            self._finish(name)

    def read_so_far(self) -> str:
        """Say how far the walk came, for messages."""
        if not self.drafts:
            return "no layer was read before it"
        last = printable(self.drafts[-1].main.name or self.drafts[-1].main.op)
        return f"{len(self.drafts)} layers were read before it, the last one '{last}'"

    def _visit(self, node: Node) -> None:
        handler = self._handlers.get((node.domain, node.op))
        if handler is None:
            self.leave(node, f"{printable(node.op)} is no integer layer of the contract")
            return
        try:
            handler(self, node)
        except NotIntegerError as error:
            self.leave(node, error.reason)

    # -- what matchers ask and tell -------------------------------------------------------

    def value(self, name: str) -> Value | None:
        """Return what a tensor stands for; None for constants and absent inputs."""
        return self.values.get(name)

    def edge(self, name: str) -> str:
        """Return the edge behind the real input of a layer (float edge in a float file).

        Raises
        ------
        NotIntegerError : the tensor is a constant, or is not a dequantized edge
        """
        value = self.values.get(name)
        if value is None:
            raise NotIntegerError("one of its inputs is a constant")
        if value.kind != ("real" if self.quantized else "float"):
            raise NotIntegerError("its input is not quantized")
        return value.edge

    def codes(self, name: str, params: QuantParams) -> str:
        """Return the edge behind the integer input of a QLinear operator.

        Raises
        ------
        NotIntegerError : a constant, or other parameters than those of the edge
        """
        value = self.values.get(name)
        if value is None or value.kind != "codes":
            raise NotIntegerError("its input is not an integer tensor that another layer makes")
        self.bind(value.edge, params)
        return value.edge

    def bind(self, edge: str, params: QuantParams) -> None:
        """Give an edge without parameters those with which it is read.

        Raises
        ------
        NotIntegerError : the edge was written with others
        """
        known = self.params.get(edge)
        if known is None:
            self.params[edge] = params
            self.dtypes[edge] = params.dtype
        elif not same_params(known, params):
            raise NotIntegerError(
                "it reads its input with another scale or zero point than it was written with"
            )

    def add(self, draft: Draft) -> None:
        """Take a layer: its nodes are done, its output is an edge."""
        self.drafts.append(draft)
        self._claimed.update(n.index for n in draft.body)
        self.params[draft.output] = draft.params
        if draft.params is not None:
            self.dtypes[draft.output] = draft.params.dtype
        self.values[draft.output] = Value("codes" if draft.params else "float", draft.output)

    def codes_of(self, tensor: str) -> str:
        """Return the edge for the codes behind a real tensor that no node holds as integers.

        It is called like the tensor, unless that is a graph output: then both are edges.
        """
        return f"{tensor}/codes" if tensor in self.graph.output_set else tensor

    def claim(self, node: Node) -> None:
        """Mark a node as done without a layer of its own."""
        self._claimed.add(node.index)

    def leave(self, node: Node, reason: str) -> None:
        """Keep a node for an island; integer outputs stay edges of their own."""
        self.left[node.index] = reason
        data = [n for n in node.inputs if n and n not in self.constants]
        if node.op in ("Shape", "Size") or (data and self.shape_tensors.issuperset(data)):
            self.shape_tensors.update(node.outputs)
        params = _output_params(self, node)
        for name in node.outputs:
            if not name:
                continue
            if params is not None:
                self.values[name] = Value("codes", name)
                self.params[name] = params
                self.dtypes[name] = params.dtype
            else:
                self.values[name] = Value("pending" if self.quantized else "float", name)

    def _finish(self, name: str) -> None:
        """Make a graph output of the real view of an edge a Dequantize layer."""
        value = self.values.get(name)
        if value is None:
            raise ModelError(
                "a graph output is a constant",
                where=f"{self.graph.where}, graph output '{printable(name)}'",
            )
        if value.kind == "real":
            node = self.graph.producer[name]
            place = node.index
            while node.op != "DequantizeLinear":
                node = self.graph.producer[node.inputs[0]]
            self.add(Draft(Dequantize, node, [node], [value.edge], name, at=place))


def _output_params(r: Recogniser, node: Node) -> QuantParams | None:
    """Return the parameters of the integer output of a node that made no layer."""
    try:
        if node.op == "QuantizeLinear":
            return quantize_params(r.constants, node, None)
        row = OPERATORS.get(node.op)
        if row is not None and row.output is not None and row.output.scale is not None:
            scale = row.output.scale
            if not node.input(scale + 1):
                return _without_zero_point(r, node, scale)
            return r.constants.params(node, scale, scale + 1, None, 1)
        value = r.values.get(node.input(0))
        # Clip of codes keeps their scale: so a network with fewer bits saturates at its own rails
        keeps = node.op == "Clip" or (row is not None and row.keeps)
        if keeps and value is not None and value.kind == "codes":
            return r.params.get(value.edge)
    except NotIntegerError:
        pass
    return None


def _without_zero_point(r: Recogniser, node: Node, scale: int) -> QuantParams | None:
    """Return the parameters of an output without zero point: the codes have the input's type."""
    value = r.values.get(node.input(0))
    if node.op == "QGemm" or value is None or value.edge not in r.dtypes:
        return None
    return r.constants.params(node, scale, scale + 1, r.dtypes[value.edge], 1)
