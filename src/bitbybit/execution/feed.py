"""From what a caller hands over to the values of a network's inputs."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import Edge, QuantizedModel

Feed = dict[str, NDArray[Any]]
Input = ArrayLike | Mapping[str, NDArray[Any]]


def named(model: QuantizedModel, names: Iterable[str], given: Input) -> Feed:
    """Return ``given`` by canonical name.

    Parameters
    ----------
    model
        The network.
    names
        Canonical names of edges; a bare array is taken for the first of them.
    given
        An array, or a mapping from canonical or ONNX names to arrays.
    """
    wanted = list(names)
    if not isinstance(given, Mapping):
        given = {wanted[0]: np.asarray(given)}
    canonical = {model.edges[name].onnx_name: name for name in wanted}
    return {canonical.get(name, name): np.asarray(values) for name, values in given.items()}


def feed(model: QuantizedModel, x: Input) -> Feed:
    """Return the values of every graph input, by canonical name, copied and checked.

    Parameters
    ----------
    model
        The network.
    x
        The values of its only input, or a mapping from input name (canonical or ONNX) to values.
        They have the input's shape and its dtype, or one that converts to it without loss, as
        uint8 pixels do to float32.

    Raises
    ------
    DataError
        An input is missing, unknown, empty, or of another shape or dtype.
    """
    values = named(model, model.inputs, x)
    if set(values) != set(model.inputs):
        raise DataError(
            "these are not the inputs of the model",
            where=model.path.name,
            expected=", ".join(model.inputs),
            found=", ".join(values) or "none",
        )
    return {name: _checked(model.edges[name], values[name]) for name in model.inputs}


def batches(model: QuantizedModel, x: Input, batch_size: int) -> Iterator[Feed]:
    """Yield :func:`feed` of ``batch_size`` images at a time.

    A file that fixes N gets batches of that size instead.

    Raises
    ------
    DataError
        As :func:`feed`; and if the inputs differ in the number of images.
    """
    values = named(model, model.inputs, x)
    counts = {name: len(array) for name, array in values.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise DataError("the inputs differ in the number of images", found=counts)
    batch_size = fixed_batch(model) or batch_size
    if batch_size < 1:
        raise DataError("the batch size is not positive", found=batch_size)
    for begin in range(0, max(counts.values(), default=0), batch_size):
        yield feed(model, {name: v[begin : begin + batch_size] for name, v in values.items()})


def fixed_batch(model: QuantizedModel) -> int | None:
    """Return N where the file fixes it for its inputs, None where it leaves it open."""
    shapes = [model.edges[name].shape for name in model.inputs]
    sizes = {shape[0] for shape in shapes if shape and shape[0] is not None}
    return sizes.pop() if len(sizes) == 1 else None


def _checked(edge: Edge, array: NDArray[Any]) -> NDArray[Any]:
    fits = array.ndim == len(edge.shape) and all(
        want in (None, got) for want, got in zip(edge.shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        shape = ", ".join("N" if size is None else str(size) for size in edge.shape)
        raise DataError(
            "the input has the wrong shape",
            where=edge.name,
            expected=f"[{shape}]",
            found=list(array.shape),
        )
    if not np.can_cast(array.dtype, edge.dtype, "safe"):
        raise DataError(
            "the input has the wrong dtype",
            where=edge.name,
            expected=edge.dtype.name,
            found=array.dtype.name,
        )
    return array.astype(edge.dtype)


def read_npz(path: str | os.PathLike[str]) -> Feed:
    """Read the arrays of an ``.npz`` file, by name; nothing is unpickled.

    Raises
    ------
    DataError
        The file is missing or no ``.npz`` file of plain arrays.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "not a .npz file of plain arrays", where=path, found=type(error).__name__
        ) from None
