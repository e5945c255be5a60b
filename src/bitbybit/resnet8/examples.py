"""The committed models, the bundled sample images, and the images that a check runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError, ModelError
from bitbybit.model.types import QuantizedModel
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

IMAGE = (3, 32, 32)
DEFAULT_COUNT = 100

RECORDS = (
    "manifest", "accuracy_map", "analog_converters", "measured_error", "register_damage",
    "requantizers",
)  # fmt: skip

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
        the int8 network is from float on test images, and what each step of quantization costs;
        ``"analog_converters"``: what converters of few bits do to it on analog row tiles;
        ``"register_damage"``: what test images reach in the accumulators, and what a register with
        too few bits changes; ``"requantizers"``: what each way to requantize changes on them.

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


def takes_images(model: QuantizedModel) -> bool:
    """Whether the only input of a network is a float32 image of this size."""
    edges = [model.edges[name] for name in model.inputs]
    return len(edges) == 1 and edges[0].shape[1:] == IMAGE and edges[0].dtype == np.float32


def default_images(
    model: QuantizedModel, count: int | None = None
) -> tuple[NDArray[Any] | None, str]:
    """Return real images that fit a model, and what they are.

    CIFAR-10 test images, first in the order of their file names, where the dataset is found,
    else the bundled samples.

    Parameters
    ----------
    model
        The network.
    count
        How many; by default 100 test images, or all samples.

    Returns
    -------
    uint8 ``[count, 3, 32, 32]``, or None for a model whose only input is not float32 of this
    shape; and a few words about them.

    Raises
    ------
    DataError
        There are fewer.
    """
    if not takes_images(model):
        return None, ""
    test = samples("test")
    split = samples() if test is None else test
    source = "bundled samples" if test is None else "CIFAR-10 test images"
    count = min(DEFAULT_COUNT, len(split)) if count is None else count
    if not 1 <= count <= len(split):
        more = "." if test is not None else ", or set BITBYBIT_DATA to a folder with CIFAR-10."
        raise DataError(
            f"there are only {len(split):,} images",
            where=source,
            expected=f"1 to {len(split)}",
            found=count,
            next_step=f"Ask for fewer{more}",
        )
    return split.images[:count], source if test is None else f"{source} by file name"


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
