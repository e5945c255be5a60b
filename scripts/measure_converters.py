"""Measure what converters of few bits do to the int8 network on analog row tiles.

Every convolution and dense layer is cut into tiles, and each column of each tile is read by one
converter; its reach is the largest sum of training images, or that of any input. A quarter of an
hour for 1,000 test images on one core.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import samples
from bitbybit.terminal import Parser, positive_int, run
from workshop.analog_converters import analog_record
from workshop.selection import at_most


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8_int8.onnx"), help="int8 network")
    add("--max-samples", type=positive_int, default=1000, help="test images (default: 1000)")
    add("--calibration", type=positive_int, default=256, help="training images (default: 256)")
    add("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    add("--output-json", type=Path, default=Path("_build/analog_converters.json"))
    arguments = parser.parse_args()
    require_apart([arguments.output_json], [arguments.model])
    calibration = at_most(load_split("train"), arguments.calibration, arguments.seed)
    test = at_most(load_split("test"), arguments.max_samples, arguments.seed)
    record = analog_record(arguments.model, calibration, test, samples().images)
    command = f"python scripts/measure_converters.py --max-samples {arguments.max_samples}"
    command += f" --calibration {arguments.calibration} --seed {arguments.seed}"
    atomic_write_json(arguments.output_json, {"command": command} | record)
    print(f"wrote {arguments.output_json}: {len(test)} images")


if __name__ == "__main__":
    run(main)
