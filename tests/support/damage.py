"""Ways to damage a model file, one contradiction at a time, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitbybit.errors import BitbybitError
from bitbybit.model.load import load

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


def sentence(model: onnx.ModelProto, tmp_path: Path) -> str:
    """Return the sentence with which a model is refused, without the path that it starts with."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BitbybitError) as error:
        load(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path)).lstrip(":, ")
