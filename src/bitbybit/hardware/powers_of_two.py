"""A network whose requantization is a shift: weights quantized anew, so that it loses little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError
from bitbybit.execution.engine import params
from bitbybit.model.types import Conv, Dense, QuantizedModel, QuantizedTensor, QuantParams


def power_of_two_scales(model: QuantizedModel, floats: QuantizedModel) -> QuantizedModel:
    """Quantize the float weights anew, with ``x_scale * w_scale / y_scale`` a power of two.

    Each channel takes the power above or below its present multiplier, whichever leaves its
    weights the smaller squared error; biases keep their real values. Activations keep their scales.
    Run the result with the requantizer ``power-of-two``: in float32 a multiplier may miss its
    power by the last bit.

    Parameters
    ----------
    model
        A quantized network whose weights have one scale per channel, and zero points of 0.
    floats
        The float network of which it was made: the same layers.

    Returns
    -------
    QuantizedModel
        With other weights, biases and weight scales; it has no file.

    Raises
    ------
    ModelError
        A layer has no float twin of the same weights, or one scale for all channels.
    """
    layers = [
        _shifting(model, layer, floats) if isinstance(layer, (Conv, Dense)) else layer
        for layer in model.layers
    ]
    return replace(model, layers=tuple(layers), source=None)


def _shifting(model: QuantizedModel, layer: Conv | Dense, floats: QuantizedModel) -> Conv | Dense:
    x, w, y = (
        params(tensor, layer)
        for tensor in (model.edges[layer.inputs[0]], layer.weight, model.edges[layer.name])
    )
    twin = floats.layer(layer.name)
    if w.axis is None or not isinstance(twin, type(layer)) or twin.weight.params is not None:
        raise ModelError(
            "the weights cannot be quantized anew",
            where=layer.name,
            expected="one scale per channel, and a float layer of the same name",
            found="one scale" if w.axis is None else f"a layer of kind {twin.kind}",
            next_step="Give a network with a scale per channel, and the float one it was made of.",
        )
    real = np.moveaxis(twin.weight.values, w.axis, 0).astype(np.float64)
    rows = real.reshape(len(real), -1)
    unit = float(y.scale) / float(x.scale)
    exact = np.log2(w.scale.astype(np.float64) / unit)
    scales = [np.exp2(rounded(exact)) * unit for rounded in (np.floor, np.ceil)]
    info = np.iinfo(w.dtype.name)
    codes = [np.clip(np.rint(rows / s[:, None]), info.min, info.max) for s in scales]
    errors = [
        ((c * s[:, None] - rows) ** 2).sum(axis=1) for c, s in zip(codes, scales, strict=True)
    ]
    above = errors[1] < errors[0]
    scale = np.where(above, scales[1], scales[0])
    best = np.where(above[:, None], codes[1], codes[0]).reshape(real.shape)
    kept = QuantParams(scale.astype(np.float32), w.zero_point * 0, w.axis)
    values = np.moveaxis(best, 0, w.axis).astype(w.dtype)
    weight = QuantizedTensor(layer.weight.name, values, kept)
    return replace(layer, weight=weight, bias=_rescaled(layer.bias, w.scale / scale))


def _rescaled(bias: QuantizedTensor | None, ratio: NDArray[np.float64]) -> QuantizedTensor | None:
    """Return a bias of the same real values at another scale."""
    if bias is None:
        return None
    return QuantizedTensor(bias.name, np.rint(bias.values * ratio).astype(np.int32))
