"""Activations on given inputs: integers against float, on one axis, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationReport:
    """The output of one layer over all inputs.

    Attributes
    ----------
    layer : its canonical name
    params : of its output; None for a float tensor
    low, high : least and greatest real value
    histogram, reference : of the integer network's real values and of the float twin's, over
        the same edges; ``reference`` is None without twin
    rails : codes at the ends of the dtype, None for a float tensor
    distance : from the float twin, None without
    constant_observed : channels with one code on all inputs, which proves nothing for others
    images : number of inputs
    """

    layer: str
    params: QuantParams | None
    low: float
    high: float
    histogram: Histogram
    reference: Histogram | None
    rails: Rails | None
    distance: FloatDistance | None
    constant_observed: tuple[int, ...]
    images: int


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
    measured = [_Output(model, layer, (folded or {}).get(layer.name)) for layer in model.layers]
    for trace, twin in batches():
        for output in measured:
            output.add(trace, twin_values(model, output.layer, twin))
    for output in measured:
        output.open_bins(bins)
    for trace, twin in batches():
        for output in measured:
            output.count(trace, twin_values(model, output.layer, twin))
    return [output.report() for output in measured]


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


class _Output:
    """What two passes over the inputs add up for one layer; the first finds the bins."""

    def __init__(self, model: QuantizedModel, layer: Layer, clip: FoldedClip | None) -> None:
        self.layer, self.clip = layer, clip
        self.params = model.edges[layer.name].params
        self.rails = Rails()
        self.images = self.values = self.twins = 0
        self.ends, self.twin_ends = (np.inf, -np.inf), (np.inf, -np.inf)
        self.signal = self.noise = 0.0
        self.channels: tuple[AnyArray, AnyArray] | None = None

    def add(self, trace: Trace, twin: NDArray[Any] | None) -> None:
        """Add one batch to the sums, ranges and rails."""
        real = real_output(trace, self.layer)
        self.values += real.size
        self.images += len(real) if real.ndim else 1
        self.ends = _wider(self.ends, real)
        count_rails(self.rails, trace, self.layer, self.clip)
        self._add_channels(trace[self.layer.name])
        if twin is None or not twin.size:
            return
        self.twins += twin.size
        self.twin_ends = _wider(self.twin_ends, twin)
        x = twin.astype(np.float64)
        with np.errstate(invalid="ignore"):  # what is infinite in both differs by NaN
            self.signal += float(np.square(x).sum())
            self.noise += float(np.square(x - real).sum())

    def _add_channels(self, values: NDArray[Any]) -> None:
        if values.ndim < 2:
            return
        others = tuple(i for i in range(values.ndim) if i != 1)
        low, high = values.min(axis=others), values.max(axis=others)
        if self.channels is not None:
            low, high = np.minimum(self.channels[0], low), np.maximum(self.channels[1], high)
        self.channels = low, high

    def open_bins(self, bins: int) -> None:
        """End the first pass: choose edges that hold all values of both networks."""
        low, high = min(self.ends[0], self.twin_ends[0]), max(self.ends[1], self.twin_ends[1])
        if not np.isfinite([low, high]).all():
            low, high = 0.0, 0.0
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.edges = np.linspace(low, high, bins + 1)
        self.counts = np.zeros((2, bins), np.int64)

    def count(self, trace: Trace, twin: NDArray[Any] | None) -> None:
        """Add one batch to the histograms."""
        self.counts[0] += histogram(real_output(trace, self.layer), self.edges).counts
        if twin is not None:
            self.counts[1] += histogram(twin, self.edges).counts

    def report(self) -> ActivationReport:
        """Return what was found."""
        low, high = self.ends if self.values else (0.0, 0.0)
        return ActivationReport(
            layer=self.layer.name,
            params=self.params,
            low=float(low),
            high=float(high),
            histogram=Histogram(self.edges, self.counts[0], self.values),
            reference=Histogram(self.edges, self.counts[1], self.twins) if self.twins else None,
            rails=None if self.params is None else self.rails,
            distance=self._distance(),
            constant_observed=self._constant(),
            images=self.images,
        )

    def _distance(self) -> FloatDistance | None:
        if not self.twins or not np.isfinite([self.signal, self.noise]).all():
            return None
        rounding = 0.0
        if self.params is not None:
            zeros = self.rails.share(self.rails.intended)
            rounded = 1.0 if zeros is None else 1 - zeros
            scale = self.params.scale.astype(np.float64)
            rounding = float(np.mean(np.square(scale))) / 12 * rounded
        return FloatDistance(self.signal / self.twins, self.noise / self.twins, rounding)

    def _constant(self) -> tuple[int, ...]:
        """Return the channels with one value; of one value alone nothing can be said."""
        if self.channels is None or self.values <= len(self.channels[0]):
            return ()
        low, high = self.channels
        return tuple(np.flatnonzero(low == high).tolist())


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
