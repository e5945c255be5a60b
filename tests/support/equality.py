"""Are two models the same network?  Names, shapes, integers and parameters, not file details."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from bitbybit.model.types import Layer, QuantizedModel, QuantizedTensor, QuantParams

_FILE_DETAILS = ("nodes",)


def equivalent(a: QuantizedModel, b: QuantizedModel) -> str:
    """Return the first difference between two models, "" if they are the same network.

    Compared: layers in order with their kind, name, edges, integers and attributes; edges with
    shape, dtype, scale and zero point, all with ``==``.  Not compared: path, hash, form,
    opsets, and the names that initializers, tensors and nodes have in the file.
    """
    for field in ("inputs", "outputs"):
        if getattr(a, field) != getattr(b, field):
            return f"{field}: {getattr(a, field)} != {getattr(b, field)}"
    for left, right in zip(a.layers, b.layers, strict=False):
        found = _layer_difference(left, right)
        if found:
            return f"layer {left.name}: {found}"
    if len(a.layers) != len(b.layers):
        return f"number of layers: {len(a.layers)} != {len(b.layers)}"
    return _edge_difference(a, b)


def _edge_difference(a: QuantizedModel, b: QuantizedModel) -> str:
    if list(a.edges) != list(b.edges):
        return f"edges: {sorted(set(a.edges) ^ set(b.edges)) or 'another order'}"
    for name, edge in a.edges.items():
        other = b.edges[name]
        if (edge.shape, edge.dtype) != (other.shape, other.dtype):
            return f"edge {name}: {edge.shape} {edge.dtype} != {other.shape} {other.dtype}"
        if not _same(edge.params, other.params):
            return f"edge {name}: {_show(edge.params)} != {_show(other.params)}"
    return ""


def _layer_difference(a: Layer, b: Layer) -> str:
    if a.kind != b.kind:
        return f"kind {a.kind} != {b.kind}"
    for field in fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if field.name in _FILE_DETAILS:
            continue
        if isinstance(left, QuantizedTensor) and isinstance(right, QuantizedTensor):
            if left.values.dtype != right.values.dtype or left.values.shape != right.values.shape:
                return f"{field.name} has another dtype or shape"
            if not np.array_equal(left.values, right.values):
                return f"{field.name} holds other values"
            if not _same(left.params, right.params):
                return f"{field.name}: {_show(left.params)} != {_show(right.params)}"
        elif left != right:
            shown = (left, right) if not isinstance(left, bytes) else (len(left), len(right))
            return f"{field.name}: {shown[0]} != {shown[1]}"
    return ""


def _same(a: QuantParams | None, b: QuantParams | None) -> bool:
    return a is b if a is None or b is None else a.same_as(b)


def _show(params: QuantParams | None) -> str:
    if params is None:
        return "float"
    return f"scale {params.scale} zero point {params.zero_point} axis {params.axis}"
