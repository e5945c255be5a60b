"""The images that a check runs on when none are named: CIFAR-10's, or the bundled samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import QuantizedModel
from bitbybit.resnet8.examples import samples

IMAGE = (3, 32, 32)
DEFAULT_COUNT = 100


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
        raise DataError(
            f"there are only {len(split):,} images",
            where=source,
            expected=f"1 to {len(split)}",
            found=count,
            next_step="Ask for fewer."
            if test is not None
            else "Ask for fewer, or set BITBYBIT_DATA to a folder with CIFAR-10.",
        )
    return split.images[:count], source if test is None else f"{source} by file name"
