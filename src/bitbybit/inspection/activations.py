"""Activations on given inputs: integers against float, on one axis, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import sqnr_db
from bitbybit.errors import DataError
from bitbybit.execution.engine import Trace, stream
from bitbybit.execution.feed import Feed, Input, batches, count_images, input_values
from bitbybit.execution.runtime import FloatNetwork
from bitbybit.inspection.saturation import FoldedClip, Rails, count_rails, twin_edges
from bitbybit.inspection.statistics import DEFAULT_BINS, Histogram, check_bins, histogram
from bitbybit.inspection.weights import dequantize
from bitbybit.model.types import AnyArray, Layer, QuantizedModel, QuantParams

Values = Mapping[str, NDArray[Any]]
Batches = Callable[[], Iterator[tuple[Trace, Values | None]]]
"""Starts anew at each call: traces of the network, each with its twin's float edges by name."""


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


class ActivationReport:
    """The output of one layer over all inputs: two passes add up; the first finds the bins.

    Attributes
    ----------
    layer : its canonical name
    params : of its output; None for a float tensor
    edges : of both histograms, from the end of the first pass on
    images : number of inputs
    """

    def __init__(self, model: QuantizedModel, layer: Layer, clip: FoldedClip | None = None) -> None:
        self.layer, self._model, self._layer, self._clip = layer.name, model, layer, clip
        self.params = model.edges[layer.name].params
        self.images = self._values = self._twins = 0
        self._rails = Rails()
        self._ends, self._twin_ends = (np.inf, -np.inf), (np.inf, -np.inf)
        self._signal = self._noise = 0.0
        self._channels: tuple[AnyArray, AnyArray] | None = None

    def add(self, trace: Trace, others: Values | None) -> None:
        """Add one batch to the sums, ranges and rails."""
        real = real_output(trace, self._layer)
        self._values += real.size
        self.images += len(real) if real.ndim else 1
        self._ends = _wider(self._ends, real)
        count_rails(self._rails, trace, self._layer, self._clip)
        self._add_channels(trace[self._layer.name])
        twin = twin_values(self._model, self._layer, others)
        if twin is None or not twin.size:
            return
        self._twins += twin.size
        self._twin_ends = _wider(self._twin_ends, twin)
        x = twin.astype(np.float64)
        with np.errstate(invalid="ignore"):  # what is infinite in both differs by NaN
            self._signal += float(np.square(x).sum())
            self._noise += float(np.square(x - real).sum())

    def _add_channels(self, values: NDArray[Any]) -> None:
        if values.ndim < 2:
            return
        others = tuple(i for i in range(values.ndim) if i != 1)
        low, high = values.min(axis=others), values.max(axis=others)
        if self._channels is not None:
            low, high = np.minimum(self._channels[0], low), np.maximum(self._channels[1], high)
        self._channels = low, high

    def open_bins(self, bins: int) -> None:
        """End the first pass: choose edges that hold all values of both networks."""
        low, high = min(self._ends[0], self._twin_ends[0]), max(self._ends[1], self._twin_ends[1])
        if not np.isfinite([low, high]).all():
            low, high = 0.0, 0.0
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.edges = np.linspace(low, high, bins + 1)
        self._counts = np.zeros((2, bins), np.int64)

    def count(self, trace: Trace, others: Values | None) -> None:
        """Add one batch to the histograms."""
        self._counts[0] += histogram(real_output(trace, self._layer), self.edges).counts
        twin = twin_values(self._model, self._layer, others)
        if twin is not None:
            self._counts[1] += histogram(twin, self.edges).counts

    @property
    def low(self) -> float:
        """Least real value."""
        return float(self._ends[0]) if self._values else 0.0

    @property
    def high(self) -> float:
        """Greatest real value."""
        return float(self._ends[1]) if self._values else 0.0

    @property
    def histogram(self) -> Histogram:
        """Of the integer network's real values."""
        return Histogram(self.edges, self._counts[0], self._values)

    @property
    def reference(self) -> Histogram | None:
        """Of the float twin's values over the same edges, None without twin."""
        return Histogram(self.edges, self._counts[1], self._twins) if self._twins else None

    @property
    def rails(self) -> Rails | None:
        """Codes at the ends of the dtype, None for a float tensor."""
        return None if self.params is None else self._rails

    @property
    def distance(self) -> FloatDistance | None:
        """Distance from the float twin, None without."""
        if not self._twins or not np.isfinite([self._signal, self._noise]).all():
            return None
        rounding = 0.0
        if self.params is not None:
            zeros = self._rails.share(self._rails.intended)
            rounded = 1.0 if zeros is None else 1 - zeros
            scale = self.params.scale.astype(np.float64)
            rounding = float(np.mean(np.square(scale))) / 12 * rounded
        return FloatDistance(self._signal / self._twins, self._noise / self._twins, rounding)

    @property
    def constant_observed(self) -> tuple[int, ...]:
        """Channels with one code on all inputs, which proves nothing for others.

        Of one value alone nothing can be said.
        """
        if self._channels is None or self._values <= len(self._channels[0]):
            return ()
        low, high = self._channels
        return tuple(np.flatnonzero(low == high).tolist())


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


def real_output(trace: Trace, layer: Layer) -> NDArray[Any]:
    """Return the real values of a layer's output: dequantized codes, or its float values."""
    params = trace.model.edges[layer.name].params
    values = trace[layer.name]
    return values if params is None else dequantize(values, params)


def twin_values(model: QuantizedModel, layer: Layer, twin: Values | None) -> NDArray[Any] | None:
    """Return the float twin's values of a layer's output, None where it has no such edge.

    A boundary (Quantize, Dequantize) has no counterpart in the float file: its twin is that of
    the tensor it converts.
    """
    if twin is None:
        return None
    for name in (layer.name, *(layer.inputs if layer.kind in ("quantize", "dequantize") else ())):
        if name in twin:
            values = twin[name]
            shape = model.edges[layer.name].shape
            fits = len(shape) == values.ndim and all(
                want in (None, got) for want, got in zip(shape, values.shape, strict=True)
            )
            return values if fits else None
    return None


def feature_maps(model: QuantizedModel, batches: Batches) -> dict[str, FeatureMaps]:
    """Return every layer's output for the first image, by layer name."""
    found = {}
    for trace, twin in islice(batches(), 1):
        for layer in model.layers:
            values, real = trace[layer.name], real_output(trace, layer)
            other = twin_values(model, layer, twin)
            if values.ndim < 2:
                continue
            first = None if other is None else np.array(other[0])
            params = model.edges[layer.name].params
            found[layer.name] = FeatureMaps(np.array(values[0]), params, np.array(real[0]), first)
    return found


def _wider(ends: tuple[float, float], values: NDArray[Any]) -> tuple[float, float]:
    if not values.size:
        return ends
    return min(ends[0], float(values.min())), max(ends[1], float(values.max()))


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
