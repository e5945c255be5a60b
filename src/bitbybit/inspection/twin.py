"""A network and its float twin, run side by side: which values belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.execution.engine import Trace, stream
from bitbybit.execution.feed import Feed, Input, batches, count_images, input_values
from bitbybit.execution.runtime import FloatNetwork
from bitbybit.model.costs import clip_limits
from bitbybit.model.types import FloatIsland, Layer, QuantizedModel, QuantParams

Values = Mapping[str, NDArray[Any]]
Batches = Callable[[], Iterator[tuple[Trace, Values | None]]]
"""Starts anew at each call: traces of the network, each with its twin's values by layer."""

BATCH = 8


@dataclass(frozen=True)
class FoldedClip:
    """A Clip that only the float network has.

    Attributes
    ----------
    edge : what the float network calls the Clip's output
    low, high : its limits
    """

    edge: str
    low: float
    high: float

    def is_at_rails(self, params: QuantParams) -> tuple[bool, bool]:
        """Whether least and greatest code stand for the limits, up to half a step."""
        if params.per_channel:
            return False, False
        zero, scale = int(params.zero_point), float(params.scale)
        bottom, top = (params.qmin - zero) * scale, (params.qmax - zero) * scale
        return self.low >= bottom - scale / 2, self.high <= top + scale / 2


def folded_clips(model: QuantizedModel, reference: QuantizedModel) -> dict[str, FoldedClip]:
    """Return the Clips of a float network that its quantized twin lacks, by layer.

    Saturation at the rails does what a Clip does (ReLU6 is the usual one), so quantizers drop
    it: the integer layer's output is the float Clip's, not that of the float layer.
    """
    names = {layer.name for layer in model.layers}
    readers: dict[str, list[str]] = {}
    for layer in reference.layers:
        for source in layer.inputs:
            readers.setdefault(source, []).append(layer.name)
    found = {}
    for layer in reference.layers:
        if not isinstance(layer, FloatIsland) or layer.name in names or len(layer.inputs) != 1:
            continue
        source, limits = layer.inputs[0], clip_limits(layer)
        if limits is not None and source in names and readers[source] == [layer.name]:
            found[source] = FoldedClip(layer.name, *limits)
    return found


def twin_edges(model: QuantizedModel, reference: QuantizedModel) -> dict[str, str]:
    """Return the float edge of each input and layer that has a counterpart.

    It is the one of the same name, with three exceptions. Behind a dropped Clip it is the Clip's.
    A float layer holds the Relu that follows it: where the quantized file has that Relu as a
    layer of its own, the float values belong to the latter, and the layer before has no twin.
    A boundary (Quantize, Dequantize) that the float file lacks has that of what it converts.
    """
    clips = folded_clips(model, reference)
    with_relu = {layer.name for layer in reference.layers if getattr(layer, "relu", False)}
    read = [name for layer in model.layers for name in layer.inputs]
    found = {name: name for name in model.inputs}
    for layer in model.layers:
        own = clips[layer.name].edge if layer.name in clips else layer.name
        source = layer.inputs[0] if len(layer.inputs) == 1 else ""
        if own in reference.edges:
            if own not in with_relu or _ends_with_relu(model, layer):
                found[layer.name] = own
        elif source in found:
            if layer.kind in {"quantize", "dequantize"}:
                found[layer.name] = found[source]
        elif source in with_relu and read.count(source) == 1 and _has_relu(layer):
            found[layer.name] = source
    return found


def _has_relu(layer: Layer) -> bool:
    return any(op == "Relu" for op, _ in layer.nodes)


def _ends_with_relu(model: QuantizedModel, layer: Layer) -> bool:
    """Whether a layer's output is never below 0: by its rail, or by a Relu among its nodes."""
    params = model.edges[layer.name].params
    return _has_relu(layer) or (params is not None and params.at_lower_rail)


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
    edges = {} if reference is None else twin_edges(model, reference)

    def run() -> Iterator[tuple[Trace, Values | None]]:
        for trace in _traces(model, given):
            if twin is None:
                yield trace, None
                continue
            values = twin({name: trace[name] for name in model.inputs})
            yield (
                trace,
                {
                    name: values[edge]
                    for name, edge in edges.items()
                    if _fits(values[edge], model.edges[name].shape)
                },
            )

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


def _fits(values: NDArray[Any], shape: tuple[int | None, ...]) -> bool:
    """Whether values have a shape, None standing for any size."""
    return len(shape) == values.ndim and all(
        want in (None, got) for want, got in zip(shape, values.shape, strict=True)
    )
