"""The bundled sample images: what they are, where they come from, and what the models see."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitbybit.errors import DataError, ModelError
from bitbybit.resnet8 import examples
from bitbybit.resnet8.cifar10 import CLASSES
from bitbybit.resnet8.examples import EXAMPLES, example, samples
from tests.support.fake_cifar10 import write_dataset
from workshop.drawings import DRAWINGS
from workshop.evaluation import run_model

FOLDER = Path(examples.__file__).with_name("samples")


def test_one_sample_of_each_class() -> None:
    bundled = samples()
    assert bundled.images.shape == (10, 3, 32, 32)
    assert bundled.images.dtype == np.uint8
    assert bundled.labels.tolist() == list(range(10))
    assert bundled.names == tuple(f"{name}.png" for name in CLASSES)
    assert list(bundled.names) == sorted(bundled.names)


def test_the_test_images_are_there_where_a_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)
    assert samples("test") is None
    monkeypatch.setenv("BITBYBIT_DATA", str(tmp_path))
    with pytest.raises(DataError, match="CIFAR-10 was not found"):
        samples("test")
    write_dataset(tmp_path)
    found = samples("test")
    assert found is not None
    assert len(found) == 20


def test_the_files_are_the_drawings() -> None:
    assert list(DRAWINGS) == list(CLASSES)
    for image, (name, drawing) in zip(samples().images, DRAWINGS.items(), strict=True):
        assert (image == drawing().image()).all(), name


def test_the_licence_lies_beside_them() -> None:
    assert "CC0 1.0" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_model_classifies_every_sample(name: str) -> None:
    bundled = samples()
    _, logits = run_model(example(name), bundled.images)
    wrong = logits.argmax(axis=1) != bundled.labels
    assert [bundled.names[i] for i in np.flatnonzero(wrong)] == []


def test_an_unknown_or_missing_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no example has this name.*found int4"):
        example("int4")
    monkeypatch.setattr(examples, "models_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="make models"):
        example("int8")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-200],
        lambda data: data[:60] + b"\0\0" + data[62:],
        lambda data: b"GIF89a" + data,
        lambda data: data[:33],
        lambda data: data[:19] + b"\x10" + data[20:],
        lambda _: b"",
    ],
)
def test_a_damaged_sample_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(FOLDER, tmp_path / "samples")
    monkeypatch.setattr(examples, "__file__", str(tmp_path / "examples.py"))
    cat = tmp_path / "samples" / "cat.png"
    cat.write_bytes(damage(cat.read_bytes()))
    with pytest.raises(DataError, match=r"cat\.png: a bundled sample image is missing or damaged"):
        samples()
    cat.unlink()
    with pytest.raises(DataError, match="No such file"):
        samples()
