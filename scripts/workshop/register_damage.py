"""What images reach in the accumulators, and what a register does that is too narrow for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic.alternatives import AVERAGES
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.execution.engine import accumulate, compute, has_accumulator, params, stream
from bitbybit.hardware import saturating_sums, trace_with
from bitbybit.model.load import load
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import describe_data, describe_file
from workshop.manifest import versions

SCHEMA_VERSION = 1
BATCH = 50
WIDTHS = range(20, 11, -1)
STEPWISE = range(20, 13, -1)

KEYS = ("overflows", "changed_codes", "changed_predictions", "correct")

Int32: TypeAlias = NDArray[np.int32]
Codes: TypeAlias = Mapping[str, AnyArray]
Network: TypeAlias = Callable[[QuantizedModel, AnyArray, int], tuple[Codes, int]]
"""A network, images and bits to the codes of all layers, and how many sums did not fit."""


def register_damage(
    file: Path, split: Split, chosen: Split, split_name: str, bundled: Split, watch: Any = iter
) -> dict[str, Any]:
    """Run a network with one register width for all layers, one bit after the other taken away.

    Parameters
    ----------
    file
        An int8 network.
    split, chosen, split_name
        Images whose sums are observed; those of them that are run with narrow registers, which
        takes forty times as long; and what the record calls both.
    bundled
        The sample images: the same figures on them can be computed again without the dataset.
    watch
        Called with the batches; yields them, and may show progress.

    Returns
    -------
    dict
        ``schema_version, model, versions, data``; ``observed`` on these images
        (:func:`observed`); ``chosen``, and ``images`` and ``bundled``, the figures of
        :func:`figures` on the chosen and the bundled images.
    """
    model = load(file)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_file(file),
        "versions": versions(),
        "data": describe_data(split, split_name),
        "observed": observed(model, split, watch),
        "chosen": describe_data(chosen, split_name),
        "images": figures(model, chosen, watch),
        "bundled": figures(model, bundled),
    }


def observed(model: QuantizedModel, split: Split, watch: Any = iter) -> dict[str, list[int]]:
    """Return the smallest and the largest sum of each layer, 0 among them."""
    found: dict[str, list[int]] = {}

    def note(layer: Layer, sums: Int32) -> Int32:
        low, high = found.get(layer.name, (0, 0))
        found[layer.name] = [min(low, int(sums.min())), max(high, int(sums.max()))]
        return sums

    for begin in watch(range(0, len(split), BATCH)):
        trace_with(model, split.images[begin : begin + BATCH].astype(np.float32), accumulator=note)
    return found


def figures(model: QuantizedModel, split: Split, watch: Any = iter) -> dict[str, Any]:
    """Return what images reach, and the damage by each width and kind of register.

    Parameters
    ----------
    model
        The network.
    split
        Images and their labels.
    watch
        Called with the batches; yields them.

    Returns
    -------
    dict
        ``images``, ``codes`` and ``correct`` of the exact network; ``wrap``, ``saturate`` and
        ``saturate_each_step``: per width ``bits``, ``overflows`` (sums that are not held as they
        are), ``changed_codes`` of all layers, ``changed_predictions`` and ``correct`` predictions.
    """
    runs = [(kind, bits) for kind, (widths, _) in REGISTERS.items() for bits in widths]
    exact = {"images": len(split), "codes": 0, "correct": 0}
    tally = {run: np.zeros(len(KEYS), np.int64) for run in runs}

    for begin in watch(range(0, len(split), BATCH)):
        images = split.images[begin : begin + BATCH].astype(np.float32)
        labels = split.labels[begin : begin + BATCH]
        (right,) = stream(model, images, len(images))
        said = right[model.outputs[0]].argmax(axis=1)
        coded = [layer.name for layer in model.layers if model.edges[layer.name].params is not None]
        exact["codes"] += sum(right[name].size for name in coded)
        exact["correct"] += int((said == labels).sum())
        for kind, bits in runs:
            found, overflows = REGISTERS[kind][1](model, images, bits)
            says = found[model.outputs[0]].argmax(axis=1)
            changed = sum(int((found[name] != right[name]).sum()) for name in coded)
            tally[kind, bits] += [overflows, changed, (says != said).sum(), (says == labels).sum()]
    rows: dict[str, list[dict[str, int]]] = {kind: [] for kind in REGISTERS}
    for kind, bits in runs:
        rows[kind].append(
            {"bits": bits, **dict(zip(KEYS, tally[kind, bits].tolist(), strict=True))}
        )
    return {**exact, **rows}


def _at_the_end(hold: Callable[[Any, int], Any]) -> Network:
    """Return a network whose registers hold what ``hold`` makes of the final sums."""

    def network(model: QuantizedModel, images: AnyArray, bits: int) -> tuple[Codes, int]:
        overflows = 0

        def register(_: Layer, sums: Int32) -> Int32:
            nonlocal overflows
            if max(int(sums.max()), ~int(sums.min())) < 1 << (bits - 1):
                return sums
            held = np.asarray(hold(sums, bits).astype(np.int32))
            overflows += int((held != sums).sum())
            return held

        return trace_with(model, images, accumulator=register), overflows

    return network


def _at_each_step(model: QuantizedModel, images: AnyArray, bits: int) -> tuple[Codes, int]:
    """Run a network whose registers saturate after each product; count the sums that differ."""
    values: dict[str, AnyArray] = {model.inputs[0]: images}
    wrong = 0
    for layer in model.layers:
        given = [values[name] for name in layer.inputs]
        if not has_accumulator(layer):
            values[layer.name] = compute(model, layer, given)
            continue
        x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
        sums = saturating_sums(model, layer, given[0], bits)
        wrong += int((sums != accumulate(model, layer, given)).sum())
        if isinstance(layer, Conv | Dense):
            w_scale, scheme = params(layer.weight, layer).scale, REQUANTIZERS["contract"]
        else:
            w_scale, scheme = np.asarray(given[0][0, 0].size, np.float32), AVERAGES["contract"]
        values[layer.name] = scheme(sums, x.scale, w_scale, y.scale, y.zero_point, 1)
    return values, wrong


REGISTERS: dict[str, tuple[Iterable[int], Network]] = {
    "wrap": (WIDTHS, _at_the_end(arithmetic.wrapped)),
    "saturate": (WIDTHS, _at_the_end(arithmetic.saturated)),
    "saturate_each_step": (STEPWISE, _at_each_step),
}
"""Kind of register to the widths that are tried, and the network with it."""
