"""Activations on given inputs: integers against float, on one axis, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.trace import Trace
from bitbybit.inspection.clipping import Rails, count_rails
from bitbybit.inspection.dequantized import dequantize
from bitbybit.inspection.folded import FoldedClip
from bitbybit.inspection.histograms import DEFAULT_BINS, Histogram, check_bins, histogram
from bitbybit.inspection.weights import sqnr_db
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


@dataclass(frozen=True, eq=False)
class ActivationReport:
    """The output of one layer over all inputs.

    Attributes
    ----------
    layer, kind : canonical name and kind of the layer
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
    kind: str
    params: QuantParams | None
    low: float
    high: float
    histogram: Histogram
    reference: Histogram | None
    rails: Rails | None
    distance: FloatDistance | None
    constant_observed: tuple[int, ...]
    images: int


@dataclass
class _Sums:
    """What the first pass over the inputs adds up for one layer."""

    low: float = np.inf
    high: float = -np.inf
    twin_low: float = np.inf
    twin_high: float = -np.inf
    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    twins: int = 0
    images: int = 0
    rails: Rails = field(default_factory=Rails)
    channel_low: AnyArray | None = None
    channel_high: AnyArray | None = None


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
    sums = {layer.name: _Sums() for layer in model.layers}
    for trace, twin in batches():
        for layer in model.layers:
            clip = (folded or {}).get(layer.name)
            _add(sums[layer.name], trace, twin_values(model, layer, twin), layer, clip)
    edges = {name: _edges(s, bins) for name, s in sums.items()}
    counts = {name: np.zeros((2, bins), np.int64) for name in sums}
    for trace, twin in batches():
        for layer in model.layers:
            found = counts[layer.name]
            found[0] += histogram(real_output(trace, layer), edges[layer.name]).counts
            other = twin_values(model, layer, twin)
            if other is not None:
                found[1] += histogram(other, edges[layer.name]).counts
    return [
        _report(model, layer, sums[layer.name], edges[layer.name], counts[layer.name])
        for layer in model.layers
    ]


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


def _add(
    sums: _Sums,
    trace: Trace,
    twin: NDArray[Any] | None,
    layer: Layer,
    folded: FoldedClip | None,
) -> None:
    real = real_output(trace, layer)
    sums.count += real.size
    sums.images += len(real) if real.ndim else 1
    if real.size:
        sums.low, sums.high = min(sums.low, real.min()), max(sums.high, real.max())
    count_rails(sums.rails, trace, layer, folded)
    _add_channels(sums, trace[layer.name])
    if twin is None or not twin.size:
        return
    x = twin.astype(np.float64)
    sums.twins += x.size
    sums.twin_low = min(sums.twin_low, float(x.min()))
    sums.twin_high = max(sums.twin_high, float(x.max()))
    sums.signal += float(np.square(x).sum())
    sums.noise += float(np.square(x - real).sum())


def _add_channels(sums: _Sums, values: NDArray[Any]) -> None:
    if values.ndim < 2:
        return
    others = tuple(i for i in range(values.ndim) if i != 1)
    low, high = values.min(axis=others), values.max(axis=others)
    if sums.channel_low is None or sums.channel_high is None:
        sums.channel_low, sums.channel_high = low, high
    else:
        sums.channel_low = np.minimum(sums.channel_low, low)
        sums.channel_high = np.maximum(sums.channel_high, high)


def _edges(sums: _Sums, bins: int) -> NDArray[np.float64]:
    low, high = min(sums.low, sums.twin_low), max(sums.high, sums.twin_high)
    if not np.isfinite([low, high]).all():
        low, high = 0.0, 0.0
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _report(
    model: QuantizedModel,
    layer: Layer,
    sums: _Sums,
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> ActivationReport:
    params = model.edges[layer.name].params
    distance = None
    if sums.twins:
        step = 0.0 if params is None else float(np.mean(np.square(params.scale.astype(np.float64))))
        rounded = 1 - (sums.rails.share(sums.rails.intended) or 0.0)
        signal, noise = sums.signal / sums.twins, sums.noise / sums.twins
        distance = FloatDistance(signal, noise, step / 12 * rounded)
    observed: tuple[int, ...] = ()
    if sums.channel_low is not None and sums.channel_high is not None:
        same = np.flatnonzero(sums.channel_low == sums.channel_high)
        several = sums.count > len(sums.channel_low)  # one value alone is always constant
        observed = tuple(int(i) for i in same) if several else ()
    return ActivationReport(
        layer.name,
        layer.kind,
        params,
        float(sums.low) if sums.count else 0.0,
        float(sums.high) if sums.count else 0.0,
        Histogram(edges, counts[0], sums.count),
        Histogram(edges, counts[1], sums.twins) if sums.twins else None,
        None if params is None else sums.rails,
        distance,
        observed,
        sums.images,
    )
