"""One-layer models cut out of a file: its own nodes and initializers, nothing rebuilt.

What is cut depends on the canonical view only for the *names* of the integer tensors before and
after a layer.  Weights, scales, zero points and attributes are those of the file, so a mistake of
the reader shows as a mismatch instead of hiding on both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.execution.sessions import Session
from bitbybit.model.layer_names import printable
from bitbybit.model.onnx_file import read_file, tensor_values
from bitbybit.model.types import Conv, Dense, Edge, Layer, QuantizedModel

MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that leave every value as it is."""

MAIN = ("Conv", "Gemm", "MatMul", "QLinearConv", "QGemm", "QLinearMatMul")
"""Operators that have an accumulator which an integer operator can show."""


class FileGraph:
    """The graph of the file that a model was read from.

    Parameters
    ----------
    model
        The canonical view; its file must still be what it was when it was read.

    Raises
    ------
    ModelError
        The file is gone or has changed.
    """

    def __init__(self, model: QuantizedModel) -> None:
        file = read_file(model.path)
        if file.sha256 != model.sha256:
            raise ModelError(
                "the file has changed since it was read",
                where=model.path,
                expected=f"SHA-256 {model.sha256[:12]}",
                found=file.sha256[:12],
                next_step="Load it again.",
            )
        self.file, self.model = file, model
        graph = file.proto.graph
        self.maker = {name: node for node in graph.node for name in node.output if name}
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._order = {id(node): place for place, node in enumerate(graph.node)}

    def layer_model(self, layer: Layer) -> bytes:
        """Return the model from a layer's input edges to its output edge."""
        edges = self.model.edges
        inputs = {edges[name].onnx_name: edges[name] for name in layer.inputs}
        output = edges[layer.name]
        nodes = self._between(set(inputs), [output.onnx_name], layer)
        real = [
            e
            for e in (*inputs.values(), output)
            if e.params is not None and self._is_real(e.onnx_name)
        ]
        nodes, extra = _with_codes(nodes, real, set(inputs))
        # A tensor that the file holds dequantized is both: the codes and the reals made of them.
        same = output.onnx_name in inputs
        info = _info(f"{output.onnx_name}:real" if same else output.onnx_name, output.dtype)
        return self._model(nodes, list(inputs.values()), [info], extra)

    def _is_real(self, name: str) -> bool:
        """Whether the file's tensor of an edge holds real values: codes, dequantized and moved."""
        node = self.maker.get(name)
        while node is not None and node.op_type in MOVES:
            node = self.maker.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def accumulator_model(self, layer: Layer) -> tuple[bytes, NDArray[np.int32] | None] | None:
        """Return a model of a layer's integer sums, and the bias that they lack.

        ConvInteger or MatMulInteger stands in the place of the layer's own operator and reads
        the tensors that the operator reads, before dequantization.  None for other layers, and
        where the file's operator does not read integers directly.
        """
        if not isinstance(layer, (Conv, Dense)):
            return None
        source = self.model.edges[layer.inputs[0]]
        output = self.model.edges[layer.name].onnx_name
        cluster = self._between({source.onnx_name}, [output], layer)
        main = next((node for node in cluster if node.op_type in MAIN), None)
        operands = None if main is None else self._integer_operands(main, cluster)
        if main is None or operands is None:
            return None
        data, weight, bias = operands
        needed = [name for name in (*data, *weight) if name]
        nodes = self._between({source.onnx_name}, needed, layer)
        kind = "ConvInteger" if main.op_type in ("Conv", "QLinearConv") else "MatMulInteger"
        transposes = [*_transpose(main, "transA", data), *_transpose(main, "transB", weight)]
        zero, extra = (
            self._one_zero_point(weight[1], layer) if kind == "ConvInteger" else (weight[1], [])
        )
        names = [data[0], weight[0], data[1], zero]
        while not names[-1]:
            names.pop()
        node = helper.make_node(kind, names, ["sums"], name="sums")
        if kind == "ConvInteger":
            node.attribute.extend(main.attribute)
        info = _info("sums", np.dtype(np.int32))
        model = self._model([*nodes, *transposes, node], [source], [info], extra)
        return model, None if not bias else self._constant(bias, layer).astype(np.int32)

    def _between(self, inputs: set[str], outputs: list[str], layer: Layer) -> list[NodeProto]:
        """Return the nodes that make ``outputs`` from ``inputs`` and constants, in file order."""
        found: dict[int, NodeProto] = {}
        stack = list(outputs)
        while stack:
            name = stack.pop()
            if not name or name in inputs or name in self.initializers:
                continue
            node = self.maker.get(name)
            if node is None:
                raise ModelError(
                    "the layer depends on a graph input that the canonical view does not name",
                    where=f"{printable(str(self.model.path))}, layer {layer.name}",
                    found=printable(name),
                    next_step="Report this with the file: bitbybit should have named every input.",
                )
            if id(node) not in found:
                found[id(node)] = node
                stack.extend(node.input)
        return sorted(found.values(), key=lambda node: self._order[id(node)])

    def _integer_operands(
        self, main: NodeProto, cluster: list[NodeProto]
    ) -> tuple[list[str], list[str], str] | None:
        """Return (tensor, zero point) of data and weight, and the bias, as the file names them."""
        inputs = [*main.input, *[""] * (9 - len(main.input))]
        if main.op_type.startswith("Q"):
            bias = {"QLinearConv": inputs[8], "QGemm": inputs[6]}.get(main.op_type, "")
            return [inputs[0], inputs[2]], [inputs[3], inputs[5]], bias
        pairs = []
        for name in inputs[:2]:
            node = self.maker.get(name)
            if node is None or node.op_type != "DequantizeLinear":
                return None
            pairs.append([node.input[0], node.input[2] if len(node.input) > 2 else ""])
        bias = inputs[2] or _added(main, cluster)
        node = self.maker.get(bias)
        if bias and (node is None or node.op_type != "DequantizeLinear"):
            return None
        return pairs[0], pairs[1], "" if node is None else node.input[0]

    def _one_zero_point(self, name: str, layer: Layer) -> tuple[str, list[TensorProto]]:
        """Return a scalar in place of equal zero points: all that ConvInteger accepts."""
        if not name:
            return name, []
        values = self._constant(name, layer)
        if values.shape == ():
            return name, []
        if (values != values.flat[0]).any():
            raise UnsupportedError(
                "the zero points of a weight differ",
                where=printable(name),
                next_step="Quantize the weights with one zero point; symmetric weights have 0.",
            )
        return "zero", [numpy_helper.from_array(values.flat[0].reshape(()), "zero")]

    def _constant(self, name: str, layer: Layer) -> NDArray[Any]:
        """Return the values of an initializer, or of what nodes make of constants."""
        if name in self.initializers:
            return self._values(name)
        nodes = self._between(set(), [name], layer)
        return Session(self._model(nodes, [], [onnx.ValueInfoProto(name=name)])).run({})[0]

    def _values(self, name: str) -> NDArray[Any]:
        return tensor_values(self.initializers[name], self.file.folder, printable(name))

    def _model(
        self,
        nodes: list[NodeProto],
        inputs: list[Edge],
        outputs: list[onnx.ValueInfoProto],
        extra: list[TensorProto] | None = None,
    ) -> bytes:
        used = {name for node in nodes for name in node.input}
        constants = [
            tensor
            if tensor.data_location != TensorProto.EXTERNAL
            else numpy_helper.from_array(self._values(name), name)
            for name, tensor in self.initializers.items()
            if name in used
        ]
        graph = helper.make_graph(
            nodes,
            "layer",
            [_info(edge.onnx_name, edge.dtype) for edge in inputs],
            outputs,
            [*constants, *(extra or [])],
        )
        proto = self.file.proto
        model = helper.make_model(graph, opset_imports=proto.opset_import)
        model.ir_version = proto.ir_version
        return bytes(model.SerializeToString())


