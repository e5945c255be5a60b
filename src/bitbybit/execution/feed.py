"""From what a caller hands over to the values of a network's inputs; seeded ones without that."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import Edge, Quantize, QuantizedModel

Input = ArrayLike | Mapping[str, NDArray[Any]]

Arrays = dict[str, NDArray[Any]]
"""Arrays by whatever name."""

LARGEST = 1 << 32
"""Bytes that the arrays of an ``.npz`` file may take, as its directory declares them."""


OPEN_SIZE = 8
"""Size taken for a dimension, other than N, that the file leaves open."""

LARGEST_STIMULI = 2**26
"""Elements of the largest input that is made."""


class Feed(dict[str, NDArray[Any]]):
    """Arrays by canonical name: whoever gets one must not map names again."""


def feed(model: QuantizedModel, x: Input) -> Feed:
    """Return the values of every graph input, by canonical name, copied and checked.

    Parameters
    ----------
    model
        The network.
    x
        The values of its only input, or a mapping from input name to values, as
        :func:`input_values` takes it. They have the input's shape and its dtype, or one that
        converts to it without loss, as uint8 pixels do to float32.

    Raises
    ------
    DataError
        An input is missing, unknown, given twice, empty, or of another shape or dtype.
    """
    values = input_values(model, x)
    return Feed({name: _checked(model.edges[name], values[name]) for name in model.inputs})


def input_values(model: QuantizedModel, x: Input) -> Feed:
    """Return the values of every graph input, by canonical name, as they were given.

    Parameters
    ----------
    model
        The network.
    x
        An array for a network with one input; or a mapping from the inputs' names, those of the
        file or canonical ones; or a :class:`Feed`, whose names are canonical.

    Raises
    ------
    DataError
        An input is missing, unknown or given twice, or the network has none.
    """
    if not isinstance(x, Mapping):
        if not model.inputs:
            raise wrong(model.path.name, "the model has no input", "Give it no array.")
        x = Feed({model.inputs[0]: np.asarray(x)})
    names = {name: name for name in model.inputs}
    if not isinstance(x, Feed):
        names.update((model.edges[name].onnx_name, name) for name in model.inputs)
    values = named(x, names, f"{model.path.name}, inputs")
    missing = [name for name in model.inputs if name not in values]
    if missing:
        expected, found = ", ".join(model.inputs), ", ".join(values) or "none"
        next_step = f"Give {missing[0]!r} too."
        raise wrong(model.path.name, "an input is missing", next_step, expected, found)
    return values


def named(given: Mapping[str, ArrayLike], names: Mapping[str, str], where: str) -> Feed:
    """Return arrays under other names: the one place where names are mapped, and only once.

    Parameters
    ----------
    given
        Name → values.
    names
        Every name that may be given → the name to return it under. Where the file's name of one
        thing is the canonical name of another, the file's counts.
    where
        What the names belong to, for messages.

    Raises
    ------
    DataError
        A name is unknown, or two names stand for the same array.
    """
    result, origin = Feed(), dict[str, str]()
    for name, values in given.items():
        if name not in names:
            next_step = "Use the names of the file, or those that `bitbybit inspect` shows."
            raise wrong(where, "a name is unknown", next_step, ", ".join(names) or "none", name)
        if names[name] in result:
            both = f"{origin[names[name]]} and {name}"
            what = "two names stand for the same array"
            raise wrong(where, what, "Give it once.", found=both)
        result[names[name]], origin[names[name]] = np.asarray(values), name
    return result


def batches(
    model: QuantizedModel, x: Input, batch_size: int, first: int | None = None
) -> Iterator[Feed]:
    """Yield :func:`feed` of ``batch_size`` images at a time.

    A file that fixes N gets batches of that size instead; one without inputs, or one that fixes
    several first dimensions, is run once.

    Parameters
    ----------
    model, x
        As for :func:`feed`.
    batch_size
        Images, >= 1.
    first
        Images of the first batch, if they shall be fewer.

    Raises
    ------
    DataError
        As :func:`feed`; and if the inputs differ in the number of images.
    """
    values, sizes = input_values(model, x), fixed_sizes(model)
    if not values or len(sizes) > 1:
        yield feed(model, values)
        return
    batch_size = next(iter(sizes), batch_size)
    if batch_size < 1:
        what = "the batch size is not positive"
        raise wrong("batch_size", what, "Take at least 1.", found=batch_size)
    count = count_images(values)
    begin, end = 0, batch_size if first is None or sizes else min(first, batch_size)
    while begin < count:
        yield feed(model, Feed((name, array[begin:end]) for name, array in values.items()))
        begin, end = end, end + batch_size


def count_images(values: Mapping[str, NDArray[Any]]) -> int:
    """Return the length of the first axis of all arrays, 0 without any.

    Raises
    ------
    DataError
        An array without axes, or arrays of different length.
    """
    for name, array in values.items():
        if not array.ndim:
            next_step = "Give it a first axis of length 1."
            raise wrong(name, "this is a single number", next_step, "an array of images")
    counts = {name: len(array) for name, array in values.items()}
    if len(set(counts.values())) > 1:
        next_step = "Give as many of each; bitbybit.trace takes other inputs as one batch."
        found = ", ".join(f"{count} of {name}" for name, count in counts.items())
        what = "the inputs differ in the number of images"
        raise wrong("inputs", what, next_step, found=found)
    return max(counts.values(), default=0)


def fixed_sizes(model: QuantizedModel) -> set[int]:
    """Return the lengths at which the file fixes the first axis of its inputs; often none."""
    shapes = [model.edges[name].shape for name in model.inputs]
    return {shape[0] for shape in shapes if shape and shape[0] is not None}


def _checked(edge: Edge, array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of an input's values in the dtype that the file declares."""
    if not edge.shape:
        next_step = "Declare one with onnx.tools.update_model_dims."
        raise wrong(edge.name, "the file declares no shape for this input", next_step)
    fits = array.ndim == len(edge.shape) and all(
        want in (None, got) for want, got in zip(edge.shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        what, next_step = "the input has the wrong shape", "Bring the array into this shape."
        raise wrong(edge.name, what, next_step, _dimensions(edge.shape), list(array.shape))
    if not np.can_cast(array.dtype, edge.dtype, "safe"):
        what = "the input has the wrong dtype"
        next_step = f"Convert it with .astype({edge.dtype.name!r}), if that loses nothing."
        raise wrong(edge.name, what, next_step, edge.dtype.name, array.dtype.name)
    return array.astype(edge.dtype)


def wrong(
    where: object, what: str, next_step: str, expected: object = "", found: object = ""
) -> DataError:
    """Return the error of arrays that are not what a network takes."""
    return DataError(what, where=where, expected=expected, found=found, next_step=next_step)


def _dimensions(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in shape)}]"


