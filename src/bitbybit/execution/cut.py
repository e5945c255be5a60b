"""One-layer models cut out of a file: its own nodes and initializers, nothing rebuilt.

What is cut depends on the canonical view only for the *names* of the integer tensors before and
after a layer. Weights, scales, zero points and attributes are those of the file, so a mistake of
the reader shows as a mismatch instead of hiding on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.errors import UnsupportedError
from bitbybit.execution.sessions import Session
from bitbybit.model.operators import MICROSOFT, OPERATORS, Operator, border_domain
from bitbybit.model.types import Conv, Dense, Edge, FloatIsland, Layer, QuantizedModel
from bitbybit.text import printable


class Cut(NamedTuple):
    """A serialized model, and the canonical edge behind each of its inputs."""

    model: bytes
    inputs: dict[str, str]


class Sums(NamedTuple):
    """A model of a layer's integer sums, and the bias that they lack."""

    cut: Cut
    bias: NDArray[np.int32] | None


class Cutter:
    """Cuts layers out of the file that a model was read from.

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
        if model.source is None:
            raise UnsupportedError(
                "the model was built in memory, so there is no file for ONNX Runtime to run",
                where=model.path.name,
                next_step="Write it with bitbybit.write and load the file.",
            )
        self.model, self.source = model, model.source
        self.proto = self.source.file.proto
        self._nodes_of_file = nodes = list(self.proto.graph.node)
        self._place = {id(node): place for place, node in enumerate(nodes)}
        self._maker = {name: node for node in nodes for name in node.output if name}
        names = {name for node in nodes for name in (*node.input, *node.output)}
        self._suffix = ":codes"
        while any(name.endswith(self._suffix) for name in names):
            self._suffix += "'"

    def layer(self, layer: Layer) -> Cut:
        """Return the model from a layer's input edges to its output edge."""
        return self.between(layer.inputs, layer.name)

    def between(self, inputs: Iterable[str], output: str) -> Cut:
        """Return the model of everything between some edges and another one.

        Edges that the file holds as real values enter and leave as codes: with a
        DequantizeLinear before, or a QuantizeLinear behind, the file's own nodes.
        """
        edges = [self.model.edges[name] for name in dict.fromkeys(inputs)]
        made = self.model.edges[output]
        nodes = self._nodes({edge.onnx_name for edge in edges}, [made.onnx_name])
        constants: list[TensorProto] = []
        for edge in edges:
            if self._real(edge):
                codes, real = self._codes(edge), edge.onnx_name
                nodes.insert(0, self._border("DequantizeLinear", edge, (codes, real), constants))
        if self._real(made):
            codes, real = self._codes(made), made.onnx_name
            nodes.append(self._border("QuantizeLinear", made, (real, codes), constants))
        return self._cut(nodes, edges, _info(self._codes(made), made.dtype), constants)

    def island_tensors(self) -> set[str]:
        """Return the tensors that the nodes of float islands make."""
        edges, found = self.model.edges, set[str]()
        for layer in self.model.layers:
            if isinstance(layer, FloatIsland):
                before = {edges[name].onnx_name for name in layer.inputs}
                nodes = self._nodes(before, [edges[layer.name].onnx_name])
                found |= {name for node in nodes for name in node.output}
        return found

    def sums(self, layer: Layer) -> Sums | None:
        """Return a model of a layer's integer sums.

        ConvInteger or MatMulInteger stands in the place of the layer's own operator and reads
        the tensors that the operator reads, before dequantization. None for other layers, and
        where the file's operator does not read integers directly.

        Raises
        ------
        UnsupportedError
            The integer operator cannot express the layer; says why.
        """
        if not isinstance(layer, (Conv, Dense)):
            return None
        source = self.model.edges[layer.inputs[0]]
        cluster = self._nodes({source.onnx_name}, [self.model.edges[layer.name].onnx_name])
        main = next((n for n in cluster if n.op_type in OPERATORS and _row(n).sums), None)
        operands = None if main is None else self._operands(main, source, cluster)
        if main is None or operands is None:
            return None
        (x, x_zero), (w, w_zero), bias = operands
        row, constants = _row(main), list[TensorProto]()
        nodes = self._nodes({source.onnx_name}, [x, x_zero, w, w_zero])
        for attribute, name in (("transA", x), ("transB", w)):
            if any(a.name == attribute and a.i for a in main.attribute):
                turned = f"{name}{self._suffix}:{attribute}"
                nodes.append(helper.make_node("Transpose", [name], [turned]))
                x, w = (turned, w) if attribute == "transA" else (x, turned)
        if x_zero == self._codes(source) + ":zero_point":
            self._parameters(source, constants)
        names = [x, w, x_zero, w_zero]
        if row.sums == "ConvInteger" and w_zero:
            names[3] = w_zero + self._suffix
            constants.append(numpy_helper.from_array(self._one(w_zero), names[3]))
        while not names[-1]:
            names.pop()
        node = helper.make_node(row.sums, names, ["sums"])
        if row.sums == "ConvInteger":
            node.attribute.extend(main.attribute)
        cut = self._cut([*nodes, node], [source], _info("sums", np.dtype(np.int32)), constants)
        return Sums(cut, self._constant(bias).astype(np.int32) if bias else None)

    def _operands(
        self, main: NodeProto, source: Edge, cluster: Sequence[NodeProto]
    ) -> tuple[tuple[str, str], tuple[str, str], str] | None:
        """Return (codes, zero point) of data and weight, and the bias, as the file names them."""
        row = _row(main)
        if row.on_codes:
            operands = [row.operand(row.values[0]), row.operand(row.values[1])]
            data, weight = (
                (_input(main, o.value), _input(main, o.zero_point)) for o in operands if o
            )
            return data, weight, _input(main, row.bias)
        pairs = []
        for name in main.input[:2]:
            maker = self._maker.get(name)
            if name == source.onnx_name and self._real(source):
                codes = self._codes(source)
                pairs.append((codes, codes + ":zero_point"))
            elif maker is not None and maker.op_type == "DequantizeLinear":
                pairs.append((_input(maker, 0), _input(maker, 2)))
            else:
                return None
        bias = _input(main, row.bias) or _added(main, cluster)
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
            node = None if name in inputs else self._maker.get(name)
            if node is not None and id(node) not in found:
                found[id(node)] = node
                stack.extend(node.input)
        return sorted(found.values(), key=lambda node: self._place[id(node)])

    def _real(self, edge: Edge) -> bool:
        """Whether the file's tensor of an edge holds real values: codes, dequantized and moved."""
        if edge.params is None:
            return False
        node = self._maker.get(edge.onnx_name)
        while node is not None and node.op_type in OPERATORS and _row(node).keeps:
            node = self._maker.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def _codes(self, edge: Edge) -> str:
        """Return the name of an edge's codes in a cut."""
        return edge.onnx_name + self._suffix if self._real(edge) else edge.onnx_name

    def _border(
        self, op: str, edge: Edge, tensors: tuple[str, str], constants: list[TensorProto]
    ) -> NodeProto:
        """Return a node that converts an edge between codes and real values."""
        operands = self._parameters(edge, constants)
        domain = border_domain(8 * edge.dtype.itemsize, self.source.file.opsets[""])
        node = helper.make_node(op, [tensors[0], *operands], [tensors[1]], domain=domain)
        if edge.params is not None and edge.params.axis is not None:
            node.attribute.append(helper.make_attribute("axis", edge.params.axis))
        return node

    def _parameters(self, edge: Edge, constants: list[TensorProto]) -> list[str]:
        """Add scale and zero point of a quantized edge to a cut; returns their names."""
        names = [f"{self._codes(edge)}:{part}" for part in ("scale", "zero_point")]
        if edge.params is not None and names[0] not in {tensor.name for tensor in constants}:
            for name, values in zip(
                names, (edge.params.scale, edge.params.zero_point), strict=True
            ):
                constants.append(numpy_helper.from_array(np.asarray(values), name))
        return names

    def _one(self, name: str) -> NDArray[Any]:
        """Return a scalar in place of equal zero points: all that ConvInteger accepts."""
        values = self._constant(name)
        if values.size and (values != values.flat[0]).any():
            raise UnsupportedError(
                "its weight has zero points that differ, which ConvInteger cannot express",
                where=printable(name),
                next_step=None,
            )
        return np.asarray(values.reshape(-1)[:1].reshape(()) if values.size else 0, values.dtype)

    def _constant(self, name: str) -> NDArray[Any]:
        """Return the values of an initializer, or of what nodes make of constants."""
        if name in self.source.initializers:
            return self.source.initializer(name)
        cut = self._cut(self._nodes(set(), [name]), [], onnx.ValueInfoProto(name=name), [])
        return Session(cut.model).run({})[0]

    def _cut(
        self,
        nodes: list[NodeProto],
        edges: list[Edge],
        output: onnx.ValueInfoProto,
        constants: list[TensorProto],
    ) -> Cut:
        used = {name for node in nodes for name in node.input}
        inputs = {self._codes(edge): edge.name for edge in edges}
        own = [
            tensor
            if tensor.data_location != TensorProto.EXTERNAL
            else numpy_helper.from_array(self.source.initializer(name), name)
            for name, tensor in self.source.initializers.items()
            if name in used
        ]
        infos = [_info(self._codes(edge), edge.dtype) for edge in edges]
        graph = helper.make_graph(nodes, "layer", infos, [output], [*own, *constants])
        opsets = dict(self.source.file.opsets)
        if any(node.domain == MICROSOFT for node in nodes):
            opsets.setdefault(MICROSOFT, 1)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()]
        )
        made.ir_version = self.proto.ir_version
        return Cut(made.SerializeToString(), inputs)


def _row(node: NodeProto) -> Operator:
    return OPERATORS[node.op_type]


def _input(node: NodeProto, position: int | None) -> str:
    """Return the name of an input, "" where it is left out."""
    return node.input[position] if position is not None and position < len(node.input) else ""


def _info(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)


def _added(main: NodeProto, cluster: Sequence[NodeProto]) -> str:
    """Return the tensor that an Add node adds to the output of ``main``, "" without one."""
    for node in cluster:
        if node.op_type == "Add" and main.output[0] in node.input:
            return str(next(name for name in node.input if name != main.output[0]))
    return ""
