"""Everything that can be said about a network, layer by layer: what pages and commands show."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bitbybit.errors import ModelError
from bitbybit.execution.feed import Input
from bitbybit.inspection.activations import (
    ActivationReport,
    Batches,
    FeatureMaps,
    activation_reports,
    batches_of,
    feature_maps,
)
from bitbybit.inspection.saturation import folded_clips
from bitbybit.inspection.statistics import (
    DEFAULT_BINS,
    Distribution,
    check_bins,
    check_range,
)
from bitbybit.inspection.structure import LayerStructure
from bitbybit.inspection.weights import (
    GranularityGain,
    TensorReport,
    constant_channels,
    distributions,
    granularity_gain,
    tensor_reports,
)
from bitbybit.model.costs import costs
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.resnet8.examples import EXAMPLES, example, samples
from bitbybit.resnet8.inputs import takes_images

Model = str | os.PathLike[str] | QuantizedModel
MOST_MACS = 10**9
"""Multiply-accumulates per image up to which a network is run on the bundled images."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerInspection(LayerStructure):
    """What is known about one layer beyond its structure.

    Attributes
    ----------
    tensors : weight and bias, where it has them
    distributions : role of a tensor → its values in every form over shared edges, float first,
        and at last its codes
    activation : its output on the given inputs; None without inputs
    maps : its output for the first image; None without inputs
    """

    tensors: dict[str, TensorReport]
    distributions: dict[str, tuple[Distribution, ...]]
    activation: ActivationReport | None
    maps: FeatureMaps | None

    @cached_property
    def gain(self) -> GranularityGain | None:
        """What per-channel scales buy, from the float weights; None without weights or twin."""
        if self.weight is None:
            return None
        params = self.weight.tensor.params
        floats = self.weight.tensor.values if params is None else self.weight.float_values
        if floats is None or not floats.size:
            return None
        bits = 8 if params is None else 8 * params.dtype.itemsize
        return granularity_gain(floats, self.weight.axis, bits)

    @cached_property
    def constant_channels(self) -> tuple[int, ...]:
        """Output channels proved to have one value for every input."""
        return constant_channels(self.model, self.layer)

    @property
    def weight(self) -> TensorReport | None:
        """The report of the weight."""
        return self.tensors.get("weight")

    def forms(self, role: str) -> tuple[Distribution, ...]:
        """Return the real values of a tensor in every form, without its codes."""
        return tuple(d for d in self.distributions[role] if d.role != "codes")


@dataclass(frozen=True, eq=False, kw_only=True)
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

    def layer(self, name: str) -> LayerInspection:
        """Return the entry of one layer; raises ModelError."""
        return self.layers[self.model.layers.index(self.model.layer(name))]


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
    own: dict[str, dict[str, TensorReport]] = {layer.name: {} for layer in model.layers}
    for report in tensor_reports(model, reference):
        own[report.layer][report.role] = report
    activations: dict[str, ActivationReport] = {}
    maps: dict[str, FeatureMaps] = {}
    if batches is not None:
        folded = {} if reference is None else folded_clips(model, reference)
        activations = {a.layer: a for a in activation_reports(model, batches, bins, folded)}
        maps = feature_maps(model, batches)
    label = form_label(model)
    forms = {label: model}
    for form, network in (others or {}).items():
        forms[f"{form} beside" if form == label else form] = network
    layers = tuple(
        LayerInspection(
            model=model,
            layer=layer,
            tensors=own[layer.name],
            distributions={
                role: distributions(layer, report, forms, bins, highlight)
                for role, report in own[layer.name].items()
            },
            activation=activations.get(layer.name),
            maps=maps.get(layer.name),
        )
        for layer in model.layers
    )
    return Inspection(
        model=model,
        reference=reference,
        others=others or {},
        layers=layers,
        data=data,
        bins=bins,
        highlight=highlight,
    )


def examine(
    model: Model | None = None,
    reference: Model | None = None,
    *,
    inputs: Input | None = None,
    data: str = "",
    beside: Sequence[Model] = (),
    bins: int = DEFAULT_BINS,
    highlight: tuple[float, float] | None = None,
    run: bool = True,
) -> Inspection:
    """Return what :func:`bitbybit.pictures.explore` shows, as numbers.

    Parameters
    ----------
    model, reference, inputs, beside, bins, highlight
        As for :func:`bitbybit.pictures.explore`.
    data
        What ``inputs`` are, in words.
    run
        Whether the network is run on the bundled sample images where no inputs are given.
        Without it and without inputs nothing is run: neither the network nor its float twin.
    """
    name = "int8" if model is None else model
    committed = isinstance(name, str) and name in EXAMPLES
    network = _network(name)
    twin = None if reference is None else _network(reference)
    if twin is not None and twin.form != "float":
        raise ModelError(
            "the reference is not a float network",
            where=twin.path.name,
            found=twin.form,
            next_step="Give the float ONNX file that the network was quantized from.",
        )
    if committed and network.form != "float":
        twin = twin or load(example("float"))
        beside = beside or (load(example("int8" if name == "uint8" else "uint8")),)
    if inputs is None and run and _fits_samples(network):
        images = samples()
        inputs, data = images.images, f"The {len(images.images)} bundled sample images."
    batches = None if inputs is None else batches_of(network, inputs, twin)
    data = data or ("" if inputs is None else "Inputs of your own.")
    others = _labelled(beside)
    return inspect(network, twin, batches, others=others, data=data, bins=bins, highlight=highlight)


def _labelled(beside: Sequence[Model]) -> dict[str, QuantizedModel]:
    """Return networks by the type of their weights, numbered where two have the same."""
    found: dict[str, QuantizedModel] = {}
    for model in beside:
        network = _network(model)
        label = form_label(network)
        same = sum(1 for other in found.values() if form_label(other) == label)
        found[f"{label} ({same + 1})" if same else label] = network
    return found


def _network(model: Model) -> QuantizedModel:
    if isinstance(model, QuantizedModel):
        return model
    if isinstance(model, str) and model in EXAMPLES:
        return load(example(model))
    return load(Path(model))


def _fits_samples(network: QuantizedModel) -> bool:
    """Whether the bundled images are inputs of the network, and it is small enough to be run."""
    macs = [cost.macs for cost in costs(network)]
    small = None not in macs and sum(m or 0 for m in macs) <= MOST_MACS
    return (
        small and takes_images(network) and network.edges[network.inputs[0]].shape[0] in {None, 1}
    )
