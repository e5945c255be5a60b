"""The quantization parameters of a layer: weight, bias, inputs and output, with their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.inspection.columns import Column
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
    layer : the layer
    role : ``"input"``, ``"input 2"``, ``"weight"``, ``"bias"`` or ``"output"``
    of : the tensor: an edge of the network, or a constant
    """

    layer: Layer
    role: str
    of: Edge | QuantizedTensor

    @property
    def tensor(self) -> str:
        """Name of the tensor in the file."""
        return self.of.onnx_name if isinstance(self.of, Edge) else self.of.name

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Its dimensions; None where the file leaves one open."""
        return self.of.shape if isinstance(self.of, Edge) else tuple(self.of.values.shape)

    @property
    def params(self) -> QuantParams | None:
        """Scale and zero point; None for a float tensor."""
        return self.of.params

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Dtype of the codes, or of the values of a float tensor."""
        if self.params is not None:
            return self.params.dtype
        return self.of.dtype if isinstance(self.of, Edge) else self.of.values.dtype

    @property
    def granularity(self) -> str:
        """``"per channel"``, ``"per tensor"`` or ``"float"``."""
        if self.params is None:
            return "float"
        return "per channel" if self.params.per_channel else "per tensor"

    @property
    def axis(self) -> int | None:
        """The channel axis; None per tensor."""
        return None if self.params is None else self.params.axis

    @property
    def scale(self) -> NDArray[np.float32] | None:
        """Float32, ``()`` or ``[C]``; None for a float tensor."""
        return None if self.params is None else self.params.scale

    @property
    def zero_point(self) -> AnyArray | None:
        """Dtype of the codes, shape of ``scale``; None for a float tensor."""
        return None if self.params is None else self.params.zero_point

    @property
    def scale_name(self) -> str:
        """Name of the scale's initializer, "" where the file has none."""
        return "" if self.params is None else self.params.scale_name

    @property
    def zero_point_name(self) -> str:
        """Name of the zero point's initializer, "" where the file has none."""
        return "" if self.params is None else self.params.zero_point_name


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
    ModelError
        No layer has this name.
    """
    layers = model.layers if layer is None else (model.layer(layer),)
    return [row for each in layers for row in _rows(model, each)]


def main_node(layer: Layer) -> tuple[str, str]:
    """Return type and name of the node that computes, a Q/DQ helper only if it is alone."""
    core = [node for node in layer.nodes if node[0] not in NODE_OPS] or list(layer.nodes)
    return core[0] if core else (layer.kind, "")


def _rows(model: QuantizedModel, layer: Layer) -> Iterator[ParameterRow]:
    for i, name in enumerate(layer.inputs):
        yield ParameterRow(layer, "input" if i == 0 else f"input {i + 1}", model.edges[name])
    if isinstance(layer, (Conv, Dense)):
        yield ParameterRow(layer, "weight", layer.weight)
        if layer.bias is not None:
            yield ParameterRow(layer, "bias", layer.bias)
    yield ParameterRow(layer, "output", model.edges[layer.name])


def scale_mean(scale: NDArray[np.float32]) -> float:
    """Return the mean of the scales, summed in float64."""
    return float(scale.mean(dtype=np.float64))


def _of_scales(what: Callable[[Any], Any]) -> Callable[[ParameterRow], Any]:
    return lambda row: None if row.scale is None or not row.scale.size else what(row.scale)


def _of_channels(what: Callable[[Any], Any]) -> Callable[[ParameterRow], Any]:
    """Take a fact of several scales, None where there is only one."""
    return lambda row: None if row.axis is None else _of_scales(what)(row)


def _of_zeros(what: Callable[[Any], Any]) -> Callable[[ParameterRow], Any]:
    return lambda row: None if row.zero_point is None else what(row.zero_point)


def _one_scale(row: ParameterRow) -> Any:
    return None if row.scale is None or row.axis is not None else row.scale[()]


def _zeros(zeros: AnyArray) -> int | str:
    """Return the one zero point, or the ends of several."""
    found = np.unique(zeros).tolist()
    return found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}"


PARAMETERS: tuple[Column[ParameterRow], ...] = (
    Column("role", "tensor", lambda row: row.role),
    Column("tensor", "name in the file", lambda row: row.tensor),
    Column("dtype", "dtype", lambda row: row.dtype.name),
    Column("shape", "shape", lambda row: row.shape),
    Column("granularity", "granularity", lambda row: row.granularity),
    Column("axis", "axis", lambda row: row.axis),
    Column("scale", "scales", lambda row: [] if row.scale is None else row.scale.reshape(-1)),
    Column("zero_point", "zero points", lambda row: _of_zeros(np.ravel)(row) if row.params else []),
    Column("scales", "number of scales", _of_scales(np.size)),
    Column("scale_least", "least scale", _of_scales(np.min)),
    Column("scale_mean", "mean scale", _of_scales(scale_mean)),
    Column("scale_greatest", "greatest scale", _of_scales(np.max)),
    Column("one_scale", "scale", _one_scale),
    Column("channel_least", "least scale", _of_channels(np.min)),
    Column("channel_mean", "mean scale", _of_channels(scale_mean)),
    Column("channel_greatest", "greatest scale", _of_channels(np.max)),
    Column("zero_point_least", "least zero point", _of_zeros(np.min)),
    Column("zero_point_greatest", "greatest zero point", _of_zeros(np.max)),
    Column("zeros", "zero point", _of_zeros(_zeros)),
    Column("scale_name", "scale initializer", lambda row: row.scale_name),
    Column("zero_point_name", "zero-point initializer", lambda row: row.zero_point_name),
)
