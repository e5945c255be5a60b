"""Channels whose output is the same for every input, proved from the parameters."""

from __future__ import annotations

import numpy as np

from bitbybit import arithmetic
from bitbybit.model.accumulators import centred_rows
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel


def constant_channels(model: QuantizedModel, layer: Layer) -> tuple[int, ...]:
    """Return the channels of a convolution or dense layer that are provably constant.

    Each accumulator lies in its :func:`bitbybit.arithmetic.sum_interval`. Requantization is
    monotone: a channel is constant if both ends of the interval give the same code. Sums that
    may leave int32 wrap around, and nothing is claimed of them.
    """
    if not isinstance(layer, (Conv, Dense)) or layer.weight.params is None:
        return ()
    x, y = model.edges[layer.inputs[0]].params, model.edges[layer.name].params
    if x is None or y is None or x.per_channel or y.per_channel:
        return ()
    bias = 0 if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(x.zero_point)
    ends = arithmetic.sum_interval(centred_rows(layer), x_range, bias)
    fits = [(end >= -(2**31)) & (end < 2**31) for end in ends]
    multiplier = arithmetic.conv_multiplier(x.scale, layer.weight.params.scale, y.scale)
    least, most = (
        arithmetic.requantize(end.astype(np.int32), multiplier, y.zero_point, axis=0)
        for end in ends
    )
    return tuple(np.flatnonzero((least == most) & fits[0] & fits[1]).tolist())
