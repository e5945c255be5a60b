"""Float islands: nodes that make no integer layer, in the smallest connected pieces.

In a quantized file an island grows from an edge backwards, over every float tensor that only
it reads, to the integer edges that feed it; so it has one output.  In a float file every node
is an island of its own.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bitbybit.errors import ModelError
from bitbybit.model.drafts import Draft
from bitbybit.model.graph import Node, Shape
from bitbybit.model.operators import MICROSOFT, operator
from bitbybit.model.recognise import Recogniser
from bitbybit.model.tensors import DTYPES
from bitbybit.model.types import FloatIsland, Quantize

_BOUNDARY = ("QuantizeLinear", "DequantizeLinear")


def island_drafts(r: Recogniser) -> list[Draft]:
    """Return one draft per island, and a Quantize layer for a QuantizeLinear left alone."""
    nodes = [n for n in r.graph.nodes if n.index in r.left]
    groups: dict[str, list[Node]] = {}
    group_of: dict[int, str] = {}
    for node in reversed(nodes):
        used = [o for o in node.outputs if o in r.graph.consumers or o in r.graph.output_set]
        if len(used) == 1:
            root = used[0]
            if _joins(r, root):
                owners = {group_of.get(c.index, "") for c in r.graph.consumers[root]}
                root = owners.pop() if len(owners) == 1 and "" not in owners else root
            group_of[node.index] = root
            groups.setdefault(root, []).append(node)
        else:
            groups.update({o: [node] for o in used})
    return [_draft(r, root, members[::-1]) for root, members in groups.items()]


def _joins(r: Recogniser, tensor: str) -> bool:
    if tensor in r.graph.output_set or r.values[tensor].kind == "codes":
        return False
    return r.quantized or tensor in r.shape_tensors


def _draft(r: Recogniser, root: str, body: list[Node]) -> Draft:
    params = r.params.get(root)
    if len(body) == 1 and body[0].op == "QuantizeLinear" and params is not None:
        value = r.values.get(body[0].inputs[0])
        if value is not None and value.kind == "pending":
            return Draft(Quantize, body[0], body, [value.edge], root, params)
    core = [n for n in body if n.op not in _BOUNDARY] or body
    reasons = [(n, r.left[n.index]) for n in body if r.left[n.index]]
    node, reason = reasons[0] if reasons else (core[0], "it works on float values")
    text = reason if reason.startswith(node.op) else f"{node.op}: {reason}"
    draft = Draft(FloatIsland, core[-1], body, [], root, params, reason=text)
    draft.inputs = island_inputs(r, draft)
    return draft


def island_inputs(r: Recogniser, draft: Draft) -> list[str]:
    """Return the edges that feed an island, each once, in order of first use."""
    inside = {o for n in draft.body for o in n.outputs}
    edges: dict[str, None] = {}
    for node in draft.body:
        for name in node.inputs:
            if name in r.values and name not in inside:
                edges[r.values[name].edge] = None
    return list(edges)


class IslandBuilder:
    """Writes the model of one island: its edges carry their canonical names."""

    def __init__(
        self, r: Recogniser, draft: Draft, names: dict[str, str], shapes: dict[str, Shape | None]
    ) -> None:
        self.r = r
        self.draft = draft
        self.names = names
        self.shapes = shapes
        self.name = names[draft.output]
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._made: dict[str, str] = {}

    def build(self) -> onnx.ModelProto:
        """Return the model, its output type inferred where ONNX can."""
        output = self.draft.output
        inside = {o for n in self.draft.body for o in n.outputs if o}
        self._made[output] = self.name
        if output not in inside:  # the codes behind a graph output: one node, its tensor is real
            self._made[self.draft.body[0].outputs[0]] = self.name
        for node in self.draft.body:
            self._copy(node, inside)
        inputs = [self._info(e, self.names[e]) for e in self.draft.inputs]
        result = (
            self._info(output, self.name)
            if output in self.r.dtypes
            else (onnx.ValueInfoProto(name=self.name))
        )
        graph = helper.make_graph(self.nodes, "island", inputs, [result], self.initializers)
        used = {n.domain for n in self.nodes} | {""}
        opsets = [
            helper.make_opsetid(d, v)
            for d, v in sorted(self.r.graph.file.opsets.items())
            if d in used
        ]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="bitbybit")
        model.ir_version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        return _inferred(model)

    def _info(self, edge: str, name: str) -> onnx.ValueInfoProto:
        dtype = self.r.dtypes.get(edge, np.dtype(np.float32))
        shape = self.shapes.get(edge)
        dims = None if shape is None else [f"d{i}" if d is None else d for i, d in enumerate(shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), dims)

    def _copy(self, node: Node, inside: set[str]) -> None:
        inputs = [self._input(name, inside) for name in node.inputs]
        outputs = [self._own(name) if name else "" for name in node.outputs]
        copy = NodeProto()
        copy.CopyFrom(node.proto)
        copy.ClearField("doc_string")
        copy.ClearField("metadata_props")
        main = node is self.draft.main
        copy.name = self.name if main else f"{self.name}/node{len(self.nodes)}"
        copy.domain = node.domain
        copy.input[:] = inputs
        copy.output[:] = outputs
        self.nodes.append(copy)

    def _own(self, tensor: str) -> str:
        return self._made.setdefault(tensor, f"{self.name}/{len(self._made)}")

    def _input(self, tensor: str, inside: set[str]) -> str:
        if not tensor or tensor in inside:
            return self._own(tensor) if tensor else ""
        value = self.r.values.get(tensor)
        if value is None:
            return self._constant(tensor)
        name = self.names[value.edge]
        if value.kind != "real" or self.draft.on_codes:
            return name
        if tensor not in self._made:
            params = self.r.params[value.edge]
            if params is None:
                raise ModelError("a tensor has no scale", where=self.draft.main.where)
            self._dequantize(tensor, name, params.scale, params.zero_point, params.axis)
        return self._made[tensor]

    def _constant(self, tensor: str) -> str:
        if tensor in self._made:
            return self._made[tensor]
        found = self.r.constants.get(tensor)
        if found is None:
            raise ModelError("a constant cannot be read", where=self.draft.main.where)
        if found.params is None:
            name = self._own(tensor)
            self.initializers.append(numpy_helper.from_array(np.array(found.values), name))
            return name
        codes = self._own(f"{tensor}/codes")
        self.initializers.append(numpy_helper.from_array(np.array(found.values), codes))
        p = found.params
        self._dequantize(tensor, codes, p.scale, p.zero_point, p.axis)
        return self._made[tensor]

    def _dequantize(
        self,
        tensor: str,
        codes: str,
        scale: np.typing.NDArray[np.float32],
        zero_point: np.typing.NDArray[np.generic],
        axis: int | None,
    ) -> None:
        """Add a DequantizeLinear node that makes ``tensor`` of ``codes``."""
        output = self._own(tensor)
        parts = (f"{output}_scale", f"{output}_zero_point")
        for name, value in zip(parts, (scale, zero_point), strict=True):
            self.initializers.append(numpy_helper.from_array(np.array(value), name))
        node = helper.make_node(
            "DequantizeLinear", [codes, *parts], [output], name=f"{output}_dequantize"
        )
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the type of its output, float32 of unknown shape as a last resort."""
    output = model.graph.output[0]
    inferred = infer_shapes(model).graph.output[0]
    if inferred.type.HasField("tensor_type"):
        output.CopyFrom(inferred)
    elif not output.type.HasField("tensor_type"):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
    return model


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an island's model with the shapes that ONNX can infer, QLinear operators included."""
    try:
        return onnx.shape_inference.infer_shapes(_float_twin(model))
    except Exception:  # noqa: BLE001 - the C++ code raises whatever it likes on odd nodes
        return model


def _float_twin(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the ONNX operator in place of each QLinear operator that it mimics.

    ONNX infers no shapes for com.microsoft; type checks are off, so that integers pass.
    """
    if all(n.domain != MICROSOFT for n in model.graph.node):
        return model
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for node in twin.graph.node:
        row = operator(node.op_type, node.domain)
        if node.domain == MICROSOFT and row is not None and row.twin:
            repeated = row.most_inputs is None  # QLinearConcat: values with their parameters
            data = node.input[2::3] if repeated else [node.input[i] for i in row.values[:2]]
            node.op_type, node.domain = row.twin, ""
            node.input[:] = list(data)
    return twin


def output_type(model: onnx.ModelProto) -> tuple[np.dtype[np.generic], Shape | None]:
    """Return dtype and shape of an island's output."""
    kind = model.graph.output[0].type.tensor_type
    dtype = DTYPES.get(kind.elem_type, np.dtype(np.float32))
    if not kind.HasField("shape"):
        return dtype, None
    dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return dtype, tuple(d if d is not None and d >= 0 else None for d in dims)
