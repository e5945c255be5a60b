"""Activations on given inputs: integers against float, on one axis, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import along, conv_multiplier, pool_multiplier, sqnr_db
from bitbybit.errors import DataError
from bitbybit.execution.engine import Trace, params, stream
from bitbybit.execution.feed import Feed, Input, batches, count_images, input_values
from bitbybit.execution.runtime import FloatNetwork
from bitbybit.inspection.statistics import (
    DEFAULT_BINS,
    Histogram,
    check_bins,
    edges_between,
    histogram,
)
from bitbybit.inspection.weights import dequantize
from bitbybit.model.costs import clip_limits
from bitbybit.model.types import (
    Add,
    AnyArray,
    Conv,
    Dense,
    FloatIsland,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantParams,
)

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


@dataclass
class Rails:
    """Counts of output codes at the ends of their dtype.

    Attributes
    ----------
    total : number of codes
    low, high : codes equal to the dtype's minimum and maximum
    intended : codes at the lower rail of a ReLU layer whose zero point is that rail: real 0; or
        of a layer whose float twin has a Clip with its lower limit there
    intended_high : codes at the upper rail where the float twin has a Clip with its limit there
    clipped_low, clipped_high : codes that would lie beyond the rail in a wider dtype and were
        not meant to
    is_known : False if the unclipped result of some of them could not be computed
    """

    total: int = 0
    low: int = 0
    high: int = 0
    intended: int = 0
    intended_high: int = 0
    clipped_low: int = 0
    clipped_high: int = 0
    is_known: bool = True

    @property
    def damaged(self) -> int | None:
        """Codes that lost their value to saturation; None where that is not known."""
        return self.clipped_low + self.clipped_high if self.is_known else None

    @property
    def damaged_share(self) -> float | None:
        """The share of these; None where that is not known."""
        return None if self.damaged is None else self.damaged / max(self.total, 1)

    def add(self, trace: Trace, layer: Layer, folded: FoldedClip | None = None) -> None:
        """Add one batch of a layer whose output is integer."""
        y = trace.model.edges[layer.name].params
        if y is None:
            return
        codes = trace[layer.name]
        low, high = (int(np.count_nonzero(codes == end)) for end in (y.qmin, y.qmax))
        self.total, self.low, self.high = self.total + codes.size, self.low + low, self.high + high
        bottom, top = (False, False) if folded is None else folded.is_at_rails(y)
        bottom = bottom or (bool(getattr(layer, "relu", False)) and y.at_lower_rail)
        self.intended += low if bottom else 0
        self.intended_high += high if top else 0
        if (top or not high) and (bottom or not low):
            return  # nothing at a rail that could be damaged: the unclipped result is not needed
        steps = unclipped(trace, layer, y)
        if steps is None:
            self.is_known = False
            return
        self.clipped_high += 0 if top else int(np.count_nonzero(steps > y.qmax))
        self.clipped_low += 0 if bottom else int(np.count_nonzero(steps < y.qmin))


def unclipped(trace: Trace, layer: Layer, y: QuantParams) -> NDArray[np.float64] | None:
    """Return the codes that a layer would give without saturation, None where not known.

    Notes
    -----
    Convolution, dense and pooling layers from their accumulators with the contract's multiplier;
    additions from the real values of their inputs (an addition's clipped code is off by more
    than rounding, so the last bit of its float32 sum does not matter).
    """
    if y.per_channel:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(layer, (Conv, Dense, GlobalPool)):
            accumulators = trace.accumulator(layer.name).astype(np.float32)
            steps = accumulators * _multiplier(trace, layer, y)
        elif isinstance(layer, (Quantize, Add)):
            real = sum(real_values(trace, name).astype(np.float64) for name in layer.inputs)
            steps = real / y.scale
        else:
            return None
    return np.asarray(np.rint(steps.astype(np.float64)) + int(y.zero_point), np.float64)


def _multiplier(
    trace: Trace, layer: Conv | Dense | GlobalPool, y: QuantParams
) -> NDArray[np.float32]:
    """Return the contract's multiplier, shaped to multiply the accumulators."""
    x = params(trace.model.edges[layer.inputs[0]], layer)
    if isinstance(layer, GlobalPool):
        return pool_multiplier(x.scale, y.scale, math.prod(trace[layer.inputs[0]].shape[2:]))
    multiplier = conv_multiplier(x.scale, params(layer.weight, layer).scale, y.scale)
    return along(multiplier, -3, 3) if isinstance(layer, Conv) else multiplier


def real_values(trace: Trace, name: str) -> NDArray[Any]:
    """Return the real values of an edge: dequantized codes, or its float values."""
    of = trace.model.edges[name].params
    return trace[name] if of is None else dequantize(trace[name], of)


@dataclass(frozen=True)
class FloatDistance:
    """How far a layer's real values lie from the float twin's, on the inputs given.

    Attributes
    ----------
    signal : mean of float²
    noise : mean of (float - dequantized)²
    rounding : Δ²/12 with Δ the scale: the mean square that rounding alone would give if the
        values before it were exact and spread evenly over a step; times the share of values
        that are not ReLU's exact zeros
    """

    signal: float
    noise: float
    rounding: float

    @property
    def sqnr_db(self) -> float:
        """``10 log10(signal / noise)``."""
        return sqnr_db(self.signal, self.noise)

    @property
    def rounding_sqnr_db(self) -> float:
        """``10 log10(signal / rounding)``."""
        return sqnr_db(self.signal, self.rounding)


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """One layer's output for one image.

    Attributes
    ----------
    codes : ``[C, H, W]`` or ``[C]``, dtype of the layer's output
    params : of the codes; None for a float tensor
    real : the real values of the codes
    twin : the float twin's values, same shape; None without twin
    """

    codes: AnyArray
    params: QuantParams | None
    real: NDArray[Any]
    twin: NDArray[Any] | None


