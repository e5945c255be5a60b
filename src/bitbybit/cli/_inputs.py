"""Inputs from the command line: an ``.npz`` file with arrays, or one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.execution.feed import read_npz
from bitbybit.model.types import QuantizedModel


def read_inputs(path: Path, model: QuantizedModel) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the inputs by name, and what they are in words.

    Raises
    ------
    DataError
        No such file, not an ``.npz`` file or image, another number of inputs or image size.
    """
    if not path.is_file():
        raise DataError(
            "there is no such file",
            where=path,
            next_step="Name an .npz file or an image.",
        )
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path)
        if len(arrays) == 1 and len(model.inputs) == 1:
            arrays = {model.inputs[0]: next(iter(arrays.values()))}
        elif len(arrays) != len(model.inputs):
            raise DataError(
                "the arrays are not the inputs of the model",
                where=path,
                expected=", ".join(model.inputs),
                found=", ".join(arrays) or "none",
                next_step="Save one array for each, under its name, with numpy.savez.",
            )
        return arrays, f"The arrays of {path.name}."
    return {model.inputs[0]: _image(path, model)}, f"The image {path.name}, RGB 0..255."


def _image(path: Path, model: QuantizedModel) -> NDArray[np.float32]:
    from PIL import Image, UnidentifiedImageError

    edge = model.edges[model.inputs[0]]
    channels_last = edge.shape[-1:] == (3,)
    size = edge.shape[1:3] if channels_last else edge.shape[2:]
    fits = len(model.inputs) == 1 and len(edge.shape) == 4 and (channels_last or edge.shape[1] == 3)
    if not fits:
        raise DataError(
            "the network does not take an RGB image",
            where=path,
            expected="[N, 3, H, W] or [N, H, W, 3]",
            found=list(edge.shape),
            next_step="Give its inputs by name in an .npz file.",
        )
    try:
        with Image.open(path) as image:
            found = (image.height, image.width)
            if any(want not in (None, got) for want, got in zip(size, found, strict=True)):
                raise DataError(
                    "the image has another size than the network takes; nothing is scaled",
                    where=path,
                    expected=f"{size[0]} x {size[1]}",
                    found=f"{found[0]} x {found[1]}",
                    next_step="Scale or crop it first.",
                )
            pixels = np.asarray(image.convert("RGB"), np.float32)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
        raise DataError(
            "the image cannot be read",
            where=path,
            next_step="Give a PNG or JPEG file, or an .npz file.",
        ) from None
    return (pixels if channels_last else pixels.transpose(2, 0, 1))[None]
