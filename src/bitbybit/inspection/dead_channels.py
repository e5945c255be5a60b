"""Channels that say nothing whatever the input is, proved from the parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.accumulators import centred_rows
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel


def constant_channels(model: QuantizedModel, layer: Layer) -> tuple[int, ...]:
    """Return the channels of a convolution or dense layer that are provably constant.

    Each accumulator lies between ``b + Σ min(w'·lo, w'·hi)`` and ``b + Σ max(w'·lo, w'·hi)``
    with ``w' = w - w_zp`` and ``lo..hi`` the range of ``x - x_zp``.  Requantization is monotone:
    a channel is constant if both ends give the same code.
    """
    if not isinstance(layer, (Conv, Dense)) or layer.weight.params is None:
        return ()
    x, y = model.edges[layer.inputs[0]].params, model.edges[layer.name].params
    if x is None or y is None or x.per_channel or y.per_channel:
        return ()
    rows = centred_rows(layer)
    low, high = x.qmin - int(x.zero_point), x.qmax - int(x.zero_point)
    negative, positive = np.minimum(rows, 0).sum(axis=1), np.maximum(rows, 0).sum(axis=1)
    bias = 0 if layer.bias is None else layer.bias.values.astype(np.int64)
    least = negative * high + positive * low + bias
    most = negative * low + positive * high + bias
    m = np.asarray((x.scale * layer.weight.params.scale) / y.scale)
    same = _code(least, m, y.qmin, y.qmax, int(y.zero_point)) == _code(
        most, m, y.qmin, y.qmax, int(y.zero_point)
    )
    return tuple(int(i) for i in np.flatnonzero(same))


def _code(
    acc: NDArray[np.int64], m: NDArray[np.float32], qmin: int, qmax: int, zero: int
) -> NDArray[np.float32]:
    clipped = np.clip(acc.astype(np.float32) * m, qmin - zero, qmax - zero)
    return np.asarray(np.rint(clipped), np.float32)
