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
from bitbybit.errors import ModelError
from bitbybit.model.fold import Constants
from bitbybit.model.graph import Graph, Node
from bitbybit.model.load import load
from bitbybit.model.onnx_file import DTYPES, type_name
from bitbybit.model.operators import OPERATORS, Operand, Operator, operator
from bitbybit.model.shapes import infer_shapes
from bitbybit.model.types import AnyArray, QuantizedModel
from bitbybit.text import printable

Record = dict[str, Any]


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
    graph = parsed(load(path))
    constants = Constants(graph)
    tensors = tensor_types(graph.file.proto)
    found = [n for n in graph.nodes if _is_quantized(graph, n)]
    counts = Counter(node.op for node in graph.nodes)
    opsets = graph.file.opsets
    return {
        "model_path": graph.file.path.name,
        "sha256": graph.file.sha256,
        "opset_version": opsets[""],
        "opsets": {domain or "ai.onnx": version for domain, version in opsets.items()},
        "operations": [_operation(constants, node, tensors) for node in found],
        "summary": {
            "total_nodes": len(graph.nodes),
            "qlinear_nodes": sum(bool(row(n) and OPERATORS[n.op].twin) for n in found),
            "quantization_nodes": len(found),
            "op_type_counts": dict(sorted(counts.items())),
        },
    }


def parsed(model: QuantizedModel) -> Graph:
    """Return the parsed file that a network keeps."""
    if model.source is None:
        raise ModelError(
            "the network was made in memory and has no file",
            where=model.path,
            next_step="Write it with bitbybit.write, and load that file.",
        )
    return model.source


def row(node: Node) -> Operator | None:
    """Return the row of a node's operator in the table of operators."""
    return operator(node.op, node.domain)


def scales_of(node: Node) -> list[Operand]:
    """Return the operands of a node that have a scale or a zero point among its inputs."""
    found = row(node)
    return [] if found is None else list(found.operands)


def _is_quantized(graph: Graph, node: Node) -> bool:
    found = row(node)
    if found is not None and found.on_codes:
        return True
    makers = [graph.producer.get(name) for name in node.inputs]
    readers = [r for name in node.outputs for r in graph.consumers.get(name, [])]
    return any(m is not None and m.op == "DequantizeLinear" for m in makers) or any(
        r.op == "QuantizeLinear" for r in readers
    )


def _operation(constants: Constants, node: Node, tensors: dict[str, Record]) -> Record:
    names = [n for n in (*node.inputs, *node.outputs) if n in tensors]
    return {
        "name": node.name,
        "op_type": node.op,
        "domain": node.domain or "ai.onnx",
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attributes": {name: _attribute(a) for name, a in sorted(node.attributes.items())},
        "tensors": {name: tensors[name] for name in names},
        "scales": {
            f"{operand.name}_scale": _parameter(constants, node, operand, operand.scale)
            for operand in scales_of(node)
            if operand.scale is not None
        },
        "zero_points": {
            f"{operand.name}_zero_point": _parameter(constants, node, operand, operand.zero_point)
            for operand in scales_of(node)
            if operand.zero_point is not None
        },
    }


def _parameter(constants: Constants, node: Node, operand: Operand, position: int) -> Record:
    """Return a scale or zero point; a missing zero point is 0, a computed one has no values."""
    name = node.input(position)
    record: Record = {"name": name, "dtype": None, "shape": None, "axis": None, "value": None}
    if not name:
        return record | {"value": 0, "shape": []}
    values = constants.plain(name)
    if values is None:
        return record
    axis = _axis(node, operand) if values.size > 1 else None
    record |= {"dtype": str(values.dtype), "shape": list(values.shape), "axis": axis}
    if values.dtype == np.float32 and np.isfinite(values).all():
        scale = values.astype(np.float32, copy=False)
        return record | {"value": shortest(scale), "hex": hex_float(scale)}
    return record | {"value": _finite(values)}


def _axis(node: Node, operand: Operand) -> int:
    """Return the axis of several scales: the output channels of a weight, else axis 1."""
    if node.op in ("QuantizeLinear", "DequantizeLinear"):
        return node.int("axis", 1)
    found = row(node)
    if found is None or found.weight_axis is None or operand.value != found.weight:
        return 1
    return 1 - found.weight_axis if node.int("transB", 0) else found.weight_axis


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
