"""``bitbybit inspect``: what is in a model file, layer by layer."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

BINS = 50
"""Bins of a histogram, unless another number is asked for."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``inspect``."""
    add = parser.add_argument
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    add("model", type=Path, metavar="MODEL", help="an ONNX file, or a .pt file (its tensors)")
    add("--layer", default="", metavar="NAME", help="show everything of this layer")
    add("--json", action="store_true", help="print JSON; with the options below, their numbers too")
    add("--html", **file, help="write a page: weights, histograms; with --run outputs too")
    add("--csv", **file, help="write one line per tensor")
    add("--against", **file, help="the float ONNX file that this one was made of")
    again = "another form of the model; its weights are put beside; repeatable"
    add("--beside", **file, action="append", default=[], help=again)
    add("--run", action="store_true", help="run the model and its float twin on bundled images")
    add("--inputs", **file, help="run them on this .npz file or image instead")
    add("--bins", type=int, default=BINS, metavar="N", help="bins of each histogram, 10 to 200")
    ends = ("LOW", "HIGH")
    marked = "mark this range of weights and biases; by default mean ± std"
    add("--highlight", type=float, nargs=2, metavar=ends, help=marked)


def main(arguments: Namespace) -> None:
    """Show the layers of a model: shapes, scales, zero points, costs, accumulator widths.

    Nothing of the model is run unless --run or --inputs is given.
    """
    # Imported here: --help needs neither NumPy nor onnx.
    from bitbybit.cli._show import show_network, show_tensors

    if arguments.model.suffix.lower() == ".onnx":
        show_network(arguments, measures=_measures(arguments))
    else:
        show_tensors(arguments, measures=_measures(arguments))


def _measures(arguments: Namespace) -> bool:
    """Whether anything beyond the structure of the file is asked for."""
    a = arguments
    files = (a.html, a.csv, a.against, a.inputs, a.beside)
    return any(files) or a.run or a.bins != BINS or a.highlight is not None
