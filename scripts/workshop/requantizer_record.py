"""What each way to requantize does to a whole network, measured on a population of real images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic.alternatives import ADDERS, AVERAGES
from bitbybit.arithmetic.requantizers import REQUANTIZERS, single_rounding
from bitbybit.execution.engine import Trace, stream
from bitbybit.files import atomic_write_json
from bitbybit.hardware import Parts, power_of_two_scales, stream_with
from bitbybit.model.costs import elements
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import describe_data, describe_file
from workshop.manifest import versions
from workshop.progress import progress

SCHEMA_VERSION = 1
BATCH = 50
"""No result depends on it; after each batch the counts are kept, so that a run can go on."""

WIDTHS = (24, 20, 14, 10, 7, 6, 5, 4, 3, 2)
"""Bits of multipliers beside those that have a name."""

ONE_SHIFT = (16, 12, 8)
EXACT = ("contract", "thresholds", "xnnpack-fp32")
"""The contract's function for all accumulators: nothing to measure."""


def variants() -> dict[str, Parts]:
    """Return what is measured, by name: requantizers alone, and networks in integers only."""
    schemes = {name: r for name, r in REQUANTIZERS.items() if name not in EXACT}
    more = [single_rounding(bits) for bits in WIDTHS]
    more += [single_rounding(bits, one_shift=True) for bits in ONE_SHIFT]
    schemes |= {scheme.name: scheme for scheme in more}
    found: dict[str, Parts] = {name: {"requantize": scheme} for name, scheme in schemes.items()}
    for name, first, adder in (
        ("integers-only", "single-rounding", "shifted-left"),
        ("integers-only-16-bit", "single-rounding-16-bit", "22-bit-multipliers"),
    ):
        found[name] = {
            "requantize": REQUANTIZERS[first],
            "add": ADDERS[adder],
            "average": AVERAGES["double-rounding"],
        }
    return found


def requantizer_record(
    int8_file: Path, float_file: Path, split: Split, split_name: str, bundled: Split, kept: Path
) -> dict[str, Any]:
    """Run a network in every variant on images, and compare it with the contract.

    Parameters
    ----------
    int8_file, float_file
        A quantized network and the float one of which it was made.
    split, split_name
        The images with their labels, and what the record calls them.
    bundled
        The sample images: the same figures on them can be measured again without the dataset.
    kept
        Where the counts are kept after each batch; a run that was interrupted goes on there.

    Returns
    -------
    dict
        ``schema_version, model, float, versions, data``; ``images`` and ``bundled``, the figures
        of :func:`figures` on either.
    """
    model, floats = load(int8_file), load(float_file)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_file(int8_file),
        "float": describe_file(float_file),
        "versions": versions(),
        "data": describe_data(split, split_name),
        "images": figures(model, floats, split, kept),
        "bundled": figures(model, floats, bundled),
    }


def figures(
    model: QuantizedModel, floats: QuantizedModel, split: Split, kept: Path | None = None
) -> dict[str, Any]:
    """Count, for each variant, codes and predictions that differ from the contract's.

    Returns
    -------
    dict
        ``images``, ``correct`` (of the contract), ``codes`` (of all layers, of all images) and
        ``variants``: name to ``codes``, ``changed`` and ``correct``: codes that differ by layer
        (layers without one left out), changed and correct predictions.
    """
    done, counts = _resumed(kept)
    images = split.images[done:].astype(np.float32)
    streams = {"contract": stream(model, images, BATCH)}
    streams |= {n: stream_with(model, images, BATCH, **p) for n, p in variants().items()}
    shift: Parts = {"requantize": REQUANTIZERS["power-of-two"]}
    again = stream_with(power_of_two_scales(model, floats), images, BATCH, **shift)
    streams["power-of-two-weights"] = again
    names = [n for n in model.edges if n not in model.inputs and _is_integer(model, n)]
    for traces in progress(_together(streams), "batches"):
        contract = {name: traces["contract"][name] for name in names}
        expected = _predicted(model, traces["contract"])
        truth = split.labels[done : done + len(expected)]
        done += len(expected)
        for variant, trace in traces.items():
            found = counts.setdefault(variant, {"codes": {}, "changed": 0, "correct": 0})
            predicted = _predicted(model, trace)
            found["changed"] += int((predicted != expected).sum())
            found["correct"] += int((predicted == truth).sum())
            for name in names if variant != "contract" else ():
                wrong = int(np.count_nonzero(trace[name] != contract[name]))
                if wrong:
                    found["codes"][name] = found["codes"].get(name, 0) + wrong
        if kept is not None:
            atomic_write_json(kept, {"done": done, "counts": counts})
    per_image = sum(elements(model.edges[name].shape[1:]) or 0 for name in names)
    return {
        "images": done,
        "correct": counts.pop("contract")["correct"],
        "codes": per_image * done,
        "variants": counts,
    }


def _resumed(kept: Path | None) -> tuple[int, dict[str, Any]]:
    if kept is None or not kept.is_file():
        return 0, {}
    held = json.loads(kept.read_text(encoding="utf-8"))
    return held["done"], held["counts"]


def _together(streams: Mapping[str, Iterator[Trace]]) -> Iterator[dict[str, Trace]]:
    """Yield the traces of one batch, of all variants."""
    for traces in zip(*streams.values(), strict=True):
        yield dict(zip(streams, traces, strict=True))


def _is_integer(model: QuantizedModel, name: str) -> bool:
    return model.edges[name].params is not None


def _predicted(model: QuantizedModel, trace: Trace) -> NDArray[np.int64]:
    return np.asarray(trace[model.outputs[0]].argmax(axis=1))
