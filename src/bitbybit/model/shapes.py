"""Shapes of all tensors, inferred once by ONNX.  A dimension is None where the file leaves it open.

ONNX sees the rewritten graph with Cast in the place of QuantizeLinear and DequantizeLinear, and
constants as typed inputs, so that neither opset nor size of the file matters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from bitbybit.model.graph import Graph, Shape, Step, declared_shape
from bitbybit.model.onnx_file import DTYPES, dtype_name
from bitbybit.model.operators import MICROSOFT, ONNX_DOMAIN, QUANTIZE, operator
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
        self._infos = _infos(_model(graph, steps, constant))

    def __getitem__(self, tensor: str) -> Shape | None:
        """Return the shape of a tensor, None if nothing is known about it."""
        info = self._infos.get(tensor)
        return None if info is None else declared_shape(info)

    def dtype(self, tensor: str) -> np.dtype[np.generic]:
        """Return the element type of a tensor, float32 if nothing is known about it."""
        info = self._infos.get(tensor)
        number = 0 if info is None else info.type.tensor_type.elem_type
        return DTYPES.get(number, np.dtype(np.float32))


def inferred(model: onnx.ModelProto) -> dict[str, ValueInfoProto]:
    """Return what ONNX can tell of the tensors of a file, com.microsoft operators included."""
    if any(node.domain == MICROSOFT for node in model.graph.node):
        twin = onnx.ModelProto()
        twin.CopyFrom(model)
        for node in twin.graph.node:
            _become_twin(node)
        model = twin
    return _infos(model)


def tensor_types(model: onnx.ModelProto) -> dict[str, tuple[str, Shape | None]]:
    """Return dtype and shape of every tensor of which the file or ONNX can tell."""
    found = {
        name: (dtype_name(info.type.tensor_type.elem_type), declared_shape(info))
        for name, info in inferred(model).items()
    }
    for tensor in model.graph.initializer:
        found[tensor.name] = (dtype_name(tensor.data_type), tuple(tensor.dims))
    return found


def _infos(model: onnx.ModelProto) -> dict[str, ValueInfoProto]:
    """Return type and shape of each tensor; only those declared where ONNX cannot infer."""
    try:
        computes = any(node.op_type == "Shape" for node in model.graph.node)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=computes).graph
    except Exception:  # noqa: BLE001 - the C++ code raises whatever it likes on odd nodes
        graph = model.graph
    return {info.name: info for info in (*graph.value_info, *graph.output, *graph.input)}


def _model(graph: Graph, steps: list[Step], constant: _Constant) -> onnx.ModelProto:
    """Return the model of which ONNX infers the shapes."""
    opset = graph.file.opsets[ONNX_DOMAIN]
    nodes = [_node(step, opset) for step in steps]
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
    made = [ValueInfoProto(name=n) for step in steps[-1:] for n in step.outputs[:1]]
    proto = helper.make_graph(nodes, "shapes", inputs, made, initializers)
    opsets = {ONNX_DOMAIN: opset, MICROSOFT: 1} | graph.file.opsets
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(proto, opset_imports=imports)


def _node(step: Step, opset: int) -> NodeProto:
    """Return a step as a node whose shape ONNX infers."""
    if step.params is not None:  # it converts: QuantizeLinear or DequantizeLinear
        dtype = step.params.dtype if step.op == QUANTIZE else np.dtype(np.float32)
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_node("Cast", [step.inputs[0]], step.outputs, to=kind)
    node = NodeProto(op_type=step.op, input=step.inputs, output=step.outputs)
    node.domain = step.node.domain
    node.attribute.extend(_attributes(step))
    # ONNX misreads negative axes where its operator did not know them yet: no shape, then
    if step.op == "Unsqueeze" and opset < 11 and min(step.node.ints("axes", (0,))) < 0:
        node.domain = MICROSOFT
    if step.op == step.node.op:
        _become_twin(node)
    elif not step.node.int("channels_last", 0):
        node.domain = ONNX_DOMAIN
    return node


def _become_twin(node: NodeProto) -> None:
    """Put the ONNX operator that it mimics in the place of a com.microsoft node."""
    row = operator(node.op_type, node.domain)
    last = any(a.name == "channels_last" and a.i for a in node.attribute)
    if node.domain == MICROSOFT and row is not None and row.twin and not last:
        repeated = row.most_inputs is None  # QLinearConcat: values with their parameters
        data = node.input[2::3] if repeated else [node.input[i] for i in row.values[:2]]
        node.op_type, node.domain = row.twin, ONNX_DOMAIN
        node.input[:] = list(data)


def _attributes(step: Step) -> list[AttributeProto]:
    """Return the attributes of a node; a pool counts its windows as ONNX Runtime does.

    With ``ceil_mode`` a last window that begins in the pads at the end is left out, which ONNX
    forgets.  Both say the same without ``ceil_mode`` and with ``min(pad + stride - 1, span - 1)``
    pads at the end.
    """
    found = step.node.attributes
    kernel = step.node.ints("kernel_shape", ())
    axes = len(kernel)
    strides = step.node.ints("strides", (1,) * axes)
    dilations = step.node.ints("dilations", (1,) * axes)
    pads = step.node.ints("pads", (0,) * 2 * axes)
    as_onnx = not step.node.int("ceil_mode", 0)
    as_onnx |= step.node.text("auto_pad", "").startswith("SAME")
    if as_onnx or not axes == len(strides) == len(dilations) == len(pads) // 2 or not axes:
        return list(found.values())
    ends = (
        min(pad + stride - 1, (size - 1) * dilation)
        for pad, stride, size, dilation in zip(pads[axes:], strides, kernel, dilations, strict=True)
    )
    changed = {"pads": [*pads[:axes], *ends], "ceil_mode": 0, "auto_pad": "NOTSET"}
    kept = [a for name, a in found.items() if name not in changed]
    return kept + [helper.make_attribute(name, value) for name, value in changed.items()]
