"""The constants of a float island."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from bitbybit.model.types import AnyArray, FloatIsland


def island_tensors(layer: FloatIsland) -> dict[str, AnyArray]:
    """Return the constants of an island's nodes by name, in the order of its model."""
    graph = onnx.ModelProto.FromString(layer.model).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}
