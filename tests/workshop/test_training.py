"""Training on a few random images: repeatable, resumable, and never half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import DataError, EnvironmentProblem
from bitbybit.resnet8.cifar10 import Split
from workshop import selection
from workshop.layers import state_shapes
from workshop.selection import held_out_split, names_sha256
from workshop.state_dict import read_state_dict

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def images() -> Split:
    generator = np.random.default_rng(0)
    count = 120
    names = tuple(f"{i:05d}.png" for i in range(count))
    pixels = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return Split(pixels, np.arange(count) % 10, names)


@pytest.fixture(autouse=True)
def _hold_out_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold out 20 images instead of 2,000, which leaves 100 to train on."""
    monkeypatch.setattr(selection, "HELD_OUT_PER_CLASS", 2)


class Stop(Exception):  # noqa: N818 (it stands for Ctrl-C)
    """Ends a run from outside."""


def stop_after(epoch: int) -> Callable[[str], None]:
    def report(line: str) -> None:
        if line.startswith(f"epoch {epoch} "):
            raise Stop

    return report


def ignore(line: str) -> None:
    assert line


def recipe(**changes: Any) -> Any:
    from workshop.training import Recipe

    return replace(Recipe(epochs=3, batch_size=25), **changes)


def same(a: Path, b: Path) -> bool:
    first, second = read_state_dict(a), read_state_dict(b)
    return list(first) == list(second) and all((first[k] == second[k]).all() for k in first)


def test_an_interrupted_run_resumes_to_the_same_weights(images: Split, tmp_path: Path) -> None:
    from workshop.training import train

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    record = train(images, recipe(), whole, report=ignore)
    with pytest.raises(Stop):
        train(images, recipe(), parts, report=stop_after(2))
    assert [path.name for path in parts.iterdir()] == ["checkpoint.pt"]
    lines: list[str] = []
    resumed = train(images, recipe(), parts, report=lines.append)
    assert lines[0] == "resuming after epoch 2 of 3"
    assert same(whole / "resnet8.pt", parts / "resnet8.pt")
    assert [e["loss"] for e in record["curve"]] == [e["loss"] for e in resumed["curve"]]
    assert json.loads((parts / "training.json").read_text()) == resumed
    _, held = held_out_split(images)
    assert resumed["held_out_images"] == {"count": 20, "names_sha256": names_sha256(held.names)}
    assert sorted(path.name for path in whole.iterdir()) == [
        "checkpoint.pt",
        "resnet8.pt",
        "training.json",
    ]


def test_the_state_dict_is_that_of_resnet8(images: Split, tmp_path: Path) -> None:
    from workshop.training import train

    train(images, recipe(epochs=1), tmp_path, report=ignore)
    state = read_state_dict(tmp_path / "resnet8.pt")
    shapes = {k: v.shape for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert shapes == state_shapes()


def test_seeds_differ(images: Split, tmp_path: Path) -> None:
    from workshop.training import train

    train(images, recipe(epochs=1), tmp_path / "0", report=ignore)
    train(images, recipe(epochs=1, seed=1), tmp_path / "1", report=ignore)
    assert not same(tmp_path / "0" / "resnet8.pt", tmp_path / "1" / "resnet8.pt")


def test_a_checkpoint_of_another_recipe_or_no_checkpoint(images: Split, tmp_path: Path) -> None:
    from workshop.training import train

    with pytest.raises(Stop):
        train(images, recipe(), tmp_path, report=stop_after(1))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(DataError, match=r"another recipe \(expected \{'seed': 1\}, found"):
        train(images, recipe(seed=1), tmp_path, report=ignore)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    for damaged in (before[:-1000], b"", b"no archive"):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(DataError, match="not a checkpoint of this script"):
            train(images, recipe(), tmp_path, report=ignore)


def test_a_checkpoint_of_another_architecture(images: Split, tmp_path: Path) -> None:
    import torch

    from workshop.training import train

    with pytest.raises(Stop):
        train(images, recipe(), tmp_path, report=stop_after(1))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["model"] = {"conv.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="not a checkpoint of this script"):
        train(images, recipe(), tmp_path, report=ignore)


def test_a_folder_that_cannot_be_written(images: Split, tmp_path: Path) -> None:
    from workshop.training import train

    (tmp_path / "file").write_text("in the way")
    with pytest.raises((EnvironmentProblem, DataError), match="cannot be written"):
        train(images, recipe(epochs=1), tmp_path / "file", report=ignore)


def test_the_input_scale_folds_into_the_stem_exactly(images: Split) -> None:
    import torch

    from workshop.architecture import ResNet8
    from workshop.training import INPUT_SCALE, raw_pixel_state

    torch.manual_seed(0)
    scaled = ResNet8().eval()
    raw = ResNet8().eval()
    raw.load_state_dict(raw_pixel_state(scaled))
    x = torch.from_numpy(images.images[:4]).float()
    with torch.no_grad():
        assert (raw.stem(x) == scaled.stem(x * INPUT_SCALE)).all()
