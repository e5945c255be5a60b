"""Measure what each way to requantize does to the int8 network, on test images of CIFAR-10.

The whole network runs in every variant; codes and predictions are compared with the contract's.
Half an hour for 10,000 images on one core; a run that was interrupted goes on where it was.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import samples
from bitbybit.terminal import Parser, positive_int, run
from workshop.requantizer_record import requantizer_record
from workshop.selection import at_most


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8_int8.onnx"), help="int8 network")
    add("--float", type=Path, default=Path("models/resnet8.onnx"), help="its float twin")
    add("--max-samples", type=positive_int, default=10_000, help="so many images (default: all)")
    add("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    add("--output-json", type=Path, default=Path("_build/requantizers.json"))
    arguments = parser.parse_args()
    require_apart([arguments.output_json], [arguments.model, arguments.float])
    split = at_most(load_split("test"), arguments.max_samples, arguments.seed)
    kept = arguments.output_json.with_suffix(".kept.json")
    files = arguments.model, arguments.float
    record = requantizer_record(*files, split, "test", samples(), kept)
    command = "python scripts/measure_requantizers.py"
    command += f" --max-samples {arguments.max_samples} --seed {arguments.seed}"
    atomic_write_json(arguments.output_json, {"command": command} | record)
    kept.unlink(missing_ok=True)
    print(f"wrote {arguments.output_json}: {len(split)} images")


if __name__ == "__main__":
    run(main)
