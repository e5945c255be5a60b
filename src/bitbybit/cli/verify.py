"""``bitbybit verify``: the engine against ONNX Runtime, integer by integer."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bitbybit.terminal import positive_int
from bitbybit.text import printable


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``verify``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="an ONNX file with quantized layers")
    add("--inputs", type=Path, metavar="FILE", help="graph inputs by name (.npz); default: images")
    add("--expected", type=Path, metavar="FILE", help="expected graph outputs by name (.npz)")
    add("--images", type=positive_int, metavar="N", help="how many images")
    add("--exhaustive", action="store_true", help="every pair, code and accumulator, too")
    add("--json", action="store_true", help="print JSON")


def main(arguments: Namespace) -> int:
    """Compare the exact engine with ONNX Runtime, layer by layer, or with expected outputs.

    Exit status: 0 all layers are integer and every element is equal; 1 a mismatch; 2 it cannot
    be run; 3 equal, but layers lie outside the contract.
    """
    # Before NumPy is loaded: its small products are slower on several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bitbybit.execution import verification
    from bitbybit.execution.exhaustive import check_exhaustively
    from bitbybit.execution.feed import read_npz
    from bitbybit.execution.report import as_dict, as_lines
    from bitbybit.model.load import load
    from bitbybit.resnet8.inputs import default_images

    model, images = arguments.model, arguments.images
    outputs = None if arguments.expected is None else read_npz(arguments.expected)
    if arguments.inputs is not None:
        report = verification.verify(model, read_npz(arguments.inputs), outputs, images)
    else:
        network = load(model)
        given, words = default_images(network, images)
        report = verification.verify(model if given is None else network, given, outputs, images)
        report.inputs = words or report.inputs
    if arguments.exhaustive:
        check_exhaustively(report)
    if arguments.json:
        print(json.dumps(as_dict(report), indent=1, allow_nan=False))
    else:
        print("\n".join(printable(line) for line in as_lines(report)))
    return report.exit_status
