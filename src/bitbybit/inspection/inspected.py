"""Everything that can be said about a network, layer by layer: what pages and commands show."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.execution.feed import Input
from bitbybit.inspection.activations import (
    ActivationReport,
    Batches,
    activation_reports,
    batches_of,
    folded_clips,
)
from bitbybit.inspection.statistics import DEFAULT_BINS, Distribution, check_bins, check_range
from bitbybit.inspection.weights import (
    GranularityGain,
    TensorReport,
    constant_channels,
    distributions,
    granularity_gain,
    layer_reports,
)
from bitbybit.model.costs import Cost, cost, costs
from bitbybit.model.load import load
from bitbybit.model.types import (
    Conv,
    Dense,
    Edge,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)
from bitbybit.resnet8.examples import EXAMPLES, example, samples, takes_images

Model = str | os.PathLike[str] | QuantizedModel
MOST_MACS = 10**9
"""Multiply-accumulates per image up to which a network is run on the bundled images."""
HELPERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, eq=False)
class Inspection:
    """A network, layer by layer in graph order; what is not asked for is not computed.

    Attributes
    ----------
    model : the network
    reference : its float twin, None without
    others : form → further networks whose weights are shown beside
    data : what the activations were computed on; "" without inputs
    bins : of every histogram
    highlight : the range of values whose share is counted; None for mean ± std of each tensor
    activations : layer → its output on the given inputs; empty without inputs
    """

    model: QuantizedModel
    reference: QuantizedModel | None = None
    others: Mapping[str, QuantizedModel] = field(default_factory=dict)
    data: str = ""
    bins: int = DEFAULT_BINS
    highlight: tuple[float, float] | None = None
    activations: Mapping[str, ActivationReport] = field(default_factory=dict)

    @cached_property
    def layers(self) -> tuple[LayerInspection, ...]:
        """One entry per layer."""
        return tuple(LayerInspection(self, layer) for layer in self.model.layers)

    def layer(self, name: str) -> LayerInspection:
        """Return the entry of one layer; raises ModelError."""
        return self.layers[self.model.layers.index(self.model.layer(name))]

    @cached_property
    def forms(self) -> dict[str, QuantizedModel]:
        """All networks whose weights are shown, by the type of their weights."""
        label = form_label(self.model)
        named = {f"{form} beside" if form == label else form: n for form, n in self.others.items()}
        return {label: self.model, **named}


@dataclass(frozen=True, eq=False)
class LayerInspection:
    """What is known about one layer.

    Attributes
    ----------
    whole : the network with everything that is known about it
    layer : the layer
    """

    whole: Inspection
    layer: Layer

    @property
    def name(self) -> str:
        """Canonical name of the layer."""
        return self.layer.name

    @cached_property
    def cost(self) -> Cost:
        """Shape, operations and storage."""
        return cost(self.whole.model, self.layer)

    @property
    def node(self) -> tuple[str, str]:
        """Type and name of the node that computes, a Q/DQ helper only if it is alone."""
        core = [node for node in self.layer.nodes if node[0] not in HELPERS]
        return next(iter(core or self.layer.nodes), (self.layer.kind, ""))

    @property
    def inputs(self) -> list[Edge]:
        """What the layer reads."""
        return [self.whole.model.edges[name] for name in self.layer.inputs]

    @property
    def output(self) -> Edge:
        """What the layer makes."""
        return self.whole.model.edges[self.layer.name]

    @cached_property
    def parameters(self) -> list[ParameterRow]:
        """Its tensors with scale, zero point and names: inputs, weight, bias, output."""
        edges = [(f"input {i}" if i > 1 else "input", e) for i, e in enumerate(self.inputs, 1)]
        constants = [(role, report.tensor) for role, report in self.tensors.items()]
        found: list[tuple[str, Edge | QuantizedTensor]]
        found = [*edges, *constants, ("output", self.output)]
        return [ParameterRow(self, role, of) for role, of in found]

    @property
    def measured(self) -> dict[str, ParameterRow]:
        """The rows of weight and bias, by role."""
        return {row.role: row for row in self.parameters if row.report is not None}

    @property
    def is_quantized(self) -> bool:
        """Whether its output or one of its weights is quantized."""
        return any(row.params is not None for row in self.parameters)

    @cached_property
    def tensors(self) -> dict[str, TensorReport]:
        """Reports of weight and bias, where it has them."""
        return layer_reports(self.layer, self.whole.reference)

    @property
    def weight(self) -> TensorReport | None:
        """The report of the weight."""
        return self.tensors.get("weight")

    @cached_property
    def distributions(self) -> dict[str, tuple[Distribution, ...]]:
        """Role of a tensor → its values in every form, float first, and at last its codes.

        The forms of one tensor share their edges.
        """
        w = self.whole
        return {
            role: distributions(self.layer, report, w.forms, w.bins, w.highlight)
            for role, report in self.tensors.items()
        }

    def forms(self, role: str) -> tuple[Distribution, ...]:
        """Return the real values of a tensor in every form, without its codes."""
        return tuple(d for d in self.distributions[role] if d.role != "codes")

    @property
    def activation(self) -> ActivationReport | None:
        """Its output on the given inputs; None without inputs."""
        return self.whole.activations.get(self.name)

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
        return constant_channels(self.whole.model, self.layer)


@dataclass(frozen=True, eq=False)
class ParameterRow:
    """One tensor of one layer and its parameters.

    Attributes
    ----------
    entry : the layer
    role : ``"input"``, ``"input 2"``, ``"weight"``, ``"bias"`` or ``"output"``
    of : the tensor: an edge of the network, or a constant
    """

    entry: LayerInspection
    role: str
    of: Edge | QuantizedTensor

    @property
    def tensor(self) -> str:
        """Name of the tensor in the file."""
        return self.of.onnx_name if isinstance(self.of, Edge) else self.of.name

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Its dimensions; None where the file leaves one open."""
        return self.of.shape if isinstance(self.of, Edge) else self.of.values.shape

    @property
    def params(self) -> QuantParams | None:
        """Scale and zero point; None for a float tensor."""
        return self.of.params

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Dtype of the codes, or of the values of a float tensor."""
        return self.of.dtype if isinstance(self.of, Edge) else self.of.values.dtype

    @property
    def report(self) -> TensorReport | None:
        """What was measured of a weight or bias."""
        return self.entry.tensors.get(self.role)

    @property
    def forms(self) -> tuple[Distribution, ...]:
        """The values of a weight or bias in every form."""
        return self.entry.forms(self.role)

    @property
    def activation(self) -> ActivationReport | None:
        """What was measured of an output."""
        return self.entry.activation if self.role == "output" else None


def granularity(params: QuantParams | None) -> str:
    """Return ``"per channel"``, ``"per tensor"`` or ``"float"``."""
    if params is None:
        return "float"
    return "per channel" if params.per_channel else "per tensor"


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
    whole = Inspection(model)
    layers = whole.layers if layer is None else (whole.layer(layer),)
    return [row for entry in layers for row in entry.parameters]


def tensor_reports(
    model: QuantizedModel, reference: QuantizedModel | None = None
) -> list[TensorReport]:
    """Return one report per weight and bias, in graph order.

    Parameters
    ----------
    model
        A quantized or float network.
    reference
        Its float twin. Tensors belong together if their layers have the same canonical name
        and the tensors the same shape; there is no other matching.
    """
    layers = Inspection(model, reference).layers
    return [report for entry in layers for report in entry.tensors.values()]


def form_label(model: QuantizedModel) -> str:
    """Return ``"FP32"``, ``"INT8"``, ``"UINT8"``, ...: the type of most of the weights."""
    counts: Counter[str] = Counter()
    for layer in model.layers:
        if isinstance(layer, (Conv, Dense)):
            counts[layer.weight.values.dtype.name] += layer.weight.values.size
    if not counts:
        return "FP32" if model.form == "float" else model.form.upper()
    return counts.most_common(1)[0][0].upper().replace("FLOAT", "FP")


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
    activations = {}
    if batches is not None:
        folded = {} if reference is None else folded_clips(model, reference)
        activations = {a.layer: a for a in activation_reports(model, batches, bins, folded)}
    return Inspection(
        model=model,
        reference=reference,
        others=others or {},
        data=data,
        bins=bins,
        highlight=highlight,
        activations=activations,
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
