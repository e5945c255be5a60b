"""Ways to damage a model file: one contradiction at a time, or at random from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], None]


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """Return a node by name."""
    found: onnx.NodeProto = next(n for n in model.graph.node if n.name == name)
    return found


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    """Return an initializer by name."""
    found: TensorProto = next(t for t in model.graph.initializer if t.name == name)
    return found


def values(name: str, array: Any) -> Change:
    """Replace the values of an initializer."""

    def change(model: onnx.ModelProto) -> None:
        tensor(model, name).CopyFrom(numpy_helper.from_array(np.asarray(array), name))

    return change


def dims(name: str, *sizes: int) -> Change:
    """Let an initializer declare another shape."""

    def change(model: onnx.ModelProto) -> None:
        tensor(model, name).dims[:] = sizes

    return change


def attribute(name: str, key: str, value: Any) -> Change:
    """Set an attribute of a node."""

    def change(model: onnx.ModelProto) -> None:
        found = node(model, name)
        kept = [a for a in found.attribute if a.name != key]
        del found.attribute[:]
        found.attribute.extend([*kept, helper.make_attribute(key, value)])

    return change


def operator(name: str, op: str, domain: str = "") -> Change:
    """Let a node call another operator."""

    def change(model: onnx.ModelProto) -> None:
        node(model, name).op_type = op
        node(model, name).domain = domain

    return change


def reads(name: str, position: int, source: str) -> Change:
    """Let a node read another tensor."""

    def change(model: onnx.ModelProto) -> None:
        node(model, name).input[position] = source

    return change


def makes(name: str, result: str) -> Change:
    """Let a node make another tensor."""

    def change(model: onnx.ModelProto) -> None:
        node(model, name).output[0] = result

    return change


def image(axis: int, size: int) -> Change:
    """Change the declared size of the graph input."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size

    return change


def external(**entries: str) -> Change:
    """Move the values of ``stem/w`` to external data."""

    def change(model: onnx.ModelProto) -> None:
        weight = tensor(model, "stem/w")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            weight.external_data.add(key=key, value=value)

    return change


def together(*changes: Change) -> Change:
    """Apply several changes."""

    def change(model: onnx.ModelProto) -> None:
        for each in changes:
            each(model)

    return change


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """Change a few bytes, or one node or tensor, of a serialized model."""
    if rng.random() < 0.4:
        changed = bytearray(data)
        for place in rng.integers(len(changed), size=rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        return bytes(changed)
    model = onnx.ModelProto.FromString(data)
    if rng.random() < 0.5:
        _damage_node(rng, model)
    else:
        _damage_tensor(rng, model)
    return bytes(model.SerializeToString())


def _damage_node(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    found, other = nodes[rng.integers(len(nodes))], nodes[rng.integers(len(nodes))]
    kind = rng.integers(4)
    if kind == 0:
        del found.input[rng.integers(len(found.input) + 1) :]
    elif kind == 1 and found.input:
        found.input[rng.integers(len(found.input))] = other.output[0] if rng.random() < 0.8 else ""
    elif kind == 2 and found.attribute:
        a = found.attribute[rng.integers(len(found.attribute))]
        a.i = int(rng.choice([-1, 0, 7, 2**62]))
        a.ints[:] = [int(rng.choice([-1, 0, 3, 2**40])) for _ in a.ints]
        if rng.random() < 0.3:
            a.type = rng.integers(1, 15)
    else:
        found.op_type, found.domain = other.op_type, other.domain


def _damage_tensor(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    found = model.graph.initializer[rng.integers(len(model.graph.initializer))]
    kind = rng.integers(4)
    if kind == 0:
        found.data_type = rng.integers(24)
    elif kind == 1:
        found.dims[:] = [int(rng.choice([0, 1, 2, 2**40])) for _ in found.dims]
    elif kind == 2:
        found.raw_data = rng.bytes(len(found.raw_data))
    else:
        image(int(rng.integers(4)), int(rng.choice([-1, 0, 1, 2**60])))(model)
