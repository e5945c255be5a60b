"""``bitbybit vectors``: every integer of every layer, written for hardware."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from bitbybit.terminal import positive_int
from bitbybit.text import printable

STIMULI = ("real", "directed", "hazard")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``vectors``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="an ONNX file with quantized layers")
    add("--out", type=Path, metavar="DIR", required=True, help="an empty folder, or a new one")
    add(
        "--inputs",
        type=Path,
        metavar="FILE",
        help="an image, or inputs by name (.npz); default: images",
    )
    add("--images", type=positive_int, metavar="N", help="how many images; default: 4")
    add("--layers", type=_words, metavar="A,B", default=(), help="these layers only")
    add("--stimuli", type=_words, default=("real",), metavar="A,B", help=_STIMULI)
    add(
        "--hazard-images",
        type=positive_int,
        default=256,
        metavar="N",
        help="a layer at most; default 256",
    )
    add("--format", type=_words, default=("npy",), metavar="A,B", help=_FORMATS)
    add("--layout", type=_words, default=("NCHW",), metavar="A,B", help=_LAYOUTS)
    add("--word-bits", type=positive_int, default=64, metavar="N", help="of a hex word; default 64")
    add("--requant", default="contract", metavar="SCHEME", help=_SCHEMES)
    add("--multipliers", type=Path, metavar="FILE", help="your own, .json or .npz, by layer")


_STIMULI = f"of {', '.join(STIMULI)}; default: real"
_FORMATS = "of npy, hex, bin, c; the C program reads bin in NCHW"
_LAYOUTS = "of NCHW, NHWC, NC/8HW8 (or another block), im2col; default: NCHW"
_SCHEMES = "how sums become codes, a name that `bitbybit requantizers` lists; default: contract"


def main(arguments: Namespace) -> int:
    """Write inputs, weights, accumulators, multipliers and outputs of every layer.

    DIR/manifest.json says what each file holds; vectors.schema.json describes it. The .npy files
    in ONNX layout are always there, other formats and layouts beside them. An interrupted run
    goes on where it ended.

    Stimuli: real images through the whole network; directed codes into each layer alone; hazard:
    inputs that reach ties, rails, borders, and the sums on which other schemes differ.

    Exit status: 0 the pack is whole; 2 it cannot be written.
    """
    # Before NumPy is loaded: its small products are slower on several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bitbybit.cli._show import read_inputs
    from bitbybit.execution.feed import Input, stimuli
    from bitbybit.hardware import Choice, Scheme, read_multipliers, write_pack
    from bitbybit.model.load import load
    from bitbybit.resnet8.examples import default_images

    network = load(arguments.model)
    inputs: Input | None
    count = arguments.images or IMAGES
    if arguments.inputs is not None:
        arrays, words = read_inputs(arguments.inputs, network)
        inputs = {name: values[: arguments.images] for name, values in arrays.items()}
    else:
        inputs, words = default_images(network, count)
    if inputs is None:
        inputs, words = stimuli(network, count), "seeded stimuli"
    scheme = Scheme(arguments.requant)
    if arguments.multipliers is not None:
        own = read_multipliers(arguments.multipliers, network, scheme.name)
        scheme = replace(scheme, own=own)
    choice = Choice(
        layers=arguments.layers,
        stimuli=arguments.stimuli,
        hazard_images=arguments.hazard_images,
        scheme=scheme,
        formats=arguments.format,
        layouts=arguments.layout,
        word_bits=arguments.word_bits,
        words=words,
    )
    shown = sys.stderr.isatty()
    pack = write_pack(network, arguments.out, inputs, choice, _progress if shown else None)
    if shown:
        sys.stderr.write("\r\x1b[K")
    files = [path for path in arguments.out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(printable(f"{arguments.out}: {len(files)} files, {size:,} bytes, {words}"))
    print(f"{len(pack.layers)} layers, {', '.join(pack.stimuli)}, scheme {scheme.name}")
    return 0


IMAGES = 4
"""Images of a pack when nobody says how many."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _progress(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"\r\x1b[K{printable(what)} ({done + 1} of {total})")
    sys.stderr.flush()
