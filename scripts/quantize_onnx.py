"""Quantize a float ONNX network after training, calibrated on training images of CIFAR-10.

Writes the quantized network, and beside it the calibration record: with the record the same
bytes come out again on every machine, without images. Other networks are calibrated on the
inputs in a .npy file. The committed models are made by scripts/make_models.py.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitbybit.errors import DataError
from bitbybit.files import require_apart
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from bitbybit.model.writer import write
from bitbybit.quantization import Calibration, Scheme, quantize
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.terminal import Parser, configure_logging, positive_int, run
from workshop.calibration import METHODS, RangeMethod, calibrate
from workshop.selection import (
    CALIBRATION_PER_CLASS,
    CALIBRATION_SEED,
    held_out_split,
    names_sha256,
    select_per_class,
)

DTYPES: Mapping[str, dict[str, Any]] = {
    "s8s8": {"activation_dtype": "int8", "weight_dtype": "int8"},
    "u8s8": {"activation_dtype": "uint8", "weight_dtype": "int8"},
    "u8u8": {"activation_dtype": "uint8", "weight_dtype": "uint8", "per_channel": False},
}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8.onnx"), help="float network")
    add("--output", type=Path, default=Path("_build/quantized.onnx"), help="quantized network")
    add("--format", choices=("qdq", "qoperator"), default="qdq", help="default: qdq")
    scheme = parser.add_argument_group("what to quantize to")
    add = scheme.add_argument
    add("--scheme", choices=DTYPES, default="s8s8", help="activations, weights (default: s8s8)")
    add("--per-tensor", action="store_true", help="one weight scale per tensor, not per channel")
    add("--symmetric", action="store_true", help="activations with the zero point in the middle")
    add("--weight-bits", type=int, default=8, metavar="2..8")
    add("--activation-bits", type=int, default=8, metavar="2..8")
    add("--weights", choices=("minmax", "mse", "gptq"), default="gptq", help="default: gptq")
    add("--no-bias-correction", action="store_true")
    calibration = parser.add_argument_group("calibration")
    add = calibration.add_argument
    add("--ranges", choices=METHODS, default="output", help="default: output (takes minutes)")
    add("--percentile", type=float, default=99.99, help="for --ranges percentile")
    add(
        "--per-class",
        type=positive_int,
        default=CALIBRATION_PER_CLASS,
        help="default: 100 images",
    )
    add("--seed", type=int, default=CALIBRATION_SEED, help="seed of their choice (default: 1)")
    add("--inputs", type=Path, help="calibrate on this float32 .npy file [N, ...] instead")
    add("--record", type=Path, help="use this calibration record, which needs no images")
    return parser.parse_args()


def scheme_of(arguments: argparse.Namespace) -> Scheme:
    fields: dict[str, Any] = {
        "symmetric_activations": arguments.symmetric,
        "weight_bits": arguments.weight_bits,
        "activation_bits": arguments.activation_bits,
        "weights": arguments.weights,
        "bias_correction": not arguments.no_bias_correction,
    } | DTYPES[arguments.scheme]
    if arguments.per_tensor:
        fields["per_channel"] = False
    return Scheme(**fields)


def calibration_images(
    arguments: argparse.Namespace,
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return the images and what the record says of them."""
    if arguments.inputs is None:
        train = load_split("train")
        held = held_out_split(train)[1]
        index = select_per_class(train, arguments.per_class, arguments.seed, held.names)
        chosen = train.take(index)
        return chosen.images, {
            "dataset": "CIFAR-10, training images",
            "names_sha256": names_sha256(chosen.names),
            "rule": f"{arguments.per_class} of each class, seed {arguments.seed}, none held out",
        }
    try:
        images = np.load(arguments.inputs, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            "not a .npy file of numbers",
            where=arguments.inputs,
            found=type(error).__name__,
            next_step="Write one with numpy.save: float32, one row per input.",
        ) from error
    return images, {"file": arguments.inputs.name}


def calibrated(arguments: argparse.Namespace, model: QuantizedModel, scheme: Scheme) -> Calibration:
    """Calibrate, and save the record beside the output."""
    images, description = calibration_images(arguments)
    method = RangeMethod(arguments.ranges, arguments.percentile)
    calibration = calibrate(model, [images], method, (scheme,), description)
    path = arguments.output.with_suffix(".calibration.json")
    calibration.save(path)
    print(f"wrote {path}")
    return calibration


def main() -> None:
    arguments = parse()
    read = filter(None, (arguments.model, arguments.inputs, arguments.record))
    require_apart([arguments.output], read)
    configure_logging(logging.INFO)
    scheme = scheme_of(arguments)
    model = load(arguments.model)
    if arguments.record is not None:
        calibration = Calibration.load(arguments.record)
    else:
        calibration = calibrated(arguments, model, scheme)
    write(quantize(model, calibration, scheme), arguments.output, arguments.format)
    print(f"wrote {arguments.output}: {scheme}")


if __name__ == "__main__":
    run(main)
