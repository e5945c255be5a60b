"""From what a caller hands over to the values of a network's inputs."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import Edge, QuantizedModel

Feed = dict[str, NDArray[Any]]
Input = ArrayLike | Mapping[str, NDArray[Any]]

LARGEST = 1 << 32
"""Bytes that the arrays of an ``.npz`` file may take, as its directory declares them."""


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

    Raises
    ------
    DataError
        There are no names: a network of constants.
    """
    wanted = list(names)
    if not wanted:
        raise DataError("the model has no input", where=model.path.name)
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
    count = count_images(values)
    batch_size = fixed_batch(model) or batch_size
    if batch_size < 1:
        raise DataError("the batch size is not positive", found=batch_size)
    for begin in range(0, count, batch_size):
        yield feed(model, {name: v[begin : begin + batch_size] for name, v in values.items()})


def count_images(values: Feed) -> int:
    """Return the length of the first axis of all arrays, 0 without any.

    Raises
    ------
    DataError
        An array without axes, or arrays of different length.
    """
    for name, array in values.items():
        if not array.ndim:
            raise DataError("this is a single number", where=name, expected="an array of images")
    counts = {name: len(array) for name, array in values.items()}
    if len(set(counts.values())) > 1:
        raise DataError("the inputs differ in the number of images", found=counts)
    return max(counts.values(), default=0)


def fixed_batch(model: QuantizedModel) -> int | None:
    """Return N where the file fixes it for its inputs, None where it leaves it open."""
    shapes = [model.edges[name].shape for name in model.inputs]
    sizes = {shape[0] for shape in shapes if shape and shape[0] is not None}
    return sizes.pop() if len(sizes) == 1 else None


def _checked(edge: Edge, array: NDArray[Any]) -> NDArray[Any]:
    if not edge.shape:
        raise DataError(
            "the file declares no shape for this input",
            where=edge.name,
            next_step="Declare one with onnx.tools.update_model_dims.",
        )
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
        The file is missing, too large, or no ``.npz`` file of plain arrays.
    """
    if not Path(path).is_file():
        raise DataError("there is no such file", where=path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > LARGEST:
            raise DataError(
                "the arrays are too large",
                where=path,
                expected=f"at most {LARGEST} bytes",
                found=f"{size} bytes",
            )
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error):
        raise DataError("not an .npz file of plain arrays, or a damaged one", where=path) from None
