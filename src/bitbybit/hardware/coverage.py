"""What a set of vectors exercises in one layer, counted from the vectors themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.errors import BitbybitError
from bitbybit.hardware.matrices import packed_weights, rows_of
from bitbybit.hardware.stimuli import Target
from bitbybit.model.types import Add, AnyArray, Conv, Dense, Layer, QuantizedModel, QuantParams


def coverage(
    model: QuantizedModel,
    layer: Layer,
    inputs: Sequence[AnyArray],
    tensors: Mapping[str, AnyArray],
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """Count what the vectors of one layer and one set reach.

    Parameters
    ----------
    model, layer
        Whose vectors.
    inputs
        The layer's inputs, in ONNX layout.
    tensors
        "y", and "acc" where the layer has accumulators.
    targets
        The hazards that the inputs were made for.

    Returns
    -------
    Plain data: images; of an output with codes: how many different ones, and how many channels
    meet each rail; of a convolution or dense layer: ties, for each other scheme of requantization
    the outputs on which it gives another code; of a padded one: outputs with a padded window, and
    those that change if pads hold code 0; of an addition: different pairs of codes; of hazards:
    for each how many sums were wanted, and how many reached.
    """
    y, p = tensors["y"], model.edges[layer.name].params
    found: dict[str, Any] = {"images": len(y) if y.ndim else 1}
    if p is not None and not p.per_channel:
        found |= {"codes": int(np.unique(y).size), "of_codes": p.qmax - p.qmin + 1}
        if y.ndim > 1:
            channels = np.moveaxis(y, 1, 0).reshape(y.shape[1], -1)
            found["channels"] = len(channels)
            for rail, code in (("lower", p.qmin), ("upper", p.qmax)):
                found[f"channels_at_{rail}_rail"] = int((channels == code).any(axis=1).sum())
    if isinstance(layer, (Conv, Dense)) and p is not None and "acc" in tensors:
        found |= _sums(model, layer, tensors["acc"], y)
    if isinstance(layer, Conv) and any(layer.pads) and "acc" in tensors:
        found |= _borders(model, layer, inputs[0], tensors)
    if isinstance(layer, Add) and inputs[0].shape == inputs[1].shape and p is not None:
        pairs = inputs[0].astype(np.int64) * 65536 + inputs[1]
        found["pairs"] = int(np.unique(pairs).size)
    if targets:
        wanted = Counter(target.hazard for target in targets)
        acc = tensors["acc"].reshape(*y.shape[:2], -1)
        reached = Counter(
            t.hazard for t in targets if t.image >= 0 and acc[t.image, t.channel, t.pixel] == t.acc
        )
        found["hazards"] = {name: [wanted[name], reached[name]] for name in wanted}
    return found


def _scales(model: QuantizedModel, layer: Conv | Dense) -> tuple[QuantParams, Any, QuantParams]:
    x, y = model.edges[layer.inputs[0]].params, model.edges[layer.name].params
    assert x is not None and y is not None and layer.weight.params is not None  # noqa: S101, PT018
    return x, layer.weight.params.scale, y


def _sums(model: QuantizedModel, layer: Conv | Dense, acc: AnyArray, y: AnyArray) -> dict[str, Any]:
    """Count exact ties, and outputs on which a scheme gives another code."""
    x, w_scale, p = _scales(model, layer)
    m = arithmetic.conv_multiplier(x.scale, w_scale, p.scale)
    real = acc.astype(np.float32) * arithmetic.along(m, 1 if m.ndim else None, acc.ndim)
    low, high = arithmetic.code_range(p.zero_point)
    tie = (real - np.floor(real) == np.float32(0.5)) & (real > low - 1) & (real < high + 1)
    apart = {}
    for name, rule in REQUANTIZERS.items():
        try:
            codes = rule(acc, x.scale, w_scale, p.scale, p.zero_point, 1)
        except BitbybitError:
            continue
        apart[name] = int((codes != y).sum())
    return {"ties": int(tie.sum()), "schemes_apart": apart}


def _borders(
    model: QuantizedModel, layer: Conv, x: AnyArray, tensors: Mapping[str, AnyArray]
) -> dict[str, int]:
    """Count outputs with padded taps, and those that change if such a tap holds code 0."""
    p, w_scale, made = _scales(model, layer)
    padded = rows_of(layer, np.zeros((1, *x.shape[1:]), np.int64), 1)  # [G, V, K]
    more = -padded * int(p.zero_point) @ packed_weights(layer)  # [G, V, M/G]
    acc = tensors["acc"]
    shift = np.moveaxis(more, 1, 2).reshape(1, *acc.shape[1:]).astype(np.int32)
    m = arithmetic.conv_multiplier(p.scale, w_scale, made.scale)
    other, mine = (arithmetic.requantize(a, m, made.zero_point, 1) for a in (acc + shift, acc))
    windows = int(padded[0].any(axis=-1).sum()) * acc.shape[0] * acc.shape[1]
    return {"border_outputs": windows, "border_outputs_unlike_pad_0": int((other != mine).sum())}
