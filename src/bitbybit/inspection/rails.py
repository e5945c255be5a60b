"""Codes at the rails: where a ReLU cut on purpose, and where the range was too small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import along, conv_multiplier, pool_multiplier
from bitbybit.execution.trace import Trace
from bitbybit.inspection.clips import FoldedClip
from bitbybit.inspection.weights import dequantize
from bitbybit.model.parameters import at_lower_rail
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
    if y.per_channel:
        return None
    if isinstance(layer, (Conv, Dense, GlobalPool)):
        multiplier = _multiplier(model, layer, y)
        if multiplier is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            steps = trace.accumulator(layer.name).astype(np.float32) * multiplier
    elif isinstance(layer, (Quantize, Add)):
        real = sum(_real(trace, name) for name in layer.inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = real / y.scale
    else:
        return None
    result: NDArray[np.float64] = np.rint(steps.astype(np.float64)) + int(y.zero_point)
    return result


def _multiplier(
    model: QuantizedModel, layer: Conv | Dense | GlobalPool, y: QuantParams
) -> NDArray[np.float32] | None:
    """Return the contract's multiplier, shaped to multiply the accumulators."""
    edge = model.edges[layer.inputs[0]]
    if edge.params is None:
        return None
    if isinstance(layer, GlobalPool):
        height, width = edge.shape[2:]
        if height is None or width is None:
            return None
        return pool_multiplier(edge.params.scale, y.scale, height * width)
    if layer.weight.params is None:
        return None
    multiplier = conv_multiplier(edge.params.scale, layer.weight.params.scale, y.scale)
    return along(multiplier, -3, 3) if isinstance(layer, Conv) else multiplier


def _real(trace: Trace, name: str) -> NDArray[np.float64]:
    params = trace.model.edges[name].params
    values: NDArray[Any] = trace[name]
    return (values if params is None else dequantize(values, params)).astype(np.float64)
