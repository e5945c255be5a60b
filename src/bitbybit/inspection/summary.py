"""Everything that can be said about a network, layer by layer: what pages and commands show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.inspection.activations import (
    ActivationReport,
    Batches,
    activation_reports,
    real_output,
    twin_values,
)
from bitbybit.inspection.dead_channels import constant_channels
from bitbybit.inspection.dequantized import real_values
from bitbybit.inspection.folded import folded_clips
from bitbybit.inspection.histograms import DEFAULT_BINS, check_bins
from bitbybit.inspection.parameters import ParameterRow, parameter_rows
from bitbybit.inspection.statistics import Statistics, ValueRange, check_range, value_range
from bitbybit.inspection.weights import (
    GranularityGain,
    TensorReport,
    constant,
    granularity_gain,
    tensor_report,
    tensor_reports,
)
from bitbybit.model.costs import Cost, cost
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel, QuantParams


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """One layer's output for one image.

    Attributes
    ----------
    codes : ``[C, H, W]`` or ``[C]``, dtype of the layer's output
    params : of the codes; None for a float tensor
    real : the real values of the codes
    twin : the float twin's values, same shape; None without twin
    """

    codes: AnyArray
    params: QuantParams | None
    real: NDArray[Any]
    twin: NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class LayerInspection:
    """What is known about one layer.

    Attributes
    ----------
    layer : the layer
    cost : its shape, operations and storage
    parameters : scale, zero point and names of its tensors
    tensors : weight and bias, where it has them
    others : form (``"UINT8"``, ...) → weight and bias of the same layer in another network
    gain : what per-channel scales buy, from the float weights; None without weights or twin
    constant_channels : output channels proved to have one value for every input
    activation : its output on the given inputs; None without inputs
    maps : its output for the first image; None without inputs
    """

    layer: Layer
    cost: Cost
    parameters: list[ParameterRow]
    tensors: dict[str, TensorReport]
    others: dict[str, dict[str, TensorReport]]
    gain: GranularityGain | None
    constant_channels: tuple[int, ...]
    activation: ActivationReport | None
    maps: FeatureMaps | None

    @property
    def name(self) -> str:
        """Canonical name of the layer."""
        return self.layer.name

    @property
    def is_quantized(self) -> bool:
        """Whether its output or one of its weights is quantized."""
        return any(row.scale is not None for row in self.parameters)


@dataclass(frozen=True, eq=False)
class Inspection:
    """A network, layer by layer in graph order.

    Attributes
    ----------
    model : the network
    reference : its float twin, None without
    others : form → further networks whose weights are shown beside
    layers : one entry per layer
    data : what the activations were computed on; "" without inputs
    bins : of every histogram
    highlight : the range of values whose share is counted; None for mean ± std of each tensor
    """

    model: QuantizedModel
    reference: QuantizedModel | None
    others: Mapping[str, QuantizedModel]
    layers: tuple[LayerInspection, ...]
    data: str
    bins: int
    highlight: tuple[float, float] | None = None

    def marked(self, values: NDArray[Any], of: Statistics) -> ValueRange | None:
        """Return the highlighted range of a tensor; None without a finite value."""
        return None if of.minimum is None else value_range(values, *(self.highlight or ()))

    def layer(self, name: str) -> LayerInspection:
        """Return the entry of one layer; raises KeyError."""
        for entry in self.layers:
            if entry.name == name:
                return entry
        raise KeyError(name)


def form_label(model: QuantizedModel) -> str:
    """Return ``"FP32"``, ``"INT8"``, ``"UINT8"``, ...: the type of most of the weights."""
    counts: dict[str, int] = {}
    for layer in model.layers:
        if isinstance(layer, (Conv, Dense)):
            label = weight_label(layer)
            counts[label] = counts.get(label, 0) + layer.weight.values.size
    if not counts:
        return "FP32" if model.form == "float" else model.form.upper()
    return max(counts, key=lambda label: counts[label])


def weight_label(layer: Conv | Dense) -> str:
    """Return the type of a layer's weights: ``"FP32"``, or the codes' type in capitals."""
    params = layer.weight.params
    if params is not None:
        return params.dtype.name.upper()
    return layer.weight.values.dtype.name.upper().replace("FLOAT", "FP")


def tensor_forms(
    inspection: Inspection, entry: LayerInspection, role: str
) -> list[tuple[str, NDArray[Any], Statistics]]:
    """Return name, real values and statistics of a weight or bias in every form there is."""
    report = entry.tensors[role]
    found: list[tuple[str, NDArray[Any], Statistics]] = []
    if report.float_values is not None and report.reference is not None:
        found.append(("FP32", report.float_values, report.reference))
    label = form_label(inspection.model)
    own = label if report.tensor.params is None else f"{label} dequantized"
    found.append((own, real_values(report.tensor), report.real))
    for form, tensors in entry.others.items():
        if role in tensors:
            other = tensors[role]
            name = form if other.tensor.params is None else f"{form} dequantized"
            found.append((name, real_values(other.tensor), other.real))
    return found


def inspect(
    model: QuantizedModel,
    reference: QuantizedModel | None = None,
    batches: Batches | None = None,
    *,
    others: Mapping[str, QuantizedModel] | None = None,
    data: str = "",
    bins: int = DEFAULT_BINS,
    highlight: tuple[float, float] | None = None,
) -> Inspection:
    """Look at every layer of a network.

    Parameters
    ----------
    model
        A quantized or float network.
    reference
        Its float twin, matched by canonical layer name and shape.
    batches
        Inputs, as for :func:`activation_reports`; None leaves the activations out.
    others
        Form → further networks whose weights are put beside, for example ``{"UINT8": ...}``.
    data
        What the inputs are, in words.
    bins
        10 to 200 bins of every histogram.
    highlight
        Least and greatest value of a range whose share of each weight and bias is counted; by
        default mean ± std of each.

    Raises
    ------
    DataError
        If ``bins`` is out of range, or ``highlight`` is no range.
    """
    check_bins(bins)
    if highlight is not None:
        check_range(*highlight)
    own: dict[str, dict[str, TensorReport]] = {}
    for report in tensor_reports(model, reference):
        own.setdefault(report.layer, {})[report.role] = report
    activations: dict[str, ActivationReport] = {}
    maps: dict[str, FeatureMaps] = {}
    if batches is not None:
        folded = {} if reference is None else folded_clips(model, reference)
        activations = {a.layer: a for a in activation_reports(model, batches, bins, folded)}
        maps = feature_maps(model, batches)
    layers = tuple(
        LayerInspection(
            layer,
            cost(model, layer),
            parameter_rows(model, layer.name),
            own.get(layer.name, {}),
            {form: _twins(other, layer) for form, other in (others or {}).items()},
            _gain(own.get(layer.name, {})),
            constant_channels(model, layer),
            activations.get(layer.name),
            maps.get(layer.name),
        )
        for layer in model.layers
    )
    return Inspection(model, reference, others or {}, layers, data, bins, highlight)


def feature_maps(model: QuantizedModel, batches: Batches) -> dict[str, FeatureMaps]:
    """Return every layer's output for the first image, by layer name."""
    found = {}
    for trace, twin in islice(batches(), 1):
        for layer in model.layers:
            values, real = trace[layer.name], real_output(trace, layer)
            other = twin_values(model, layer, twin)
            if values.ndim < 2:
                continue
            first = None if other is None else np.array(other[0])
            params = model.edges[layer.name].params
            found[layer.name] = FeatureMaps(np.array(values[0]), params, np.array(real[0]), first)
    return found


def _twins(other: QuantizedModel, layer: Layer) -> dict[str, TensorReport]:
    """Return the reports of a layer of the same name and shapes in another network."""
    found = {}
    for candidate in other.layers:
        if candidate.name != layer.name:
            continue
        for role in ("weight", "bias"):
            own, tensor = constant(layer, role), constant(candidate, role)
            if own is not None and tensor is not None and own.values.shape == tensor.values.shape:
                found[role] = tensor_report(candidate, role, tensor)
    return found


def _gain(tensors: Mapping[str, TensorReport]) -> GranularityGain | None:
    report = tensors.get("weight")
    if report is None:
        return None
    params = report.tensor.params
    floats = report.tensor.values if params is None else report.float_values
    if floats is None or not floats.size:
        return None
    bits = 8 if params is None else 8 * params.dtype.itemsize
    return granularity_gain(floats, report.axis, bits)
