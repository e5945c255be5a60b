"""How wide must an accumulator be?  Three bounds, each tighter than the one before.

Let ``x`` run over all codes of its dtype.  A padded tap holds the zero point and adds 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    GlobalPool,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)


@dataclass(frozen=True)
class Accumulator:
    """Widths in bits of a signed accumulator that cannot overflow.

    Attributes
    ----------
    type_bits : from the dtypes: ``K * max|w - wz| * max|x - xz| + max|b|``
    weight_bits : from the weights: ``max over channels of sum|w - wz| * max|x - xz| + |b|``;
        bounds every partial sum in every order (A2Q, arXiv 2308.13504)
    bits : from the exact interval of the final sum, signs considered
    low, high : that interval, over all channels, bias included
    """

    type_bits: int
    weight_bits: int
    bits: int
    low: int
    high: int


def signed_width(low: int, high: int) -> int:
    """Return the bits of the narrowest two's complement integer that holds ``low .. high``.

    Examples
    --------
    >>> signed_width(-128, 127), signed_width(0, 128)
    (8, 9)
    """
    return 1 + max((~low).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0)


def accumulator(model: QuantizedModel, layer: Layer) -> Accumulator | None:
    """Return the accumulator bounds of a layer that accumulates integers, else None.

    Global pooling accumulates ``x - xz`` over the image: all weights are 1.
    """
    if not isinstance(layer, (Conv, Dense, GlobalPool)):
        return None
    edge = model.edges[layer.inputs[0]]
    if edge.params is None or edge.params.per_channel:
        return None
    if isinstance(layer, GlobalPool):
        height, width = edge.shape[2:] if len(edge.shape) == 4 else (None, None)
        if height is None or width is None:
            return None
        taps = height * width
        return _bounds(np.array([0]), np.array([taps]), np.zeros(1, np.int64), taps, edge.params)
    if layer.weight.params is None:
        return None
    rows = centred_rows(layer)
    negative = np.minimum(rows, 0).sum(axis=1)
    positive = np.maximum(rows, 0).sum(axis=1)
    bias = np.zeros(len(rows), np.int64) if layer.bias is None else _integers(layer.bias.values)
    w = layer.weight.params
    largest = max(_distance(w, 1), _distance(w, -1))
    return _bounds(negative, positive, bias, rows.shape[1] * largest, edge.params)


def centred_rows(layer: Conv | Dense) -> NDArray[np.int64]:
    """Return ``w - wz`` as int64 ``[M, K]``: one row of K products per output channel."""
    tensor: QuantizedTensor = layer.weight
    values, params = _integers(tensor.values), tensor.params
    if params is not None:
        shape = [1] * values.ndim
        if params.axis is not None:
            shape[params.axis] = -1
        values = values - _integers(params.zero_point).reshape(shape)
    return values.reshape(len(values), -1) if isinstance(layer, Conv) else values.T


def _bounds(
    negative: NDArray[np.int64],
    positive: NDArray[np.int64],
    bias: NDArray[np.int64],
    type_weight: int,
    x: QuantParams,
) -> Accumulator:
    """Combine the sums of negative and positive weights of each channel with the codes of x."""
    high_x, low_x = _distance(x, 1), -_distance(x, -1)
    farthest = max(high_x, -low_x)
    by_type = type_weight * farthest + int(np.abs(bias).max())
    by_weight = int(((positive - negative) * farthest + np.abs(bias)).max())
    low = int((negative * high_x + positive * low_x + bias).min())
    high = int((negative * low_x + positive * high_x + bias).max())
    return Accumulator(
        signed_width(-by_type, by_type),
        signed_width(-by_weight, by_weight),
        signed_width(low, high),
        low,
        high,
    )


def _distance(params: QuantParams, sign: int) -> int:
    """Return the distance from the zero point to the last code above (1) or below (-1) it."""
    zero = _integers(params.zero_point)
    return int((params.qmax - zero).max() if sign > 0 else (zero - params.qmin).max())


def _integers(values: AnyArray) -> NDArray[np.int64]:
    return values.astype(np.int64)
