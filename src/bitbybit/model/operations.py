"""Every operation of an ONNX file that has to do with quantization, as plain data."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from bitbybit.digits import hex_float, shortest
from bitbybit.model.constants import Constants
from bitbybit.model.files import read_file
from bitbybit.model.graph import Graph, Node, read_graph
from bitbybit.model.islands import infer_shapes
from bitbybit.model.reader import load
from bitbybit.model.tensors import DTYPES, type_name
from bitbybit.model.types import AnyArray
from bitbybit.text import printable

Record = dict[str, Any]

PARAMETERS: dict[str, tuple[tuple[str, int], ...]] = {
    "QuantizeLinear": (("y", 1),),
    "DequantizeLinear": (("x", 1),),
    "QLinearConv": (("x", 1), ("w", 4), ("y", 6)),
    "QLinearMatMul": (("a", 1), ("b", 4), ("y", 6)),
    "QGemm": (("a", 1), ("b", 4), ("y", 7)),
    "QLinearAdd": (("A", 1), ("B", 4), ("C", 6)),
    "QLinearMul": (("A", 1), ("B", 4), ("C", 6)),
    "QLinearGlobalAveragePool": (("x", 1), ("y", 3)),
    "QLinearAveragePool": (("x", 1), ("y", 3)),
    "QLinearSigmoid": (("X", 1), ("Y", 3)),
    "QLinearLeakyRelu": (("X", 1), ("Y", 3)),
    "QLinearSoftmax": (("X", 1), ("Y", 3)),
    "QLinearReduceMean": (("data", 1), ("reduced", 3)),
    "QLinearConcat": (("Y", 0),),
}
"""Operator → the operands that have a scale, and its input position; the zero point follows."""

_ZERO_POINT_ONLY = {"ConvInteger": (("x", 2), ("w", 3)), "MatMulInteger": (("a", 2), ("b", 3))}


def operations(path: str | os.PathLike[str]) -> Record:
    """Return the quantization-related operations of an ONNX file.

    These are the operators on codes, QuantizeLinear, DequantizeLinear, and every node that
    reads what DequantizeLinear made or makes what QuantizeLinear reads.

    Returns
    -------
    A record that JSON can hold: ``model_path`` (the file's name), ``sha256``, ``opset_version``
    (of the ONNX domain), ``opsets`` (all domains), ``operations`` in graph order, each with
    ``name, op_type, domain, inputs, outputs, attributes, tensors`` (dtype and shape by tensor
    name), ``scales`` and ``zero_points`` (by the operator's own argument name: initializer,
    values, dtype, shape, axis), and ``summary`` (``total_nodes, qlinear_nodes,
    op_type_counts``).

    Raises
    ------
    ModelError, UnsupportedError : as :func:`bitbybit.load`
    """
    load(path)  # refuses what contradicts itself
    file = read_file(path)
    graph = read_graph(file)
    constants = Constants(graph)
    for node in graph.nodes:
        constants.fold(node)
    tensors = tensor_types(file.proto)
    found = [n for n in graph.nodes if _is_quantized(graph, n)]
    records = [_operation(constants, node, tensors) for node in found]
    counts = Counter(node.op for node in graph.nodes)
    return {
        "model_path": file.path.name,
        "sha256": file.sha256,
        "opset_version": file.opsets[""],
        "opsets": {domain or "ai.onnx": version for domain, version in file.opsets.items()},
        "operations": records,
        "summary": {
            "total_nodes": len(graph.nodes),
            "qlinear_nodes": sum(n.op.startswith("QLinear") or n.op == "QGemm" for n in found),
            "quantization_nodes": len(found),
            "op_type_counts": dict(sorted(counts.items())),
        },
    }


def _is_quantized(graph: Graph, node: Node) -> bool:
    if node.op in PARAMETERS or node.op in _ZERO_POINT_ONLY or node.op == "DynamicQuantizeLinear":
        return True
    makers = [graph.producer.get(name) for name in node.inputs]
    readers = [r for name in node.outputs for r in graph.consumers.get(name, [])]
    return any(m is not None and m.op == "DequantizeLinear" for m in makers) or any(
        r.op == "QuantizeLinear" for r in readers
    )


def _operation(constants: Constants, node: Node, tensors: dict[str, Record]) -> Record:
    scales: Record = {}
    zero_points: Record = {}
    for operand, position in PARAMETERS.get(node.op, ()):
        scales[f"{operand}_scale"] = _parameter(constants, node, position)
        zero_points[f"{operand}_zero_point"] = _parameter(constants, node, position + 1)
    for operand, position in _ZERO_POINT_ONLY.get(node.op, ()):
        zero_points[f"{operand}_zero_point"] = _parameter(constants, node, position)
    names = [n for n in (*node.inputs, *node.outputs) if n in tensors]
    return {
        "name": node.name,
        "op_type": node.op,
        "domain": node.domain or "ai.onnx",
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attributes": {name: _attribute(a) for name, a in sorted(node.attributes.items())},
        "tensors": {name: tensors[name] for name in names},
        "scales": scales,
        "zero_points": zero_points,
    }


def _parameter(constants: Constants, node: Node, position: int) -> Record:
    """Return a scale or zero point; a missing zero point is 0, a computed one has no values."""
    name = node.input(position)
    record: Record = {"name": name, "dtype": None, "shape": None, "axis": None, "value": None}
    if not name:
        return record | {"value": 0, "shape": []}
    values = constants.plain(name)
    if values is None:
        return record
    axis = _axis(node, position) if values.size > 1 else None
    record |= {"dtype": str(values.dtype), "shape": list(values.shape), "axis": axis}
    if values.dtype == np.float32 and np.isfinite(values).all():
        scale = values.astype(np.float32, copy=False)
        return record | {"value": shortest(scale), "hex": hex_float(scale)}
    return record | {"value": _finite(values)}


def _axis(node: Node, position: int) -> int:
    """Return the axis of several scales: the channels of a convolution, columns of a matrix."""
    if node.op in ("QuantizeLinear", "DequantizeLinear"):
        return node.int("axis", 1)
    if node.op == "QGemm" and position < 6:
        return 0 if node.int("transB", 0) else 1
    return 0 if node.op in ("QLinearConv", "ConvInteger") else 1


def _finite(values: AnyArray) -> Any:
    """Return values for JSON, which knows no NaN and no infinity."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return [str(v) for v in values.reshape(-1)]
    return values.tolist()


def _attribute(attribute: AttributeProto) -> Any:
    """Return an attribute's value: text for bytes, type and shape for a tensor."""
    if attribute.type == AttributeProto.TENSOR:
        tensor = attribute.t
        return {"dtype": _dtype(tensor.data_type), "shape": list(tensor.dims)}
    if attribute.type not in _SIMPLE:
        return f"attribute of type {attribute.type}"
    value = helper.get_attribute_value(attribute)
    return (
        [_plain(v) for v in value]
        if isinstance(value, Iterable) and not isinstance(value, bytes)
        else _plain(value)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


_SIMPLE = (
    AttributeProto.INT,
    AttributeProto.FLOAT,
    AttributeProto.STRING,
    AttributeProto.INTS,
    AttributeProto.FLOATS,
    AttributeProto.STRINGS,
)


def tensor_types(proto: onnx.ModelProto) -> dict[str, Record]:
    """Return dtype and shape of every tensor of which ONNX can tell."""
    found: dict[str, Record] = {}
    graph = infer_shapes(proto).graph
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        shape = dims if kind.HasField("shape") else None
        found[info.name] = {"dtype": _dtype(kind.elem_type), "shape": shape}
    for tensor in proto.graph.initializer:
        dims = list(tensor.dims)
        found[tensor.name] = {"dtype": _dtype(tensor.data_type), "shape": dims}
    return found


def _dtype(data_type: int) -> str:
    return str(DTYPES[data_type]) if data_type in DTYPES else type_name(data_type)
