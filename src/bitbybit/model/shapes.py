"""Shapes of all tensors, inferred once by ONNX.  A dimension is None where the file leaves it open.

ONNX sees the rewritten graph with Cast in the place of QuantizeLinear and DequantizeLinear, and
constants as typed inputs, so that neither opset nor size of the file matters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from bitbybit.model.graph import Graph, Shape, Step, declared_shape
from bitbybit.model.onnx_file import DTYPES
from bitbybit.model.operators import DEQUANTIZE, MICROSOFT, OPERATORS, QUANTIZE, operator
from bitbybit.model.types import QuantizedTensor

_Constant = Callable[[str], QuantizedTensor | None]

_SMALL = 64
"""Elements of a constant that may name a shape, an axis or a size."""


class Shapes:
    """Shape and element type of every tensor of a rewritten graph.

    Parameters
    ----------
    graph : the file's graph
    steps : the rewritten one
    constant : returns a constant of it, None for other tensors
    """

    def __init__(self, graph: Graph, steps: list[Step], constant: _Constant) -> None:
        inferred = _inferred(graph, steps, constant)
        self._infos = {info.name: info for info in (*inferred, *graph.inputs)}

    def __getitem__(self, tensor: str) -> Shape | None:
        """Return the shape of a tensor, None if nothing is known about it."""
        info = self._infos.get(tensor)
        return None if info is None else declared_shape(info)

    def dtype(self, tensor: str) -> np.dtype[np.generic]:
        """Return the element type of a tensor, float32 if nothing is known about it."""
        info = self._infos.get(tensor)
        number = 0 if info is None else info.type.tensor_type.elem_type
        return DTYPES.get(number, np.dtype(np.float32))


def _inferred(graph: Graph, steps: list[Step], constant: _Constant) -> list[onnx.ValueInfoProto]:
    nodes = [_node(step, graph.file.opsets[""]) for step in steps]
    inputs, initializers = list(graph.inputs), []
    for name in dict.fromkeys(name for node in nodes for name in node.input if name):
        found = constant(name)
        if found is None:
            continue
        values = found.values
        if found.params is None and values.size <= _SMALL:
            flat = np.ascontiguousarray(values).reshape(values.shape)
            initializers.append(numpy_helper.from_array(flat, name))
            continue
        kind = TensorProto.FLOAT
        if found.params is None:
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        inputs.append(helper.make_tensor_value_info(name, kind, values.shape))
    made = [onnx.ValueInfoProto(name=n) for step in steps[-1:] for n in step.outputs[:1]]
    proto = helper.make_graph(nodes, "shapes", inputs, made, initializers)
    opsets = {"": graph.file.opsets[""], MICROSOFT: 1} | graph.file.opsets
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        model = helper.make_model(proto, opset_imports=imports)
        found_graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # noqa: BLE001 - the C++ code raises whatever it likes on odd nodes
        return []
    return [*found_graph.value_info, *found_graph.output]


def _node(step: Step, opset: int) -> NodeProto:
    """Return a step as a node whose shape ONNX infers."""
    if step.op in (QUANTIZE, DEQUANTIZE) and step.params is not None:
        dtype = step.params.dtype if step.op == QUANTIZE else np.dtype(np.float32)
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_node("Cast", [step.inputs[0]], step.outputs, to=kind)
    node = NodeProto(op_type=step.op, input=step.inputs, output=step.outputs)
    row = OPERATORS.get(step.node.op)
    twin = row is not None and row.twin == step.op and not step.node.int("channels_last", 0)
    # ONNX misreads negative axes where its operator did not know them yet: no shape, then
    early = step.op == "Unsqueeze" and opset < 11 and min(step.node.ints("axes", (0,))) < 0
    node.domain = "" if twin else MICROSOFT if early else step.node.domain
    if row is not None and row.twin and row.most_inputs is None:  # values with their parameters
        node.op_type, node.domain = row.twin, ""
        node.input[:] = step.inputs[2::3]
    node.attribute.extend(_attributes(step))
    return node


def _attributes(step: Step) -> list[AttributeProto]:
    """Return the attributes of a node; a pool counts its windows as ONNX Runtime does.

    With ``ceil_mode`` a last window that begins in the pads at the end is left out, which ONNX
    forgets.  Both say the same without ``ceil_mode`` and with ``min(pad + stride - 1, span - 1)``
    pads at the end.
    """
    found = step.node.attributes
    kernel = step.node.ints("kernel_shape", ())
    if not step.node.int("ceil_mode", 0) or step.node.text("auto_pad", "").startswith("SAME"):
        return list(found.values())
    axes = len(kernel)
    strides = step.node.ints("strides", (1,) * axes)
    dilations = step.node.ints("dilations", (1,) * axes)
    pads = step.node.ints("pads", (0,) * 2 * axes)
    if not axes == len(strides) == len(dilations) == len(pads) // 2 or not axes:
        return list(found.values())
    ends = (
        min(pad + stride - 1, (size - 1) * dilation)
        for pad, stride, size, dilation in zip(pads[axes:], strides, kernel, dilations, strict=True)
    )
    changed = {"pads": [*pads[:axes], *ends], "ceil_mode": 0, "auto_pad": "NOTSET"}
    kept = [a for name, a in found.items() if name not in changed]
    return kept + [helper.make_attribute(name, value) for name, value in changed.items()]


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the shapes that ONNX can infer, com.microsoft operators included."""
    twin = model
    if any(n.domain == MICROSOFT for n in model.graph.node):
        twin = onnx.ModelProto()
        twin.CopyFrom(model)
        for node in twin.graph.node:
            _as_twin(node)
    try:
        return onnx.shape_inference.infer_shapes(twin)
    except Exception:  # noqa: BLE001 - the C++ code raises whatever it likes on odd nodes
        return model


def _as_twin(node: NodeProto) -> None:
    """Put the ONNX operator that it mimics in the place of a com.microsoft node."""
    row = operator(node.op_type, node.domain)
    if node.domain == MICROSOFT and row is not None and row.twin:
        repeated = row.most_inputs is None  # QLinearConcat: values with their parameters
        data = node.input[2::3] if repeated else [node.input[i] for i in row.values[:2]]
        node.op_type, node.domain = row.twin, ""
        node.input[:] = list(data)