def _with_codes(
    nodes: list[NodeProto], edges: list[Edge], inputs: set[str]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Let edges that are real in the file enter and leave as codes under their own names."""
    constants, before, after = [], [], []
    renamed = {edge.onnx_name: f"{edge.onnx_name}:real" for edge in edges}
    for edge in edges:
        name, params = edge.onnx_name, edge.params
        if params is None:
            continue
        operands = [f"{name}:scale", f"{name}:zero_point"]
        constants += [
            numpy_helper.from_array(np.asarray(values), operand)
            for operand, values in zip(operands, (params.scale, params.zero_point), strict=True)
        ]
        if name in inputs:
            before.append(helper.make_node("DequantizeLinear", [name, *operands], [renamed[name]]))
        else:
            after.append(helper.make_node("QuantizeLinear", [renamed[name], *operands], [name]))
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
        copy.output[:] = [renamed.get(name, name) for name in node.output]
        copies.append(copy)
    return [*before, *copies, *after], constants


def _info(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)


def _transpose(main: NodeProto, attribute: str, pair: list[str]) -> list[NodeProto]:
    """Return a node that transposes the tensor of ``pair`` if the attribute asks for it."""
    if not any(a.name == attribute and a.i for a in main.attribute):
        return []
    name = f"{attribute}:{pair[0]}"
    node = helper.make_node("Transpose", [pair[0]], [name], name=name)
    pair[0] = name
    return [node]


def _added(main: NodeProto, cluster: list[NodeProto]) -> str:
    """Return the tensor that an Add node adds to the output of ``main``, "" without one."""
    for node in cluster:
        if node.op_type == "Add" and main.output[0] in node.input:
            return str(next(name for name in node.input if name != main.output[0]))
    return ""
