"""What a network consists of, layer by layer: shapes, costs, quantization parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import hex_float, shortest
from bitbybit.inspection.columns import Column, as_json, at, pick
from bitbybit.model.costs import Cost, cost
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Edge,
    FloatIsland,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class LayerStructure:
    """A layer of a network, with its cost."""

    model: QuantizedModel
    layer: Layer

    @property
    def name(self) -> str:
        """Canonical name of the layer."""
        return self.layer.name

    @cached_property
    def cost(self) -> Cost:
        """Shape, operations and storage."""
        return cost(self.model, self.layer)

    @property
    def inputs(self) -> list[Edge]:
        """What the layer reads."""
        return [self.model.edges[name] for name in self.layer.inputs]

    @property
    def output(self) -> Edge:
        """What the layer makes."""
        return self.model.edges[self.layer.name]

    @property
    def params(self) -> QuantParams | None:
        """Scale and zero point of the output."""
        return self.output.params

    @cached_property
    def parameters(self) -> list[ParameterRow]:
        """Its tensors with scale, zero point and names: inputs, weight, bias, output."""
        return parameter_rows(self.model, self.layer.name)

    @property
    def is_quantized(self) -> bool:
        """Whether its output or one of its weights is quantized."""
        return any(row.params is not None for row in self.parameters)


def structure(model: QuantizedModel) -> list[LayerStructure]:
    """Return every layer in graph order."""
    return [LayerStructure(model, layer) for layer in model.layers]


def model_record(model: QuantizedModel) -> Record:
    """Return file, layers and totals of a model, ready for JSON.

    Keys: ``model`` (file name), ``sha256``, ``form``, ``opsets``, ``inputs``, ``outputs``,
    ``layers`` (one :func:`layer_record` each, in graph order) and ``totals``.
    """
    layers = structure(model)
    return {
        "model": model.path.name,
        "sha256": model.sha256,
        "form": model.form,
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "inputs": [as_json(EDGE, model.edges[name]) for name in model.inputs],
        "outputs": [as_json(EDGE, model.edges[name]) for name in model.outputs],
        "layers": [layer_record(layer) for layer in layers],
        "totals": totals(layers),
    }


def layer_record(layer: LayerStructure) -> Record:
    """Return everything about one layer except its weights' values, ready for JSON."""
    keys = "name kind nodes inputs output macs parameters weights biases weight_bytes "
    keys += "activation_bytes accumulator attributes"
    if constant(layer.layer, "weight") is not None:
        keys += " weight bias"
    if isinstance(layer.layer, FloatIsland):
        keys += " reason"
    return as_json(pick(STRUCTURE, keys), layer)


