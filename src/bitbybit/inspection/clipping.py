"""Codes at the rails: where a ReLU cut on purpose, and where the range was too small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.trace import Trace
from bitbybit.inspection.dequantized import dequantize
from bitbybit.inspection.folded import FoldedClip
from bitbybit.model.match import at_lower_rail
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantParams,
)


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


def has_relu_rail(model: QuantizedModel, layer: Layer) -> bool:
    """Whether the layer's lower rail is real 0 and stands for its ReLU."""
    params = model.edges[layer.name].params
    relu = bool(getattr(layer, "relu", False))
    return relu and params is not None and at_lower_rail(params)


def count_rails(rails: Rails, trace: Trace, layer: Layer, folded: FoldedClip | None = None) -> None:
    """Add one batch to the counts of a layer whose output is integer."""
    model = trace.model
    params = model.edges[layer.name].params
    if params is None:
        return
    codes = trace[layer.name]
    low, high = codes == params.qmin, codes == params.qmax
    rails.total += codes.size
    rails.low += int(np.count_nonzero(low))
    rails.high += int(np.count_nonzero(high))
    bottom, top = (False, False) if folded is None else folded.is_at_rails(params)
    bottom = bottom or has_relu_rail(model, layer)
    rails.intended += int(np.count_nonzero(low)) if bottom else 0
    rails.intended_high += int(np.count_nonzero(high)) if top else 0
    if (top or not high.any()) and (bottom or not low.any()):
        return  # nothing at a rail that could be damaged: the unclipped result is not needed
    steps = unclipped(trace, layer, params)
    if steps is None:
        rails.clipped_low = rails.clipped_high = None
    elif rails.clipped_low is not None and rails.clipped_high is not None:
        rails.clipped_high += 0 if top else int(np.count_nonzero(steps > params.qmax))
        rails.clipped_low += 0 if bottom else int(np.count_nonzero(steps < params.qmin))


def unclipped(trace: Trace, layer: Layer, y: QuantParams) -> NDArray[np.float64] | None:
    """Return the codes that a layer would give without saturation, None where not known.

    Notes
    -----
    Convolution, dense and pooling layers from their accumulators with the contract's multiplier;
    additions from the real values of their inputs (an addition's clipped code is off by more
    than rounding, so the last bit of its float32 sum does not matter).
    """
    model = trace.model
    zero = y.zero_point.astype(np.float64)
    if y.per_channel:
        return None
    if isinstance(layer, Quantize):
        real = trace[layer.inputs[0]].astype(np.float64) / y.scale
    elif isinstance(layer, Add):
        real = _sum(trace, layer) / y.scale
    elif isinstance(layer, (Conv, Dense, GlobalPool)):
        x = model.edges[layer.inputs[0]].params
        multiplier = _multiplier(model, layer, y)
        if x is None or multiplier is None:
            return None
        acc = trace.accumulator(layer.name).astype(np.float32)
        real = (acc * multiplier).astype(np.float64)
    else:
        return None
    result: NDArray[np.float64] = np.rint(real) + zero
    return result


def _multiplier(
    model: QuantizedModel, layer: Conv | Dense | GlobalPool, y: QuantParams
) -> NDArray[np.float32] | None:
    """Return ``(x_scale * w_scale) / y_scale``, shaped to multiply the accumulators."""
    edge = model.edges[layer.inputs[0]]
    if edge.params is None:
        return None
    if isinstance(layer, GlobalPool):
        height, width = edge.shape[2:]
        if height is None or width is None:
            return None
        return np.asarray(edge.params.scale / (y.scale * np.float32(height * width)))
    if layer.weight.params is None:
        return None
    m = np.asarray((edge.params.scale * layer.weight.params.scale) / y.scale)
    return m.reshape(-1, 1, 1) if isinstance(layer, Conv) and m.ndim else m


def _sum(trace: Trace, layer: Layer) -> NDArray[np.float64]:
    total: Any = 0.0
    for name in layer.inputs:
        params = trace.model.edges[name].params
        values = trace[name]
        total = total + (values if params is None else dequantize(values, params)).astype(float)
    result: NDArray[np.float64] = np.asarray(total)
    return result
