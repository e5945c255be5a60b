"""How wide must the accumulator of a layer be? The bounds of :mod:`bitbybit.arithmetic`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.model.types import Conv, Dense, GlobalPool, Layer, QuantizedModel


@dataclass(frozen=True)
class Accumulator:
    """Widths in bits of a signed accumulator that cannot overflow.

    Attributes
    ----------
    type_bits : from the dtypes, :func:`bitbybit.arithmetic.type_bound`
    weight_bits : from the weights, :func:`bitbybit.arithmetic.weight_bound`, over all channels;
        enough for every partial sum in every order
    bits : from the exact interval of the final sum, :func:`bitbybit.arithmetic.sum_interval`
    low, high : that interval, over all channels, bias included
    """

    type_bits: int
    weight_bits: int
    bits: int
    low: int
    high: int


def accumulator(model: QuantizedModel, layer: Layer) -> Accumulator | None:
    """Return the bounds of a layer that accumulates integers, None of any other.

    A global pool accumulates ``x - x_zp`` over the image: one weight for all pixels, their number.
    """
    if not isinstance(layer, (Conv, Dense, GlobalPool)):
        return None
    x = model.edges[layer.inputs[0]]
    if x.params is None or x.params.per_channel:
        return None
    bias: NDArray[np.int32] = np.zeros(1, np.int32)
    if isinstance(layer, GlobalPool):
        height, width = x.shape[2:] if len(x.shape) == 4 else (None, None)
        if height is None or width is None:
            return None
        weights, terms, w_range = np.array([[height * width]]), height * width, (0, 1)
    else:
        if layer.weight.params is None:
            return None
        weights = centred_rows(layer)
        if not len(weights):  # no channel, no accumulator
            return None
        terms = weights.shape[1]
        w_range = arithmetic.code_range(layer.weight.params.zero_point)
        bias = bias if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(x.params.zero_point)
    largest_bias = int(np.abs(bias.astype(np.int64)).max())
    by_type = arithmetic.type_bound(terms, w_range, x_range, largest_bias)
    by_weight = int(arithmetic.weight_bound(weights, x_range, bias).max())
    least, most = arithmetic.sum_interval(weights, x_range, bias)
    low, high = int(least.min()), int(most.max())
    return Accumulator(
        type_bits=arithmetic.signed_width(-by_type, by_type),
        weight_bits=arithmetic.signed_width(-by_weight, by_weight),
        bits=arithmetic.signed_width(low, high),
        low=low,
        high=high,
    )


def centred_rows(layer: Conv | Dense) -> NDArray[np.int64]:
    """Return ``w - w_zp`` as int64 ``[M, K]``: one row of K products per output channel."""
    codes, p = layer.weight.values, layer.weight.params
    weights = arithmetic.centred(codes, *(() if p is None else (p.zero_point, p.axis)))
    rows = (len(weights), math.prod(weights.shape[1:]))
    return weights.reshape(rows) if isinstance(layer, Conv) else weights.T