def totals(layers: list[LayerStructure]) -> Record:
    """Return the sums over all layers, None where one of them is open."""
    found: Record = {
        "layers": len(layers),
        "float_islands": sum(isinstance(each.layer, FloatIsland) for each in layers),
    }
    for key in ("macs", "weights", "biases", "weight_bytes"):
        values = [getattr(each.cost, key) for each in layers]
        found[key] = None if None in values else sum(values)
    return found


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Write a shape as the terminal shows it.

    Examples
    --------
    >>> shape_text((None, 16, 32, 32))
    '[N,16,32,32]'
    """
    return f"[{','.join('N' if size is None else str(size) for size in shape)}]"


def range_text(values: AnyArray) -> str:
    """Write one number, or the least and the greatest of several.

    Examples
    --------
    >>> range_text(np.float32([0.5, 0.1])), range_text(np.int8([0, 0]))
    ('0.1 to 0.5', '0')
    """
    if not values.size:
        return ""
    low, high = str(values.min()), str(values.max())
    return low if low == high else f"{low} to {high}"


def _scales(layer: LayerStructure) -> str:
    weight = constant(layer.layer, "weight")
    if weight is None or weight.params is None:
        return ""
    scale = weight.params.scale
    return f"{scale.size}: {range_text(scale)}"


def constant(layer: Layer, role: str) -> QuantizedTensor | None:
    """Return the ``"weight"`` or ``"bias"`` of a layer, None where it has none."""
    if not isinstance(layer, (Conv, Dense)):
        return None
    return layer.weight if role == "weight" else layer.bias


def _constant(role: str) -> Callable[[LayerStructure], Record | None]:
    def of(structure: LayerStructure) -> Record | None:
        found = constant(structure.layer, role)
        return None if found is None else as_json(CONSTANT, found)

    return of


def _quantization(tensor: Edge | QuantizedTensor) -> Record | None:
    return None if tensor.params is None else as_json(SCALE, tensor.params)


def _one_or_many(values: AnyArray) -> Any:
    return values.reshape(-1) if values.ndim else values[()]


def attributes(layer: Layer) -> Record:
    """Return what sets this layer apart from others of its kind, by name."""
    names: tuple[str, ...] = ()
    if isinstance(layer, Conv):
        names = ("strides", "pads", "dilations", "group", "relu")
    elif isinstance(layer, Reshape):
        names = ("shape",)
    elif hasattr(layer, "relu"):
        names = ("relu",)
    return {name: getattr(layer, name) for name in names}


def _accumulator(layer: LayerStructure) -> Record | None:
    return None if layer.cost.accumulator is None else asdict(layer.cost.accumulator)


SCALE: tuple[Column[QuantParams], ...] = (
    Column(
        "granularity", "granularity", lambda p: "per channel" if p.per_channel else "per tensor"
    ),
    Column("axis", "axis", at("axis")),
    Column("dtype", "dtype", lambda p: str(p.dtype)),
    Column("scale", "scale", lambda p: shortest(_one_or_many(p.scale))),
    Column("scale_hex", "scale (hex)", lambda p: hex_float(p.scale)),
    Column("zero_point", "zero point", lambda p: _one_or_many(p.zero_point)),
    Column("scale_name", "scale initializer", at("scale_name")),
    Column("zero_point_name", "zero-point initializer", at("zero_point_name")),
)

EDGE: tuple[Column[Edge], ...] = (
    Column("name", "name", at("name")),
    Column("onnx_name", "name in the file", at("onnx_name")),
    Column("shape", "shape", at("shape")),
    Column("dtype", "dtype", lambda edge: str(edge.dtype)),
    Column("quantization", "quantization", _quantization),
)

CONSTANT: tuple[Column[QuantizedTensor], ...] = (
    Column("name", "name in the file", at("name")),
    Column("shape", "shape", at("values.shape")),
    Column("dtype", "dtype", lambda t: str(t.values.dtype)),
    Column("min", "least value", lambda t: t.values.min() if t.values.size else None),
    Column("max", "greatest value", lambda t: t.values.max() if t.values.size else None),
    Column("not_finite", "NaN or infinite", lambda t: np.count_nonzero(~np.isfinite(t.values))),
    Column("quantization", "quantization", _quantization),
)

STRUCTURE: tuple[Column[LayerStructure], ...] = (
    Column("name", "layer", at("name")),
    Column("kind", "kind", at("layer.kind")),
    Column("nodes", "nodes", lambda s: [{"op_type": op, "name": n} for op, n in s.layer.nodes]),
    Column("inputs", "inputs", lambda s: [as_json(EDGE, edge) for edge in s.inputs]),
    Column("output", "output", lambda s: as_json(EDGE, s.output)),
    Column("reads", "input", lambda s: " ".join(shape_text(edge.shape) for edge in s.inputs)),
    Column("makes", "output", lambda s: shape_text(s.output.shape)),
    Column("dtype", "dtype", lambda s: str(s.output.dtype)),
    Column("scale", "scale", lambda s: "" if s.params is None else range_text(s.params.scale)),
    Column(
        "scale_hex",
        "scale (hex)",
        lambda s: "" if s.params is None or s.params.per_channel else hex_float(s.params.scale),
    ),
    Column("zero", "zero", lambda s: "" if s.params is None else range_text(s.params.zero_point)),
    Column("weight_scales", "weight scales", _scales),
    Column("macs", "MACs", at("cost.macs")),
    Column("parameters", "parameters", at("cost.parameters")),
    Column("weights", "weights", at("cost.weights")),
    Column("biases", "biases", at("cost.biases")),
    Column("weight_bytes", "weight B", at("cost.weight_bytes")),
    Column("activation_bytes", "output B", at("cost.activation_bytes")),
    Column("accumulator", "accumulator", _accumulator),
    Column("bits", "acc. bits", at("cost.accumulator.bits")),
    Column("weight", "weight", _constant("weight")),
    Column("bias", "bias", _constant("bias")),
    Column("attributes", "attributes", lambda s: attributes(s.layer)),
    Column("reason", "reason", lambda s: getattr(s.layer, "reason", None)),
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


def _of(
    array: str, what: Callable[[Any], Any], *, channels: bool = False
) -> Callable[[ParameterRow], Any]:
    """Take a fact of the scales or zero points; with ``channels``, None where there is only one."""

    def of(row: ParameterRow) -> Any:
        if row.params is None or (channels and row.params.axis is None):
            return None
        values = getattr(row.params, array)
        return what(values) if values.size else None

    return of


def _one_scale(row: ParameterRow) -> Any:
    return None if row.params is None or row.params.per_channel else row.params.scale[()]


def _zeros(zeros: AnyArray) -> int | str:
    """Return the one zero point, or the ends of several."""
    found = np.unique(zeros).tolist()
    return found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}"


PARAMETERS: tuple[Column[ParameterRow], ...] = (
    Column("role", "tensor", at("role")),
    Column("tensor", "name in the file", at("tensor")),
    Column("dtype", "dtype", lambda row: row.dtype.name),
    Column("shape", "shape", at("shape")),
    Column("granularity", "granularity", at("granularity")),
    Column("axis", "axis", at("params.axis")),
    Column("scale", "scales", lambda row: _of("scale", np.ravel)(row) if row.params else []),
    Column(
        "zero_point",
        "zero points",
        lambda row: _of("zero_point", np.ravel)(row) if row.params else [],
    ),
    Column("scales", "number of scales", _of("scale", np.size)),
    Column("scale_least", "least scale", _of("scale", np.min)),
    Column("scale_mean", "mean scale", _of("scale", scale_mean)),
    Column("scale_greatest", "greatest scale", _of("scale", np.max)),
    Column("one_scale", "scale", _one_scale),
    Column("channel_least", "least scale", _of("scale", np.min, channels=True)),
    Column("channel_mean", "mean scale", _of("scale", scale_mean, channels=True)),
    Column("channel_greatest", "greatest scale", _of("scale", np.max, channels=True)),
    Column("zero_point_least", "least zero point", _of("zero_point", np.min)),
    Column("zero_point_greatest", "greatest zero point", _of("zero_point", np.max)),
    Column("zeros", "zero point", _of("zero_point", _zeros)),
    Column(
        "scale_name", "scale initializer", lambda row: row.params.scale_name if row.params else ""
    ),
    Column(
        "zero_point_name",
        "zero-point initializer",
        lambda row: row.params.zero_point_name if row.params else "",
    ),
)
