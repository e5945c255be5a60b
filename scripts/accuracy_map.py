"""Map the accuracy of ResNet8 over weight bits and activation bits, 2 to 8 each.

Every cell is a real integer network (S8S8 codes with narrower rails, one weight scale per
channel), computed exactly: with weights rounded to nearest, without and with bias correction,
and with GPTQ. About eight minutes for 2,000 images on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.terminal import Parser, positive_int, run
from workshop.accuracy_map import accuracy_map
from workshop.calibration import METHODS
from workshop.progress import progress
from workshop.selection import at_most, calibration_split, held_out_split


def command(arguments: argparse.Namespace) -> str:
    """Return the command that makes this record again; paths say nothing about it."""
    words = ["python scripts/accuracy_map.py", "--split", arguments.split]
    words += ["--ranges", arguments.ranges]
    if arguments.max_samples is not None:
        words += ["--max-samples", str(arguments.max_samples), "--seed", str(arguments.seed)]
    return " ".join(words)


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8.onnx"), help="float network")
    add("--split", choices=("held-out", "test"), default="held-out", help="default: held-out")
    add(
        "--max-samples",
        type=positive_int,
        help="so many of its images, at random",
    )
    add("--seed", type=int, default=0, help="seed of that choice (default: 0)")
    add("--ranges", choices=METHODS, default="mse", help="default: mse")
    add("--output-json", type=Path, default=Path("_build/accuracy_map.json"))
    arguments = parser.parse_args()
    require_apart([arguments.output_json], [arguments.model])
    train = load_split("train")
    split = load_split("test") if arguments.split == "test" else held_out_split(train)[1]
    split = at_most(split, arguments.max_samples, arguments.seed)
    record = accuracy_map(
        arguments.model,
        calibration_split(train),
        split,
        arguments.split,
        arguments.ranges,
        lambda schemes: progress(schemes, "networks"),
    )
    atomic_write_json(arguments.output_json, {"command": command(arguments)} | record)
    print(f"wrote {arguments.output_json}: {len(record['cells'])} networks")


if __name__ == "__main__":
    run(main)
