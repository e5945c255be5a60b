"""Measure where the int8 network departs from the float one, on test images of CIFAR-10.

Every layer's output is compared with the float network's; then only the weights, only one layer's
weights or only one layer's output is in int8, and the logits are compared. Half a minute for
300 images on one core.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import samples
from bitbybit.terminal import Parser, positive_int, run
from workshop.measured_error import measured_error
from workshop.selection import at_most


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8_int8.onnx"), help="int8 network")
    add("--float", type=Path, default=Path("models/resnet8.onnx"), help="its float twin")
    add("--max-samples", type=positive_int, default=300, help="so many images (default: 300)")
    add("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    add("--output-json", type=Path, default=Path("_build/measured_error.json"))
    arguments = parser.parse_args()
    require_apart([arguments.output_json], [arguments.model, arguments.float])
    split = at_most(load_split("test"), arguments.max_samples, arguments.seed)
    record = measured_error(arguments.model, arguments.float, split, "test", samples())
    command = "python scripts/measure_error.py"
    command += f" --max-samples {arguments.max_samples} --seed {arguments.seed}"
    atomic_write_json(arguments.output_json, {"command": command} | record)
    print(f"wrote {arguments.output_json}: {len(split)} images")


if __name__ == "__main__":
    run(main)
