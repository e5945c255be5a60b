"""Train ResNet8 on CIFAR-10 and write its state dict (resnet8.pt) and a record (training.json).

A checkpoint is written after every epoch; the same command resumes an interrupted run. On two
CPU cores an epoch takes about a minute.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.terminal import Parser, positive_int, run


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("_build/training"))
    parser.add_argument("--epochs", type=positive_int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help='"cpu" or "cuda" (default: cuda if there is one)')
    arguments = parser.parse_args()

    images = load_split("train")
    import torch

    from workshop.training import Recipe, train

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EnvironmentProblem(
            "PyTorch cannot use this device",
            where="--device",
            found=device,
            next_step="Leave out --device, or give cpu.",
        ) from error
    recipe = Recipe(epochs=arguments.epochs or Recipe.epochs, seed=arguments.seed)
    record = train(
        images,
        recipe,
        arguments.output_dir,
        device=device,
        report=lambda line: print(line, flush=True),
    )
    print(f"wrote {arguments.output_dir / 'resnet8.pt'}: {record['curve'][-1]}")


if __name__ == "__main__":
    run(main)
