"""Each layer of a file alone in ONNX Runtime: its own nodes and initializers, nothing rebuilt.

What is cut depends on the canonical view only for the *names* of the integer tensors before and
after a layer. Weights, scales, zero points and attributes are those of the file, so a mistake of
the reader shows as a mismatch instead of hiding on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.errors import BitbybitError, UnsupportedError
from bitbybit.execution.engine import describe
from bitbybit.execution.sessions import Session
from bitbybit.model.graph import Graph
from bitbybit.model.operators import MICROSOFT, OPERATORS, border_domain
from bitbybit.model.types import AnyArray, Conv, Dense, Edge, FloatIsland, Layer, QuantizedModel
from bitbybit.text import printable

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Cut:
    """A part of a file in ONNX Runtime, and the canonical edge behind each of its inputs.

    ``bias`` is added to what it makes.
    """

    session: Session
    inputs: dict[str, str]
    bias: AnyArray | None = None

    def run(self, values: Values) -> AnyArray:
        """Return what it makes of the edges' values."""
        made = self.session.run({name: values[edge] for name, edge in self.inputs.items()})[0]
        return made if self.bias is None else made + self.bias


class LayerRuntime:
    """Every layer of one file in ONNX Runtime, alone.

    Parameters
    ----------
    model
        The canonical view of a file.

    Raises
    ------
    UnsupportedError
        The model was built in memory, so there is no file.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model, self.source = model, source_of(model)
        nodes = self.source.file.proto.graph.node
        self._place = {id(node): place for place, node in enumerate(nodes)}
        self._nodes_of_file = nodes  # keeps them alive, so that no id is used again
        self._maker = {name: node for node in nodes for name in node.output if name}
        names = {name for node in nodes for name in (*node.input, *node.output)}
        self._suffix = ":codes"
        while any(name.endswith(self._suffix) for name in names):
            self._suffix += "'"
        self._cuts: dict[tuple[tuple[str, ...], str], Cut] = {}
        self._sums: dict[str, Cut | None] = {}

    def output(self, layer: Layer, values: Values) -> AnyArray:
        """Run one layer on the codes of its input edges, taken from ``values``.

        Raises
        ------
        UnsupportedError
            ONNX Runtime cannot run it; the layer and its node are named.
        """
        with located(describe(layer)):
            return self.between(layer.inputs, layer.name, values)

    def between(self, inputs: tuple[str, ...], output: str, values: Values) -> AnyArray:
        """Run the file's nodes between some edges and another one, on values of the former.

        Edges that the file holds as real values enter and leave as codes: with a
        DequantizeLinear before, or a QuantizeLinear behind, as the file has them.
        """
        key = (inputs, output)
        if key not in self._cuts:
            self._cuts[key] = self._between(*key)
        return self._cuts[key].run(values)

    def accumulator(self, layer: Layer, values: Values) -> NDArray[np.int32] | None:
        """Return int32 sums with bias from ConvInteger or MatMulInteger.

        Shape as the operator has it; None where no integer operator shows the layer's sums.

        Raises
        ------
        UnsupportedError
            The integer operator cannot express the layer, or ONNX Runtime cannot run it.
        """
        with located(describe(layer)):
            if layer.name not in self._sums:
                self._sums[layer.name] = None
                if isinstance(layer, (Conv, Dense)):
                    self._sums[layer.name] = self._sums_of(layer)
            cut = self._sums[layer.name]
            return None if cut is None else cut.run(values)

    def island_tensors(self) -> set[str]:
        """Return the tensors that the nodes of float islands make."""
        edges, found = self.model.edges, set[str]()
        for layer in self.model.layers:
            if isinstance(layer, FloatIsland):
                before = {edges[name].onnx_name for name in layer.inputs}
                nodes = self._nodes(before, [edges[layer.name].onnx_name])
                found |= {name for node in nodes for name in node.output}
        return found

    def _between(self, inputs: Iterable[str], output: str) -> Cut:
        """Cut out everything between some edges and another one."""
        edges = [self.model.edges[name] for name in dict.fromkeys(inputs)]
        made = self.model.edges[output]
        nodes = self._nodes({edge.onnx_name for edge in edges}, [made.onnx_name])
        constants: list[TensorProto] = []
        for edge in edges:
            if self._real(edge):
                names = self._codes(edge), edge.onnx_name
                nodes.insert(0, self._border("DequantizeLinear", edge, names, constants))
        if self._real(made):
            names = made.onnx_name, self._codes(made)
            nodes.append(self._border("QuantizeLinear", made, names, constants))
        session = self._session(nodes, edges, _info(self._codes(made), made.dtype), constants)
        return Cut(session, {self._codes(edge): edge.name for edge in edges})

    def _sums_of(self, layer: Conv | Dense) -> Cut | None:
        """Cut out a layer with ConvInteger or MatMulInteger in the place of its operator.

        That reads the tensors that the operator reads, before dequantization. None where the
        file's operator does not read integers directly.
        """
        source = self.model.edges[layer.inputs[0]]
        cluster = self._nodes({source.onnx_name}, [self.model.edges[layer.name].onnx_name])
        main = next((n for n in cluster if _row(n, "sums")), None)
        operands = None if main is None else self._operands(main, source, cluster)
        if main is None or operands is None:
            return None
        (x, x_zero), (w, w_zero), bias = operands
        nodes, constants = self._nodes({source.onnx_name}, [x, x_zero, w, w_zero]), []
        if x_zero == self._codes(source) + ":zero_point":
            constants = self._parameters(source)
        flags = {attribute.name for attribute in main.attribute if attribute.i}
        pairs = ((x, "transA"), (w, "transB"))
        turned = {name: f"{name}{self._suffix}:turned" for name, flag in pairs if flag in flags}
        nodes += [helper.make_node("Transpose", [old], [new]) for old, new in turned.items()]
        operator = _row(main, "sums")
        if operator == "ConvInteger" and w_zero:
            one, w_zero = self._one(w_zero), w_zero + self._suffix
            constants.append(numpy_helper.from_array(one, w_zero))
        operands_of_sums = [turned.get(x, x), turned.get(w, w), x_zero, w_zero]
        node = helper.make_node(operator, operands_of_sums, ["sums"])
        values = self._constant(bias).astype(np.int32) if bias else None
        if operator == "ConvInteger":
            node.attribute.extend(main.attribute)
            values = None if values is None else values.reshape(-1, 1, 1)
        output = _info("sums", np.dtype(np.int32))
        session = self._session([*nodes, node], [source], output, constants)
        return Cut(session, {self._codes(source): source.name}, values)

    def _operands(
        self, main: NodeProto, source: Edge, cluster: Iterable[NodeProto]
    ) -> tuple[tuple[str, str], tuple[str, str], str] | None:
        """Return (codes, zero point) of data and weight, and the bias, as the file names them."""
        row = OPERATORS[main.op_type]
        bias = _input(main, row.bias)
        if row.on_codes:
            operands = [row.operand(position) for position in row.values[:2]]
            data, weight = (
                (_input(main, o.value), _input(main, o.zero_point)) for o in operands if o
            )
            return data, weight, bias
        pairs = []
        for name in main.input[:2]:
            maker = self._maker.get(name)
            if name == source.onnx_name and self._real(source):
                pairs.append((self._codes(source), self._codes(source) + ":zero_point"))
            elif maker is not None and maker.op_type == "DequantizeLinear":
                pairs.append((_input(maker, 0), _input(maker, 2)))
            else:
                return None
        if not bias:  # an Add node may have it
            adds = (node for node in cluster if node.op_type == "Add")
            adds = (node.input for node in adds if main.output[0] in node.input)
            bias = next((n for names in adds for n in names if n != main.output[0]), "")
        maker = self._maker.get(bias)
        if bias and (maker is None or maker.op_type != "DequantizeLinear"):
            return None
        return pairs[0], pairs[1], "" if maker is None else maker.input[0]

    def _nodes(self, inputs: set[str], outputs: Iterable[str]) -> list[NodeProto]:
        """Return the nodes that make ``outputs`` from ``inputs`` and constants, in file order."""
        found: dict[int, NodeProto] = {}
        stack = [name for name in outputs if name]
        while stack:
            name = stack.pop()
            stop = name in inputs or name in self.source.constants.shapes
            node = None if stop else self._maker.get(name)
            if node is not None and id(node) not in found:
                found[id(node)] = node
                stack.extend(node.input)
        return sorted(found.values(), key=lambda node: self._place[id(node)])

    def _real(self, edge: Edge) -> bool:
        """Whether the file's tensor of an edge holds real values: codes, dequantized and moved."""
        if edge.params is None:
            return False
        node = self._maker.get(edge.onnx_name)
        while node is not None and _row(node, "keeps"):
            node = self._maker.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def _codes(self, edge: Edge) -> str:
        """Return the name of an edge's codes in a cut."""
        return edge.onnx_name + self._suffix if self._real(edge) else edge.onnx_name

    def _border(
        self, op: str, edge: Edge, tensors: tuple[str, str], constants: list[TensorProto]
    ) -> NodeProto:
        """Return a node that converts an edge between codes and real values; add its constants."""
        operands = self._parameters(edge)
        constants += [x for x in operands if x.name not in {known.name for known in constants}]
        names = [tensors[0], *(tensor.name for tensor in operands)]
        domain = border_domain(8 * edge.dtype.itemsize, self.source.file.opsets[""])
        axis = None if edge.params is None else edge.params.axis
        # An attribute that is None is left out.
        return helper.make_node(op, names, [tensors[1]], domain=domain, axis=axis)

    def _parameters(self, edge: Edge) -> list[TensorProto]:
        """Return scale and zero point of an edge, under names of their own."""
        p = edge.params
        parts = {} if p is None else {"scale": p.scale, "zero_point": p.zero_point}
        return [
            numpy_helper.from_array(np.asarray(values), f"{self._codes(edge)}:{part}")
            for part, values in parts.items()
        ]

    def _one(self, name: str) -> AnyArray:
        """Return a scalar in place of equal zero points: all that ConvInteger accepts."""
        values = self._constant(name)
        if values.size and (values != values.flat[0]).any():
            raise UnsupportedError(
                "its weight has zero points that differ, which ConvInteger cannot express",
                where=printable(name),
                next_step=None,
            )
        return np.asarray(values.flat[0] if values.size else 0, values.dtype)

    def _constant(self, name: str) -> AnyArray:
        """Return the values of an initializer, or of what nodes make of constants."""
        if name in self.source.initializers:
            return self.source.initializer(name)
        nodes = self._nodes(set(), [name])
        return self._session(nodes, [], onnx.ValueInfoProto(name=name), []).run({})[0]

    def _session(
        self,
        nodes: list[NodeProto],
        edges: list[Edge],
        output: onnx.ValueInfoProto,
        constants: list[TensorProto],
    ) -> Session:
        """Return nodes of the file, with its own initializers, as a model that can run."""
        used = {name for node in nodes for name in node.input}
        own = [
            tensor
            if tensor.data_location != TensorProto.EXTERNAL
            else numpy_helper.from_array(self.source.initializer(name), name)
            for name, tensor in self.source.initializers.items()
            if name in used
        ]
        for name in sorted(used & self.source.constants.shapes):
            found = self.source.constants.get(name)
            if found is not None:
                own.append(numpy_helper.from_array(found.values, name))
        infos = [_info(self._codes(edge), edge.dtype) for edge in edges]
        graph = helper.make_graph(nodes, "layer", infos, [output], [*own, *constants])
        opsets = dict(self.source.file.opsets)
        if any(node.domain == MICROSOFT for node in nodes):
            opsets.setdefault(MICROSOFT, 1)
        imports = [helper.make_opsetid(*entry) for entry in opsets.items()]
        version = self.source.file.proto.ir_version
        made = helper.make_model(graph, opset_imports=imports, ir_version=version)
        return Session(made.SerializeToString())


def source_of(model: QuantizedModel) -> Graph:
    """Return the parsed file that a model was read from.

    Raises
    ------
    UnsupportedError
        The model was built in memory, so there is no file.
    """
    if model.source is None:
        raise UnsupportedError(
            "the model was built in memory, so there is no file for ONNX Runtime to run",
            where=model.path.name,
            next_step="Write it with bitbybit.write and load the file.",
        )
    return model.source


@contextmanager
def located(where: str) -> Iterator[None]:
    """Say in an error which layer, or which file, it is about."""
    try:
        yield
    except BitbybitError as error:
        error.where = where
        raise


def _row(node: NodeProto, fact: str) -> str:
    """Return what the table of operators says about a node, "" of an unknown operator."""
    row = OPERATORS.get(node.op_type)
    return "" if row is None else str(getattr(row, fact))


def _input(node: NodeProto, position: int | None) -> str:
    """Return the name of an input, "" where it is left out."""
    return node.input[position] if position is not None and position < len(node.input) else ""


def _info(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)
