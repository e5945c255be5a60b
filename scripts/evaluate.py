"""Evaluate a ResNet8 file on CIFAR-10: top-1, per class, and fidelity to another model.

ONNX files run in ONNX Runtime as the integer graph; .pt files (a float state dict, or quantized
TorchScript) run in PyTorch. Without the dataset the ten bundled sample images are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import Split, find_folder, load_split
from bitbybit.resnet8.examples import samples
from bitbybit.terminal import Parser, positive_int, run
from workshop.evaluation import evaluate
from workshop.selection import at_most, held_out_split


def choose_images(name: str | None) -> tuple[Split, str]:
    """Return the images and their name."""
    name = name or ("test" if find_folder() else "samples")
    if name == "samples":
        return samples(), name
    if name == "held-out":
        return held_out_split(load_split("train"))[1], name
    return load_split("test" if name == "test" else "train"), name


def show(record: dict[str, Any]) -> None:
    data = record["data"]
    if data["split"] == "samples":
        print("The bundled sample images say whether the model works, not how accurate it is;")
        print("for that, set BITBYBIT_DATA to a folder that holds CIFAR-10.\n")
    model, images = record["model"], f"{data['images']} images of {data['split']}"
    print(f"{model['file']} ({model['sha256'][:12]}), {record['backend']}, {images}")
    for row in (*record["per_class"], {"class": "all"} | record["overall"]):
        share = "" if row["accuracy"] is None else f"{100 * row['accuracy']:8.2f} %"
        print(f"{row['class']:<12}{row['correct']:>6} of {row['total']:<6}{share}")
    if "against" in record:
        other = record["against"]
        decibels = other["logit_sqnr_db"]
        distance = "equal logits" if decibels is None else f"logit SQNR {decibels} dB"
        changed = f"{other['changed_predictions']} changed predictions"
        print(f"against {other['model']['file']}: {changed}, {distance}")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, help=".onnx or .pt file")
    parser.add_argument(
        "--split",
        choices=("test", "train", "held-out", "samples"),
        help="images (default: test; samples if CIFAR-10 is not found)",
    )
    parser.add_argument("--against", type=Path, help="reference model to compare the logits with")
    parser.add_argument("--max-samples", type=positive_int, help="so many images, at random")
    parser.add_argument("--seed", type=int, default=0, help="seed of that choice (default: 0)")
    parser.add_argument("--output-json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    read = filter(None, (arguments.model, arguments.against))
    require_apart(filter(None, [arguments.output_json]), read)
    split, name = choose_images(arguments.split)
    split = at_most(split, arguments.max_samples, arguments.seed)
    record = evaluate(arguments.model, split, name, arguments.against)
    show(record)
    if arguments.output_json:
        atomic_write_json(arguments.output_json, record)


if __name__ == "__main__":
    run(main)
