"""Inputs of a network beside the same inputs of its float twin, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.execution.engine import stream
from bitbybit.execution.feed import Feed, Input, batches, count_images, input_values
from bitbybit.execution.float_network import FloatNetwork
from bitbybit.execution.trace import Trace
from bitbybit.inspection.activations import Batches, Values
from bitbybit.inspection.clips import twin_edges
from bitbybit.model.types import QuantizedModel

BATCH = 8


def batches_of(model: QuantizedModel, x: Input, reference: QuantizedModel | None = None) -> Batches:
    """Return what :func:`activation_reports` starts anew for each of its passes.

    The network is run again at each start, unless one batch holds all inputs: that is kept.

    Parameters
    ----------
    model
        The network; a float one is run in ONNX Runtime.
    x
        The graph input ``[N, ...]``, or a mapping from input names to arrays.
    reference
        The float twin; it must have the same inputs. Where one of the two has an activation in
        a layer and the other behind it, equal tensors are put beside each other.

    Raises
    ------
    DataError
        The inputs do not fit the network or are not finite, or the twin takes others.
    """
    given = input_values(model, x)
    first = next(batches(model, given, BATCH), Feed())  # checks names, shapes and dtypes once
    count = count_images(given)
    if not count:
        raise DataError(
            "there is no input to measure on",
            where=model.path.name,
            next_step="Give at least one.",
        )
    for name, values in given.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise DataError(
                "an input holds NaN or infinite values",
                where=model.path.name,
                found=name,
                next_step="Give finite numbers.",
            )
    if reference is not None and set(reference.inputs) != set(model.inputs):
        raise DataError(
            "the float twin takes other inputs",
            where=reference.path.name,
            expected=", ".join(model.inputs),
            found=", ".join(reference.inputs),
            next_step="Give the float network that this one was made of.",
        )
    twin = None if reference is None else FloatNetwork(reference)
    moved = {} if reference is None else twin_edges(model, reference)

    def run() -> Iterator[tuple[Trace, Values | None]]:
        for trace in _traces(model, given):
            if twin is None:
                yield trace, None
                continue
            values = twin({name: trace[name] for name in model.inputs})
            others = {name: values[edge] for name, edge in moved.items() if edge is not None}
            own = {name: array for name, array in values.items() if name not in moved}
            yield trace, {**own, **others}

    one = count_images(first) == count
    kept: list[tuple[Trace, Values | None]] = []

    def start() -> Iterator[tuple[Trace, Values | None]]:
        if one and not kept:
            kept.extend(run())
        yield from kept or run()

    return start


def _traces(model: QuantizedModel, given: Mapping[str, NDArray[Any]]) -> Iterator[Trace]:
    if model.form != "float":
        yield from stream(model, given, BATCH)
        return
    network = FloatNetwork(model)
    for part in batches(model, given, BATCH):
        yield Trace(model, network(part))