def read_npz(path: str | os.PathLike[str]) -> Arrays:
    """Read the arrays of an ``.npz`` file, by name; nothing is unpickled.

    Raises
    ------
    DataError
        The file is missing, too large, or no ``.npz`` file of plain arrays.
    """
    if not Path(path).is_file():
        raise wrong(path, "there is no such file", "Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > LARGEST:
            limit, next_step = f"at most {LARGEST} bytes", "Divide them among several files."
            raise wrong(path, "the arrays are too large", next_step, limit, f"{size} bytes")
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error):
        what = "not an .npz file of plain arrays, or a damaged one"
        raise wrong(path, what, "Write one with numpy.savez.") from None


def stimuli(model: QuantizedModel, count: int = 16, seed: int = 0) -> Feed:
    """Return inputs that reach the whole range of every quantized graph input.

    Integer inputs get uniform random codes; float inputs that are quantized get real values
    around all of the codes.  The first image lies at the lower rail, the second at the upper one,
    the third alternates.  Other float inputs are standard normal.

    Parameters
    ----------
    model
        The network.
    count
        Images; a file that fixes N gets the next multiple of that.
    seed
        Seed of NumPy's PCG64 generator.

    Returns
    -------
    Canonical input name → values, dtype and rank of the input.

    Raises
    ------
    DataError
        An input would be absurdly large.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    sizes = fixed_sizes(model)
    if len(sizes) == 1:  # whole batches
        size = max(*sizes, 1)
        count = -(-count // size) * size
    made = Feed()
    for edge in (model.edges[name] for name in model.inputs):
        first, *rest = edge.shape or (None,)
        if first is None or len(sizes) == 1:  # else there is no common batch
            first = count
        shape = (first, *(OPEN_SIZE if size is None else size for size in rest))
        if math.prod(map(int, shape)) > LARGEST_STIMULI:
            limit = f"at most {LARGEST_STIMULI} elements"
            what = "the input is too large to make stimuli for it"
            next_step = "Give the inputs with --inputs."
            raise wrong(edge.name, what, next_step, limit, _dimensions(edge.shape))
        made[edge.name] = _values(model, edge, shape, generator)
    return made


def _values(
    model: QuantizedModel, edge: Edge, shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[Any]:
    """Return values of one input, around the codes that a Quantize makes of them.

    They are drawn image by image: what is drawn takes up to eight times the memory.
    """
    quantizers = (x for x in model.layers if isinstance(x, Quantize) and edge.name in x.inputs)
    params = next((model.edges[layer.name].params for layer in quantizers), None)
    rails, zero, scale = (0, 0), 0.0, 1.0
    draw: Callable[..., Any] = generator.standard_normal
    if np.issubdtype(edge.dtype, np.integer):
        info = np.iinfo(edge.dtype.name)
        low, high = rails = (info.min, info.max) if info.bits <= 16 else (0, 1)
        draw = partial(generator.integers, low, high, endpoint=True)
    elif params is not None and not params.per_channel:
        rails = (params.qmin - 9, params.qmax + 9)
        zero, scale = float(params.zero_point), float(params.scale)
        draw = partial(generator.uniform, params.qmin - 2, params.qmax + 2)
    values = np.empty(shape, edge.dtype)
    images = values.reshape(len(values), -1) if values.size else ()
    for place, image in enumerate(images):
        drawn = draw(size=image.size)
        if any(rails) and len(images) > 3 and place < 3:
            drawn[::2], drawn[1::2] = rails[place == 1], rails[place != 0]
        with np.errstate(over="ignore"):  # infinity is an input as well
            image[:] = (drawn - zero) * scale
    return values
