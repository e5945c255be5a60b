"""The bundled sample images: what they are, where they come from, and what the models see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitbybit.errors import DataError, ModelError
from bitbybit.resnet8 import examples
from bitbybit.resnet8.cifar10 import CLASSES
from bitbybit.resnet8.drawings import DRAWINGS
from bitbybit.resnet8.evaluation import run_model
from bitbybit.resnet8.examples import EXAMPLES, example, samples
from bitbybit.resnet8.png import encode_png, read_png
from tests.support.fake_cifar10 import write_dataset

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
    for name, drawing in DRAWINGS.items():
        assert (FOLDER / f"{name}.png").read_bytes() == encode_png(drawing().image()), name


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
    ("damage", "found"),
    [
        (lambda data: data[:-40], "zlib|unpack|buffer|bytes"),
        (lambda data: data[:60] + b"\0\0" + data[62:], "checksum"),
        (lambda data: b"GIF89a" + data, "no PNG signature"),
        (lambda data: data[:33], "IDAT"),
        (lambda _: b"", "no PNG signature"),
    ],
)
def test_a_damaged_png_is_one_sentence(tmp_path: Path, damage: object, found: str) -> None:
    path = tmp_path / "sample.png"
    path.write_bytes(damage((FOLDER / "cat.png").read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=f"not a PNG of the bundled kind.*({found})"):
        read_png(path)
    with pytest.raises(DataError, match="No such file"):
        read_png(tmp_path / "absent.png")


def test_a_png_survives_the_round_trip(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    assert (read_png(tmp_path / "a.png") == image).all()
