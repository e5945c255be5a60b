"""What a notebook offers: a network to be looked at, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.execution.feed import Input
from bitbybit.inspection.histograms import DEFAULT_BINS
from bitbybit.inspection.inputs import batches_of
from bitbybit.inspection.sheet import sheet
from bitbybit.inspection.summary import Inspection, form_label, inspect
from bitbybit.model.costs import costs
from bitbybit.model.reader import load
from bitbybit.model.types import QuantizedModel
from bitbybit.pictures.explorer import Explorer
from bitbybit.pictures.report import layer_explorer
from bitbybit.resnet8.examples import EXAMPLES, example, samples

Model = str | os.PathLike[str] | QuantizedModel
SAMPLE_SHAPE = (3, 32, 32)
MOST_MACS = 10**9
"""Multiply-accumulates per image up to which a network is run without being asked to."""


def explore(
    model: Model | None = None,
    reference: Model | None = None,
    *,
    inputs: Input | None = None,
    beside: Sequence[Model] = (),
    bins: int = DEFAULT_BINS,
    highlight: tuple[float, float] | None = None,
    label: str = "layer",
) -> Explorer:
    """Show a network as a strip of layers to choose from, and all about the chosen one.

    Parameters
    ----------
    model
        The path of an ONNX file, a network that ``bitbybit.load`` returned, or the name of
        a committed model (``"int8"``, ``"uint8"``, ``"float"``, ...: see
        ``bitbybit.example``).  By default the committed int8 model, with the committed float
        model as reference and the weights of the uint8 model beside.
    reference
        The float twin, likewise.  A committed model has one without being asked.
    inputs
        The graph input ``[N, ...]``; by default the bundled sample images, where they fit and
        the network takes at most a billion multiply-accumulates per image.
    beside
        Further forms of the network, whose weights are put beside.
    bins
        10 to 200 bins of every histogram.
    highlight
        Least and greatest value of a range to mark in the histograms of weights and biases; by
        default mean ± std of each.
    label
        Beginning of the ids in the page: layer ``stem`` gets ``layer-stem``.

    Returns
    -------
    Explorer
        Shows itself as the last expression of a cell; nothing is computed when layers are
        switched.

    Raises
    ------
    BitbybitError
        A file that cannot be read, inputs that do not fit, bins out of range.
    """
    found = examine(model, reference, inputs=inputs, beside=beside, bins=bins, highlight=highlight)
    return layer_explorer(sheet(found), label=label)


def examine(
    model: Model | None = None,
    reference: Model | None = None,
    *,
    inputs: Input | None = None,
    data: str = "",
    beside: Sequence[Model] = (),
    bins: int = DEFAULT_BINS,
    highlight: tuple[float, float] | None = None,
) -> Inspection:
    """Return what :func:`explore` shows, as numbers.

    ``data`` says what ``inputs`` are.
    """
    name = "int8" if model is None else model
    committed = isinstance(name, str) and name in EXAMPLES
    network = _network(name)
    twin = None if reference is None else _network(reference)
    if twin is not None and twin.form != "float":
        raise ModelError(
            "the reference is not a float network", where=twin.path.name, found=twin.form
        )
    if committed and network.form != "float":
        twin = twin or load(example("float"))
        beside = beside or (load(example("int8" if name == "uint8" else "uint8")),)
    if inputs is None and _fits_samples(network):
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
    if len(network.inputs) != 1:
        return False
    edge = network.edges[network.inputs[0]]
    fits = edge.shape[1:] == SAMPLE_SHAPE and edge.shape[0] in (None, 1)
    macs = [cost.macs for cost in costs(network)]
    small = None not in macs and sum(m or 0 for m in macs) <= MOST_MACS
    return fits and small and edge.dtype == np.float32
