"""The committed models and the bundled sample images: what a reader without data works on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError, ModelError
from bitbybit.resnet8.cifar10 import CLASSES, Split, find_folder, load_split

EXAMPLES = {
    "float": "resnet8.onnx",
    "int8": "resnet8_int8.onnx",
    "int8_qoperator": "resnet8_int8_qoperator.onnx",
    "int8_per_tensor": "resnet8_int8_per_tensor.onnx",
    "int8_per_tensor_qoperator": "resnet8_int8_per_tensor_qoperator.onnx",
    "uint8": "resnet8_uint8.onnx",
}
"""Short name of each committed ONNX model and its file."""

CHECKPOINT = "resnet8.pt"
"""The float weights that all of them were made of, as PyTorch saves them."""

RECORDS = ("manifest", "accuracy_map", "measured_error")

_RESTORE = "Install bitbybit again; in a clone, make it with `make models`."


def models_folder() -> Path:
    """Return the folder of the committed models: inside the wheel, or ``models/`` of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parents[1] / "models"


def example(name: str = "int8") -> Path:
    """Return the path of a committed ResNet8 model.

    Parameters
    ----------
    name
        ``"float"``, ``"int8"``, ``"int8_qoperator"``, ``"int8_per_tensor"``,
        ``"int8_per_tensor_qoperator"`` or ``"uint8"``: an ONNX file; ``"checkpoint"``: the
        ``.pt`` file of the trained weights, which holds tensors and no graph.

    Returns
    -------
    Path
        The file, inside the installed package or in ``models/`` of a clone.

    Raises
    ------
    ModelError
        If no example has that name, or its file is not there.
    """
    files = {**EXAMPLES, "checkpoint": CHECKPOINT}
    if name not in files:
        raise ModelError(
            "no example has this name",
            where="bitbybit.example",
            expected=", ".join(files),
            found=name,
            next_step="Give one of these names; bitbybit.load reads any other file by its path.",
        )
    path = models_folder() / files[name]
    if not path.is_file():
        raise ModelError("the example model is missing", where=path, next_step=_RESTORE)
    return path


def manifest(name: str = "manifest") -> dict[str, Any]:
    """Return a record of the committed models.

    Parameters
    ----------
    name
        ``"manifest"``: hashes, commands and evaluation of each file; ``"accuracy_map"``: correct
        images over weight bits and activation bits; ``"measured_error"``: how far each layer of
        the int8 network is from float on test images, and what each step of quantization costs.

    Raises
    ------
    ModelError
        If no record has that name, or its file is missing or damaged.
    """
    if name not in RECORDS:
        raise ModelError(
            "no record has this name",
            where="bitbybit.manifest",
            expected=", ".join(RECORDS),
            found=name,
            next_step="Give one of these names.",
        )
    path = models_folder() / f"{name}.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "the record of the models cannot be read",
            where=path,
            found=type(error).__name__,
            next_step=_RESTORE,
        ) from error
    return record


@overload
def samples() -> Split: ...


@overload
def samples(kind: Literal["test"]) -> Split | None: ...


def samples(kind: Literal["bundled", "test"] = "bundled") -> Split | None:
    """Return 32x32 images: one drawn picture of each class of CIFAR-10, or its test images.

    Parameters
    ----------
    kind
        ``"bundled"``: the ten pictures that come with the library. ``"test"``: the 10,000 test
        images, if ``$BITBYBIT_DATA`` names a folder.

    Returns
    -------
    Split or None
        ``images`` uint8 ``[N, 3, 32, 32]`` (RGB planes, 0..255), ``labels`` int64 ``[N]``,
        ``names`` the file names, ascending: ``"airplane.png"``, ``"automobile.png"``, ...
        None for the test images where no folder is named.

    Raises
    ------
    DataError
        If a file is absent or damaged, or the named folder does not hold the dataset.
    """
    if kind == "test":
        return load_split("test") if find_folder() is not None else None
    folder = Path(__file__).with_name("samples")
    images = np.stack([_read_sample(folder / f"{name}.png") for name in CLASSES])
    return Split(images, np.arange(len(CLASSES)), tuple(f"{name}.png" for name in CLASSES))


def _read_sample(path: Path) -> NDArray[np.uint8]:
    """Return a bundled picture, uint8 ``[3, 32, 32]``."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damage
        raise _damaged(path, getattr(error, "strerror", None) or error) from error
    if pixels.shape != (32, 32, 3):
        raise _damaged(path, f"{pixels.shape[1]} x {pixels.shape[0]} pixels")
    return pixels.transpose(2, 0, 1).copy()


def _damaged(path: Path, found: object) -> DataError:
    return DataError(
        "a bundled sample image is missing or damaged",
        where=path,
        expected="a PNG of 32 x 32 pixels",
        found=found,
        next_step="Install bitbybit again; in a clone, run `python scripts/draw_samples.py`.",
    )
