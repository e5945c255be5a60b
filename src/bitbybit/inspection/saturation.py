"""Codes at the rails: where a ReLU or Clip cut on purpose, and where the range was too small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import along, conv_multiplier, pool_multiplier
from bitbybit.execution.engine import Trace
from bitbybit.execution.layers import params
from bitbybit.inspection.weights import dequantize
from bitbybit.model.costs import clip_limits
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    FloatIsland,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantParams,
)


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


def twin_edges(model: QuantizedModel, reference: QuantizedModel) -> dict[str, str | None]:
    """Return the float edge of each edge whose counterpart is not the one of its own name.

    A float layer holds the Relu that follows it. Where the quantized file has that Relu as a
    layer of its own, the float values belong to the latter, and the layer before has no twin.
    """
    found: dict[str, str | None] = {
        name: clip.edge for name, clip in folded_clips(model, reference).items()
    }
    with_relu = {layer.name for layer in reference.layers if getattr(layer, "relu", False)}
    known = {layer.name for layer in reference.layers}
    for layer in model.layers:
        if layer.name not in with_relu or _ends_with_relu(model, layer):
            continue
        found[layer.name] = None
        readers = [other for other in model.layers if layer.name in other.inputs]
        if len(readers) == 1 and readers[0].name not in known:
            (reader,) = readers
            if any(op == "Relu" for op, _ in reader.nodes):
                found[reader.name] = layer.name
    return found


def _ends_with_relu(model: QuantizedModel, layer: Layer) -> bool:
    """Whether a layer's output is never below 0: by its rail, or by a Relu among its nodes."""
    params = model.edges[layer.name].params
    at_rail = params is not None and params.at_lower_rail
    return at_rail or any(op == "Relu" for op, _ in layer.nodes)


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
        not meant to; None where the layer's unclipped result is not known
    """

    total: int = 0
    low: int = 0
    high: int = 0
    intended: int = 0
    intended_high: int = 0
    clipped_low: int | None = 0
    clipped_high: int | None = 0

    @property
    def damaged(self) -> int | None:
        """Codes that lost their value to saturation."""
        if self.clipped_low is None or self.clipped_high is None:
            return None
        return self.clipped_low + self.clipped_high

    def share(self, count: int | None) -> float | None:
        """Return ``count / total``."""
        return None if count is None or not self.total else count / self.total


def count_rails(rails: Rails, trace: Trace, layer: Layer, folded: FoldedClip | None = None) -> None:
    """Add one batch to the counts of a layer whose output is integer."""
    y = trace.model.edges[layer.name].params
    if y is None:
        return
    codes = trace[layer.name]
    low, high = codes == y.qmin, codes == y.qmax
    rails.total += codes.size
    rails.low += int(np.count_nonzero(low))
    rails.high += int(np.count_nonzero(high))
    bottom, top = (False, False) if folded is None else folded.is_at_rails(y)
    bottom = bottom or (bool(getattr(layer, "relu", False)) and y.at_lower_rail)
    rails.intended += int(np.count_nonzero(low)) if bottom else 0
    rails.intended_high += int(np.count_nonzero(high)) if top else 0
    if (top or not high.any()) and (bottom or not low.any()):
        return  # nothing at a rail that could be damaged: the unclipped result is not needed
    steps = unclipped(trace, layer, y)
    if steps is None:
        rails.clipped_low = rails.clipped_high = None
    elif rails.clipped_low is not None and rails.clipped_high is not None:
        rails.clipped_high += 0 if top else int(np.count_nonzero(steps > y.qmax))
        rails.clipped_low += 0 if bottom else int(np.count_nonzero(steps < y.qmin))


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
    if isinstance(layer, (Conv, Dense, GlobalPool)):
        with np.errstate(over="ignore", invalid="ignore"):
            accumulators = trace.accumulator(layer.name).astype(np.float32)
            steps = accumulators * _multiplier(trace, layer, y)
    elif isinstance(layer, (Quantize, Add)):
        real = sum(_real(trace, name) for name in layer.inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = real / y.scale
    else:
        return None
    result: NDArray[np.float64] = np.rint(steps.astype(np.float64)) + int(y.zero_point)
    return result


def _multiplier(
    trace: Trace, layer: Conv | Dense | GlobalPool, y: QuantParams
) -> NDArray[np.float32]:
    """Return the contract's multiplier, shaped to multiply the accumulators."""
    x = params(trace.model.edges[layer.inputs[0]], layer)
    if isinstance(layer, GlobalPool):
        height, width = trace[layer.inputs[0]].shape[2:]
        return pool_multiplier(x.scale, y.scale, height * width)
    multiplier = conv_multiplier(x.scale, params(layer.weight, layer).scale, y.scale)
    return along(multiplier, -3, 3) if isinstance(layer, Conv) else multiplier


def _real(trace: Trace, name: str) -> NDArray[np.float64]:
    found = trace.model.edges[name].params
    values: NDArray[Any] = trace[name]
    return (values if found is None else dequantize(values, found)).astype(np.float64)
