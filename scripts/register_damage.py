"""Measure what CIFAR-10's test images reach in the accumulators, and what too few bits cost.

Sums are observed on all images. On some of them one register width serves all layers, and one bit
after the other is taken away, for a register that wraps, one that saturates at the end, and one
that saturates after each product: seven images a second on one core.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import samples
from bitbybit.terminal import Parser, positive_int, run
from workshop.progress import progress
from workshop.register_damage import register_damage
from workshop.selection import at_most


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/resnet8_int8.onnx"), help="int8 network")
    add("--max-samples", type=positive_int, default=300, help="run so many (default: 300)")
    add("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    add("--output-json", type=Path, default=Path("_build/register_damage.json"))
    arguments = parser.parse_args()
    require_apart([arguments.output_json], [arguments.model])
    split = load_split("test")
    chosen = at_most(split, arguments.max_samples, arguments.seed)
    record = register_damage(
        arguments.model, split, chosen, "test", samples(), lambda parts: progress(parts, "batches")
    )
    command = "python scripts/register_damage.py"
    command += f" --max-samples {arguments.max_samples} --seed {arguments.seed}"
    atomic_write_json(arguments.output_json, {"command": command} | record)
    print(f"wrote {arguments.output_json}: {len(split)} images, {len(chosen)} of them run")


if __name__ == "__main__":
    run(main)
