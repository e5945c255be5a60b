"""Accuracy over weight bits and activation bits: every cell a real integer network, run exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.engine import stream
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from bitbybit.quantization import Calibration, Scheme, quantize
from bitbybit.quantization.scheme import BITS
from bitbybit.resnet8.cifar10 import Split
from workshop.calibration import Method, calibrate
from workshop.evaluation import (
    accuracy,
    describe_data,
    describe_file,
    fidelity,
    run_model,
)
from workshop.manifest import versions
from workshop.selection import names_sha256

SCHEMA_VERSION = 1
TREATMENTS: tuple[dict[str, Any], ...] = (
    {"weights": "mse", "bias_correction": False},
    {"weights": "mse", "bias_correction": True},
    {"weights": "gptq", "bias_correction": True},
)
"""Weights rounded to nearest without and with bias correction, and by GPTQ."""


def map_schemes() -> tuple[Scheme, ...]:
    """Return the schemes of all cells: S8S8, per channel, asymmetric, 2 to 8 bits each."""
    return tuple(
        Scheme(weight_bits=weight, activation_bits=activation, **treatment)
        for treatment, weight, activation in product(TREATMENTS, BITS, BITS)
    )


def accuracy_map(
    float_file: Path,
    calibration_images: Split,
    split: Split,
    split_name: str,
    method: Method = "mse",
    watch: Any = iter,
) -> dict[str, Any]:
    """Quantize a float network to every pair of bit widths and evaluate each.

    Parameters
    ----------
    float_file
        ``resnet8.onnx``.
    calibration_images
        What all cells are calibrated on.
    split, split_name
        What they are evaluated on, and what the record calls it.
    method
        How activation ranges are chosen.
    watch
        Called with the schemes; yields them, and may show progress.

    Returns
    -------
    dict
        ``schema_version, model, versions, method, calibration, data, float`` and ``cells``: per
        scheme ``weight_bits, activation_bits, weights, bias_correction``, ``correct`` images,
        ``changed_predictions`` and ``logit_sqnr_db`` against the float network. Graph input and
        output keep 8 bits.
    """
    model, schemes = load(float_file), map_schemes()
    calibration = calibrate(model, [calibration_images.images], method, schemes)
    _, reference = run_model(float_file, split.images)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_file(float_file),
        "versions": versions(),
        "method": method,
        "calibration": {
            "images": len(calibration_images),
            "names_sha256": names_sha256(calibration_images.names),
        },
        "data": describe_data(split, split_name),
        "float": accuracy(reference, split.labels)["overall"],
        "cells": list(_cells(model, calibration, watch(schemes), split, reference)),
    }


def _cells(
    model: QuantizedModel,
    calibration: Calibration,
    schemes: Iterable[Scheme],
    split: Split,
    reference: NDArray[np.float32],
) -> Iterator[dict[str, Any]]:
    for scheme in schemes:
        network = quantize(model, calibration, scheme)
        traces = stream(network, split.images)
        logits = np.concatenate([trace[network.outputs[0]] for trace in traces])
        yield {
            "weight_bits": scheme.weight_bits,
            "activation_bits": scheme.activation_bits,
            "weights": scheme.weights,
            "bias_correction": scheme.bias_correction,
            "correct": accuracy(logits, split.labels)["overall"]["correct"],
            **fidelity(logits, reference),
        }
