"""Training of ResNet8 on CIFAR-10: resumable, seeded, on CPU or CUDA.

Choices are judged on the held-out *training* images of
:func:`workshop.selection.held_out_split`; the test images are never looked at here.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bitbybit.errors import DataError
from bitbybit.files import atomic_write_bytes, atomic_write_json
from bitbybit.resnet8.cifar10 import Split
from workshop.architecture import ResNet8
from workshop.muon import Muon
from workshop.progress import progress
from workshop.selection import held_out_split, names_sha256

INPUT_SCALE = 2.0**-6
"""Training sees pixels times 2**-6; a power of two folds into the stem without rounding."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on besides the images."""

    epochs: int = 72
    batch_size: int = 128
    muon_lr: float = 0.02
    muon_weight_decay: float = 0.1
    adam_lr: float = 0.006
    warmup: float = 0.05
    label_smoothing: float = 0.05
    crop_padding: int = 3
    average_every: int = 5
    average_decay: float = 0.99
    seed: int = 0


def train(
    train_split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train, or resume the run whose checkpoint lies in ``folder``.

    Writes ``checkpoint.pt`` after every epoch, and at the end ``resnet8.pt`` (a plain state
    dict that expects raw pixels 0..255) and ``training.json`` (recipe, curve, image lists).
    Each file appears under its name only when it is complete.

    Parameters
    ----------
    train_split
        All 50,000 training images; the held-out ones among them judge each epoch.
    recipe
        What else the run depends on.
    folder
        Where the files are written; made if it is missing.
    device
        ``"cpu"``, ``"cuda"`` or another device of PyTorch.
    report
        Called with one line per epoch.

    Returns
    -------
    dict
        The record that was written to ``training.json``.

    Raises
    ------
    DataError
        If the checkpoint in ``folder`` is damaged or belongs to another recipe.
    EnvironmentProblem
        If the folder cannot be written to.
    """
    used, held = held_out_split(train_split)
    run = _Run(recipe, len(used), device)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
        report(f"resuming after epoch {len(run.curve)} of {recipe.epochs}")
    images = _padded(used, recipe.crop_padding)
    labels = torch.from_numpy(used.labels)
    while len(run.curve) < recipe.epochs:
        entry = run.judged_epoch(images, labels, held)
        run.save(checkpoint)
        report(" ".join(f"{key} {value}" for key, value in entry.items()))
    record = {
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "device": device,
        "training_images": _describe(used),
        "held_out_images": _describe(held),
        "curve": run.curve,
    }
    atomic_save(raw_pixel_state(run.averaged_model()), folder / "resnet8.pt")
    atomic_write_json(folder / "training.json", record)
    return record


def _describe(split: Split) -> dict[str, Any]:
    return {"count": len(split), "names_sha256": names_sha256(split.names)}


def raw_pixel_state(model: ResNet8) -> dict[str, Tensor]:
    """Return the state dict of ``model`` with the input scale folded into the stem (exact)."""
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    state["stem.weight"] *= INPUT_SCALE
    return state


def evaluate(model: ResNet8, split: Split, device: str = "cpu") -> int:
    """Count correct predictions of a training-scale model on ``split``."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(split), 500):
            batch = torch.from_numpy(split.images[start : start + 500]).to(device)
            predicted = model(batch.float() * INPUT_SCALE).argmax(1).cpu().numpy()
            correct += int((predicted == split.labels[start : start + 500]).sum())
    return correct


class _Run:
    """The mutable state of one training run."""

    def __init__(self, recipe: Recipe, image_count: int, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.model = ResNet8().to(device)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        convolutions = [p for p in self.model.parameters() if p.ndim == 4]
        others = [p for p in self.model.parameters() if p.ndim != 4]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(convolutions, recipe.muon_lr, weight_decay=recipe.muon_weight_decay),
            torch.optim.AdamW(others, recipe.adam_lr, weight_decay=0.0),
        ]
        self.peak_lrs = [recipe.muon_lr, recipe.adam_lr]
        self.steps_per_epoch = image_count // recipe.batch_size
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.mirrored = torch.rand(image_count, generator=self.generator) < 0.5

    def judged_epoch(self, images: Tensor, labels: Tensor, held: Split) -> dict[str, Any]:
        """Train for one epoch; append loss and held-out accuracy to the curve and return them."""
        started = time.perf_counter()
        loss = self.epoch(images, labels)
        correct = evaluate(self.averaged_model(), held, self.device)
        entry = {
            "epoch": len(self.curve) + 1,
            "loss": round(loss, 4),
            "held_out_top1": round(100 * correct / len(held), 2),
            "seconds": round(time.perf_counter() - started, 1),
        }
        self.curve.append(entry)
        return entry

    def epoch(self, images: Tensor, labels: Tensor) -> float:
        """Train for one epoch; return the mean loss."""
        self.model.train()
        recipe = self.recipe
        order = torch.randperm(len(labels), generator=self.generator)
        mirrored = self.mirrored ^ bool(len(self.curve) % 2)
        total = 0.0
        starts = range(0, self.steps_per_epoch * recipe.batch_size, recipe.batch_size)
        for start in progress(starts, f"epoch {len(self.curve) + 1}"):
            index = order[start : start + recipe.batch_size]
            batch = self._augment(images, index, mirrored[index]).to(self.device)
            self._set_learning_rate()
            loss = functional.cross_entropy(
                self.model(batch),
                labels[index].to(self.device),
                label_smoothing=recipe.label_smoothing,
            )
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            self.step += 1
            total += loss.item()
            if self.step % recipe.average_every == 0:
                self._update_average()
        return total / self.steps_per_epoch

    def _augment(self, images: Tensor, index: Tensor, mirrored: Tensor) -> Tensor:
        count, shifts = len(index), 2 * self.recipe.crop_padding + 1
        rows = torch.randint(0, shifts, (count, 1), generator=self.generator) + torch.arange(32)
        columns = torch.randint(0, shifts, (count, 1), generator=self.generator) + torch.arange(32)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        crop = images[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return crop.permute(0, 3, 1, 2).contiguous().float() * INPUT_SCALE

    def _set_learning_rate(self) -> None:
        progress = self.step / (self.recipe.epochs * self.steps_per_epoch)
        warmup = self.recipe.warmup
        factor = progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)
        for optimizer, peak in zip(self.optimizers, self.peak_lrs, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor

    def _update_average(self) -> None:
        decay = min(self.recipe.average_decay, self.step / (self.step + 50))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[key].lerp_(value, 1 - decay)
                else:
                    self.average[key].copy_(value)

    def averaged_model(self) -> ResNet8:
        """Return a copy of the model that carries the averaged weights."""
        model = ResNet8().to(self.device)
        model.load_state_dict(self.average)
        return model

    def save(self, path: Path) -> None:
        """Write the checkpoint; an interrupted write leaves the former one in place."""
        state = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "mirrored": self.mirrored,
            "step": self.step,
            "curve": self.curve,
        }
        atomic_save(state, path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self._check_recipe(state["recipe"], path)
            self.model.load_state_dict(state["model"])
            self.average = state["average"]
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.generator.set_state(state["generator"].cpu())
            self.mirrored = state["mirrored"].cpu()
            self.step, self.curve = state["step"], state["curve"]
        except DataError:
            raise
        except Exception as error:  # torch.load raises whatever a damaged file leads it to
            raise DataError(
                "not a checkpoint of this script",
                where=path,
                found=type(error).__name__,
                next_step="Delete the file to start over.",
            ) from error

    def _check_recipe(self, found: dict[str, Any], path: Path) -> None:
        expected = asdict(self.recipe)
        differing = [k for k in expected if found.get(k) != expected[k]]
        if differing:
            raise DataError(
                "the checkpoint belongs to another recipe",
                where=path,
                expected={k: expected[k] for k in differing},
                found={k: found.get(k) for k in differing},
                next_step="Use the same options, or another output folder.",
            )


def _padded(split: Split, padding: int) -> Tensor:
    """Return the images with mirrored borders, uint8 ``[N, 3, 32+2p, 32+2p]``."""
    images = np.pad(split.images, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), mode="reflect")
    return torch.from_numpy(images)


def atomic_save(state: Any, path: Path) -> None:
    """Write what ``torch.save`` makes of ``state``; the file appears when it is complete."""
    buffer = io.BytesIO()  # a path would put its own name into the archive
    torch.save(state, buffer)
    atomic_write_bytes(path, buffer.getvalue())
