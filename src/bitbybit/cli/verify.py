"""``bitbybit verify``: the engine against ONNX Runtime, integer by integer."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bitbybit.terminal import Parser, positive_int
from bitbybit.text import printable

if TYPE_CHECKING:
    from bitbybit.execution.feed import Input

VALIDATED_IMAGES = 4
"""Images that a validator script takes when nobody says how many."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``verify``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="an ONNX file with quantized layers")
    add("--inputs", type=Path, metavar="FILE", help="graph inputs by name (.npz); default: images")
    add("--expected", type=Path, metavar="FILE", help="expected tensors by name (.npz); LAYER.acc")
    add("--images", type=positive_int, metavar="N", help="how many images")
    add("--quick", action="store_true", help="leave out the inputs that no image reaches")
    add("--kind", default="", help="check layers of one kind only (conv, dense, add, ...)")
    add("--json", action="store_true", help="print JSON")


def main(arguments: Namespace) -> int:
    """Compare the exact engine with ONNX Runtime, layer by layer, or with expected tensors.

    Beside the images, every pair of codes of an addition, every code of a border, and every
    accumulator that a layer's weights can reach is tried.

    Exit status: 0 all layers are integer and every element is equal; 1 a mismatch; 2 it cannot
    be run; 3 equal, but layers lie outside the contract.
    """
    # Before NumPy is loaded: its small products are slower on several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bitbybit.execution.feed import read_npz
    from bitbybit.execution.verdict import as_dict, as_lines
    from bitbybit.execution.verification import verify
    from bitbybit.model.load import load
    from bitbybit.resnet8.examples import default_images

    network, images, words = load(arguments.model), arguments.images, ""
    inputs: Input | None
    if arguments.inputs is not None:
        inputs = read_npz(arguments.inputs)
    else:
        inputs, words = default_images(network, images)
    expected = None if arguments.expected is None else read_npz(arguments.expected)
    report = verify(network, inputs, expected, images, quick=arguments.quick, kind=arguments.kind)
    report = replace(report, inputs=words or report.inputs)
    if arguments.json:
        print(json.dumps(as_dict(report), indent=1, allow_nan=False))
    else:
        print("\n".join(printable(line) for line in as_lines(report)))
    return report.exit_status


def validate(description: str | None, kind: str) -> int:
    """Run a validator script: ``verify`` for one kind of layer; returns the exit status."""
    parser = Parser(description)
    add_arguments(parser)
    parser.set_defaults(kind=kind)
    arguments = parser.parse_args()
    if arguments.inputs is None and arguments.images is None:
        arguments.images = VALIDATED_IMAGES
    return main(arguments)
