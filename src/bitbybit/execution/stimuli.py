"""Inputs for a network about which nothing is known but its graph: seeded, rails included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.execution.feed import Feed, fixed_sizes
from bitbybit.model.types import Edge, Quantize, QuantizedModel, QuantParams

OPEN_SIZE = 8
"""Size taken for a dimension, other than N, that the file leaves open."""

LARGEST = 2**28
"""Elements of the largest input that is made."""


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
    return Feed(
        (name, _values(model, model.edges[name], count, generator)) for name in model.inputs
    )


def _values(
    model: QuantizedModel, edge: Edge, count: int, generator: np.random.Generator
) -> NDArray[np.generic]:
    first, *rest = edge.shape or (None,)
    if first is not None and len(fixed_sizes(model)) > 1:  # inputs without a common batch
        count = first
    shape = (count, *(OPEN_SIZE if size is None else size for size in rest))
    if int(np.prod([int(size) for size in shape], dtype=object)) > LARGEST:
        raise _too_large(edge)
    if np.issubdtype(edge.dtype, np.integer):
        info = np.iinfo(edge.dtype.name)
        low, high = (info.min, info.max) if info.bits <= 16 else (0, 1)
        codes = generator.integers(low, high, shape, endpoint=True)
        return _with_rails(codes, low, high).astype(edge.dtype)
    params = _quantized_by(model, edge)
    if params is None or params.per_channel:
        return generator.standard_normal(shape).astype(edge.dtype)
    near = generator.uniform(params.qmin - 2, params.qmax + 2, shape)
    near = _with_rails(near, params.qmin - 9, params.qmax + 9)
    real = (near - float(params.zero_point)) * float(params.scale)
    with np.errstate(over="ignore"):  # infinity is an input as well
        return real.astype(edge.dtype)


def _quantized_by(model: QuantizedModel, edge: Edge) -> QuantParams | None:
    """Return the parameters with which a graph input is quantized, None if it is not."""
    for layer in model.layers:
        if isinstance(layer, Quantize) and edge.name in layer.inputs:
            return model.edges[layer.name].params
    return None


def _with_rails(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Put the rails into the first three images, where there are more than three."""
    if values.ndim and len(values) > 3:
        values[0], values[1] = low, high
        values[2].reshape(-1)[::2] = low
        values[2].reshape(-1)[1::2] = high
    return values


def _too_large(edge: Edge) -> DataError:
    shape = ", ".join("N" if size is None else str(size) for size in edge.shape)
    return DataError(
        "the input is too large to make stimuli for it",
        where=edge.name,
        expected=f"at most {LARGEST} elements",
        found=f"[{shape}]",
        next_step="Give the inputs with --inputs.",
    )
