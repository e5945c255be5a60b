"""Every quantized operation of a file with its scales and zero points, as plain data."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any

import numpy as np
from onnx import AttributeProto, helper

from bitbybit.digits import hex_float, shortest
from bitbybit.model.dataflow import parsed, scales_of
from bitbybit.model.fold import Constants
from bitbybit.model.graph import Graph, Node
from bitbybit.model.load import load
from bitbybit.model.onnx_file import dtype_name
from bitbybit.model.operators import DEQUANTIZE, QUANTIZE, Operand
from bitbybit.model.shapes import tensor_types
from bitbybit.model.types import AnyArray
from bitbybit.text import printable

Record = dict[str, Any]
Types = dict[str, tuple[str, tuple[int | None, ...] | None]]


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
    types = tensor_types(graph.file.proto)
    found = [n for n in graph.nodes if _is_quantized(graph, n)]
    counts = Counter(node.op for node in graph.nodes)
    opsets = graph.file.opsets
    return {
        "model_path": graph.file.path.name,
        "sha256": graph.file.sha256,
        "opset_version": opsets[""],
        "opsets": {domain or "ai.onnx": version for domain, version in opsets.items()},
        "operations": [_operation(graph.constants, node, types) for node in found],
        "summary": {
            "total_nodes": len(graph.nodes),
            "qlinear_nodes": sum(n.row is not None and n.row.twin != "" for n in found),
            "quantization_nodes": len(found),
            "op_type_counts": dict(sorted(counts.items())),
        },
    }


def _is_quantized(graph: Graph, node: Node) -> bool:
    if node.row is not None and node.row.on_codes:
        return True
    makers = [graph.producer.get(name) for name in node.inputs]
    readers = [r for name in node.outputs for r in graph.consumers.get(name, [])]
    return any(m is not None and m.op == DEQUANTIZE for m in makers) or any(
        r.op == QUANTIZE for r in readers
    )


def _operation(constants: Constants, node: Node, types: Types) -> Record:
    names = [n for n in (*node.inputs, *node.outputs) if n in types]
    parameters: dict[str, Record] = {"scale": {}, "zero_point": {}}
    for operand in scales_of(node):
        for part, found in parameters.items():
            position = getattr(operand, part)
            if position is not None:
                found[f"{operand.name}_{part}"] = _parameter(constants, node, operand, position)
    return {
        "name": node.name,
        "op_type": node.op,
        "domain": node.domain or "ai.onnx",
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attributes": {name: _attribute(a) for name, a in sorted(node.attributes.items())},
        "tensors": {name: {"dtype": types[name][0], "shape": types[name][1]} for name in names},
        "scales": parameters["scale"],
        "zero_points": parameters["zero_point"],
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
    if node.op in (QUANTIZE, DEQUANTIZE):
        return node.int("axis", 1)
    row = node.row
    if row is None or row.weight_axis is None or operand.value != row.weight:
        return 1
    return 1 - row.weight_axis if node.int("transB", 0) else row.weight_axis


def _finite(values: AnyArray) -> Any:
    """Return values for JSON, which knows no NaN, no infinity and no complex number."""
    flat = values.reshape(-1).tolist()
    if all(isinstance(v, (int, float)) and math.isfinite(v) for v in flat):
        return values.tolist()
    return [str(v) for v in flat]


def _attribute(attribute: AttributeProto) -> Any:
    """Return an attribute's value: text for bytes, type and shape for a tensor."""
    kind = AttributeProto.AttributeType.Name(attribute.type)
    if kind == "TENSOR":
        return {"dtype": dtype_name(attribute.t.data_type), "shape": list(attribute.t.dims)}
    if kind.removesuffix("S") not in ("INT", "FLOAT", "STRING"):
        return f"attribute of type {attribute.type}"
    value = helper.get_attribute_value(attribute)
    return [_plain(v) for v in value] if kind.endswith("S") else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
