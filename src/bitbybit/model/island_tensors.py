"""The constants of a float island."""

from __future__ import annotations

import math

import onnx
from onnx import numpy_helper

from bitbybit.model.types import AnyArray, FloatIsland


def island_tensors(layer: FloatIsland) -> dict[str, AnyArray]:
    """Return the constants of an island's nodes by name, in the order of its model."""
    graph = onnx.ModelProto.FromString(layer.model).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def clip_limits(layer: FloatIsland) -> tuple[float, float] | None:
    """Return the constant limits of an island that is one Clip, None of any other island.

    A limit that the node leaves open is infinite.
    """
    graph = onnx.ModelProto.FromString(layer.model).graph
    if len(graph.node) != 1 or graph.node[0].op_type != "Clip":
        return None
    node, constants = graph.node[0], island_tensors(layer)
    limits = [-math.inf, math.inf]
    for attribute in node.attribute:  # before opset 11
        limits[("min", "max").index(attribute.name)] = float(attribute.f)
    for i, name in enumerate(node.input[1:3]):
        if name and (name not in constants or constants[name].size != 1):
            return None
        if name:
            limits[i] = float(constants[name].reshape(-1)[0])
    return limits[0], limits[1]
