"""The quantization parameters of a layer: weight, bias, inputs and output, with their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Edge,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)

NODE_OPS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, eq=False)
class ParameterRow:
    """One tensor of one layer and its parameters.

    Attributes
    ----------
    layer : canonical name of the layer
    node_type, node_name : of the ONNX node that computes (not of its Q/DQ helpers)
    role : ``"input"``, ``"input 2"``, ``"weight"``, ``"bias"`` or ``"output"``
    tensor : name of the tensor in the file
    shape : None where the file leaves a dimension open
    dtype : dtype of the codes, or of the values of a float tensor
    axis : the channel axis; None per tensor
    scale : float32, ``()`` or ``[C]``; None for a float tensor
    zero_point : dtype of the codes, same shape; None for a float tensor
    scale_name, zero_point_name : names of the initializers, "" where the file has none
    """

    layer: str
    node_type: str
    node_name: str
    role: str
    tensor: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]
    axis: int | None = None
    scale: NDArray[np.float32] | None = None
    zero_point: AnyArray | None = None
    scale_name: str = ""
    zero_point_name: str = ""

    @property
    def granularity(self) -> str:
        """``"per channel"``, ``"per tensor"`` or ``"float"``."""
        if self.scale is None:
            return "float"
        return "per tensor" if self.axis is None else "per channel"


def parameter_rows(model: QuantizedModel, layer: str | None = None) -> list[ParameterRow]:
    """Return the parameters of one layer, or of all layers in graph order.

    Parameters
    ----------
    model
        A quantized or float network.
    layer
        Canonical name of a layer.

    Raises
    ------
    KeyError
        If no layer has this name.
    """
    layers = model.layers if layer is None else (model.layer(layer),)
    return [row for each in layers for row in _rows(model, each)]


def main_node(layer: Layer) -> tuple[str, str]:
    """Return type and name of the node that computes, a Q/DQ helper only if it is alone."""
    core = [node for node in layer.nodes if node[0] not in NODE_OPS] or list(layer.nodes)
    return core[0] if core else (layer.kind, "")


def _rows(model: QuantizedModel, layer: Layer) -> Iterator[ParameterRow]:
    for i, name in enumerate(layer.inputs):
        edge = model.edges[name]
        yield _row(layer, "input" if i == 0 else f"input {i + 1}", edge)
    if isinstance(layer, (Conv, Dense)):
        yield _row(layer, "weight", layer.weight)
        if layer.bias is not None:
            yield _row(layer, "bias", layer.bias)
    yield _row(layer, "output", model.edges[layer.name])


def _row(layer: Layer, role: str, tensor: Edge | QuantizedTensor) -> ParameterRow:
    node_type, node_name = main_node(layer)
    params: QuantParams | None = tensor.params
    if isinstance(tensor, Edge):
        name, shape, dtype = tensor.onnx_name, tensor.shape, tensor.dtype
    else:
        name, shape, dtype = tensor.name, tuple(tensor.values.shape), tensor.values.dtype
    if params is None:
        return ParameterRow(layer.name, node_type, node_name, role, name, shape, dtype)
    return ParameterRow(
        layer.name,
        node_type,
        node_name,
        role,
        name,
        shape,
        params.dtype,
        params.axis,
        params.scale,
        params.zero_point,
        params.scale_name,
        params.zero_point_name,
    )
