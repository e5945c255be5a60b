"""From what a caller hands over to the values of a network's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import Edge, QuantizedModel

Feed = dict[str, NDArray[Any]]
Input = ArrayLike | Mapping[str, NDArray[Any]]


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
    given = dict(x) if isinstance(x, Mapping) else {model.inputs[0]: np.asarray(x)}
    canonical = {model.edges[name].onnx_name: name for name in model.inputs}
    named = {canonical.get(name, name): values for name, values in given.items()}
    if set(named) != set(model.inputs):
        raise DataError(
            "these are not the inputs of the model",
            where=model.path.name,
            expected=", ".join(model.inputs),
            found=", ".join(named) or "none",
        )
    return {name: _checked(model.edges[name], named[name]) for name in model.inputs}


def batches(model: QuantizedModel, x: Input, batch_size: int) -> Iterator[Feed]:
    """Yield :func:`feed` of ``batch_size`` images at a time.

    A file that fixes N gets batches of that size instead.

    Raises
    ------
    DataError
        As :func:`feed`; and if the inputs differ in the number of images.
    """
    given = dict(x) if isinstance(x, Mapping) else {model.inputs[0]: np.asarray(x)}
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) > 1:
        raise DataError("the inputs differ in the number of images", found=counts)
    fixed = {edge.shape[0] for edge in map(model.edges.__getitem__, model.inputs) if edge.shape}
    if len(fixed) == 1 and None not in fixed:
        batch_size = fixed.pop() or batch_size
    if batch_size < 1:
        raise DataError("the batch size is not positive", found=batch_size)
    for begin in range(0, max(counts.values(), default=0), batch_size):
        part = {name: values[begin : begin + batch_size] for name, values in given.items()}
        yield feed(model, part)


def _checked(edge: Edge, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
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
