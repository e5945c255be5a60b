"""``bitbybit check``: somebody's dump against vectors, and the mistake that explains it."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bitbybit.errors import DataError
from bitbybit.terminal import positive_int


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``check``."""
    add = parser.add_argument
    add("pack", type=Path, metavar="DIR", help="what `bitbybit vectors` wrote")
    add("--got", type=Path, metavar="DUMP", required=True, help="a folder, .npz, .npy, .hex, .bin")
    add("--model", type=Path, metavar="FILE", help="the model of the pack, if it is none of ours")
    add("--layer", default="", metavar="NAME", help="what a single file holds: stem, or stem.acc")
    add("--layout", default="NCHW", help="of the dump: NCHW, NHWC, NC/8HW8 (any block), im2col")
    add("--word-bits", type=positive_int, default=64, metavar="N", help="of a hex word; default 64")
    add("--stimuli", default="", metavar="NAME", help="set of stimuli; default: the first")
    add("--images", type=positive_int, metavar="N", help="how many images the dump holds")
    add("--json", action="store_true", help="print JSON")
    add("--html", type=Path, metavar="FILE", help="write a page")


def main(arguments: Namespace) -> int:
    """Compare a dump with the vectors of DIR, and name the mistake that makes exactly this dump.

    Files are called as in the pack, or LAYER.hex for outputs, LAYER.acc.hex and LAYER.sum.hex for
    accumulators with and without bias (.hex, .bin, .npy). Some layers are enough. The first layer
    that differs is run again with one thing changed, for each of the known mistakes, and in pairs.

    Exit status: 0 every element that was compared is equal; 1 one is not; 2 nothing can be
    compared, or not so.
    """
    # Before NumPy is loaded: its small products are slower on several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bitbybit.files import atomic_write_text, require_apart
    from bitbybit.hardware import Given, check, read_pack
    from bitbybit.hardware.check_report import as_dict, as_lines
    from bitbybit.model.load import load

    pack = read_pack(arguments.pack)
    network = load(arguments.model or _model(pack.manifest["model"]))
    pack = read_pack(arguments.pack, network)
    given = Given(
        layout=arguments.layout,
        word_bits=arguments.word_bits,
        target=arguments.layer,
        stimuli=arguments.stimuli,
        images=arguments.images,
    )
    if arguments.html is not None:
        require_apart([arguments.html], [network.path, arguments.got, arguments.pack])
    found = check(network, pack, arguments.got, given)
    if arguments.html is not None:
        from bitbybit.pictures.check_page import check_page

        atomic_write_text(arguments.html, check_page(found))
    if arguments.json:
        print(json.dumps(as_dict(found), indent=1, allow_nan=False))
    else:
        print("\n".join(as_lines(found)))
    return found.exit_status


def _model(told: dict[str, str]) -> Path:
    """Find the model of a pack: a committed one, or a file of this name in the current folder."""
    from bitbybit.hardware.pack import sha256_of
    from bitbybit.resnet8.examples import EXAMPLES, example

    paths = [Path(told["file"]), *(example(name) for name in EXAMPLES)]
    for path in paths:
        if path.is_file() and sha256_of(path) == told["sha256"]:
            return path
    raise DataError(
        "the model of the pack is not here",
        where=told["file"],
        expected=f"sha256 {told['sha256'][:12]}",
        next_step="Name it with --model.",
    )