class _Population:
    """How many values there are in all batches, and the least and greatest of each channel."""

    def __init__(self) -> None:
        self.size, self.low, self.high = 0, np.asarray(np.inf), np.asarray(-np.inf)

    def add(self, values: NDArray[Any]) -> None:
        others = tuple(i for i in range(values.ndim) if i != 1)
        if values.size:
            self.size += values.size
            self.low = np.minimum(self.low, values.min(axis=others))
            self.high = np.maximum(self.high, values.max(axis=others))


class ActivationReport:
    """The output of one layer over all inputs: two passes add up; the first finds the bins.

    Attributes
    ----------
    layer : its canonical name
    params : of its output; None for a float tensor
    images : number of inputs
    rails : codes at the ends of the dtype, None for a float tensor
    maps : its output for the first input; None for a tensor of less than two dimensions
    histogram : of the integer network's real values, after both passes
    reference : of the float twin's values over the same edges, None without twin
    """

    def __init__(self, model: QuantizedModel, layer: Layer, clip: FoldedClip | None = None) -> None:
        self.layer, self._layer, self._clip = layer.name, layer, clip
        self.params = model.edges[layer.name].params
        self.images = 0
        self.maps: FeatureMaps | None = None
        self.rails = None if self.params is None else Rails()
        self._own, self._twin = _Population(), _Population()
        self._signal = self._noise = 0.0

    def add(self, trace: Trace, others: Values | None) -> None:
        """Add one batch to the sums, ranges and rails."""
        codes, real = trace[self.layer], real_values(trace, self.layer)
        twin = None if others is None else others.get(self.layer)
        if not self.images and codes.ndim > 1:
            first = None if twin is None else twin[0].copy()
            self.maps = FeatureMaps(codes[0].copy(), self.params, real[0].copy(), first)
        self.images += len(real) if real.ndim else 1
        self._own.add(real)
        if self.rails is not None:
            self.rails.add(trace, self._layer, self._clip)
        if twin is None:
            return
        self._twin.add(twin)
        x = twin.astype(np.float64)
        with np.errstate(invalid="ignore"):  # what is infinite in both differs by NaN
            self._signal += float(np.square(x).sum())
            self._noise += float(np.square(x - real).sum())

    def open_bins(self, bins: int) -> None:
        """End the first pass: choose edges that hold all values of both networks."""
        low = min(float(each.low.min()) for each in (self._own, self._twin))
        high = max(float(each.high.max()) for each in (self._own, self._twin))
        if not np.isfinite([low, high]).all():
            low, high = 0.0, 0.0
        edges = edges_between(low, high, bins)
        self.histogram, reference = (
            Histogram(edges, np.zeros(bins, np.int64), each.size)
            for each in (self._own, self._twin)
        )
        self.reference = reference if self._twin.size else None

    def count(self, trace: Trace, others: Values | None) -> None:
        """Add one batch to the histograms."""
        counts = self.histogram.counts
        counts += histogram(real_values(trace, self.layer), self.histogram.edges).counts
        if self.reference is not None and others is not None and self.layer in others:
            counts = self.reference.counts
            counts += histogram(others[self.layer], self.reference.edges).counts

    @property
    def low(self) -> float:
        """Least real value."""
        return float(self._own.low.min()) if self._own.size else 0.0

    @property
    def high(self) -> float:
        """Greatest real value."""
        return float(self._own.high.max()) if self._own.size else 0.0

    @property
    def distance(self) -> FloatDistance | None:
        """Distance from the float twin, None without."""
        if not self._twin.size or not np.isfinite([self._signal, self._noise]).all():
            return None
        count, rounding = self._twin.size, 0.0
        if self.params is not None and self.rails is not None:
            rounded = 1 - self.rails.intended / max(self.rails.total, 1)
            scale = self.params.scale.astype(np.float64)
            rounding = float(np.mean(np.square(scale))) / 12 * rounded
        return FloatDistance(self._signal / count, self._noise / count, rounding)

    @property
    def constant_observed(self) -> tuple[int, ...]:
        """Channels with one value on all inputs, which proves nothing for others.

        Of one value alone nothing can be said.
        """
        low, high = self._own.low, self._own.high
        if not low.ndim or self._own.size <= len(low):
            return ()
        return tuple(np.flatnonzero(low == high).tolist())


def activation_reports(
    model: QuantizedModel,
    batches: Batches,
    bins: int = DEFAULT_BINS,
    folded: Mapping[str, FoldedClip] | None = None,
) -> list[ActivationReport]:
    """Measure every layer on given inputs, in two passes; memory holds one batch.

    Parameters
    ----------
    model
        A quantized network.
    batches
        Starts the inputs anew at each call and yields, batch by batch, the trace and the
        twin's float values of the same images by canonical edge name (None without twin).
    bins
        10 to 200 bins of the histograms.
    folded
        Layer → the Clip that only the float twin has behind it: the limits are intended.

    Raises
    ------
    DataError
        If ``bins`` is out of range.
    """
    check_bins(bins)
    measured = [
        ActivationReport(model, layer, (folded or {}).get(layer.name)) for layer in model.layers
    ]
    for trace, twin in batches():
        for output in measured:
            output.add(trace, twin)
    for output in measured:
        output.open_bins(bins)
    for trace, twin in batches():
        for output in measured:
            output.count(trace, twin)
    return measured


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
