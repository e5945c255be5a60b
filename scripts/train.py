"""Train ResNet8 on CIFAR-10 and write a state dict, a checkpoint and a record."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.training import Recipe, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("_build/training"))
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    recipe = Recipe(epochs=arguments.epochs, seed=arguments.seed)
    train(
        load_split("train"),
        recipe,
        arguments.output_dir,
        device=arguments.device,
        report=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
