"""A network with one rule of the contract broken, layer by layer with the library's operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.execution import engine
from bitbybit.model.types import Add, Conv, Dense, GlobalPool, QuantizedModel

AnyArray = NDArray[Any]
ROUNDINGS = {"half-up": "half-up", "half-away": "half-away-from-zero", "truncate": "truncate"}


def broken(model: QuantizedModel, x: AnyArray, fault: str) -> dict[str, AnyArray]:
    """Return the codes of every layer, one of the page's switches being on."""
    values = {model.inputs[0]: x}
    for layer in model.layers:
        inputs = [values[name] for name in layer.inputs]
        if isinstance(layer, Conv | Dense | GlobalPool):
            values[layer.name] = _codes(model, layer, _sums(model, layer, inputs[0], fault), fault)
        elif isinstance(layer, Add) and fault == "add-outside":
            values[layer.name] = _added(model, layer, inputs)
        else:
            values[layer.name] = engine.compute(model, layer, inputs)
    return values


def _sums(model: QuantizedModel, layer: Any, x: AnyArray, fault: str) -> NDArray[np.int32]:
    zero = _params(model, layer.inputs[0]).zero_point
    taken = np.zeros_like(zero) if fault == "no-zero" else zero
    if isinstance(layer, GlobalPool):
        sums = arithmetic.accumulate_global_average_pool(x, taken)
    else:
        weight, bias = layer.weight, None if layer.bias is None else layer.bias.values
        weights = weight.values, weight.params.zero_point
        bias = None if fault == "no-bias" else bias
        if isinstance(layer, Dense):
            sums = arithmetic.accumulate_matmul(x, taken, *weights, bias)
        else:
            top, left, bottom, right = layer.pads
            if fault == "same-pads":
                top = bottom = -(-(top + bottom) // 2)
                left = right = -(-(left + right) // 2)
            around = np.zeros_like(zero) if fault == "pad-0" else zero
            padded = arithmetic.pad_codes(x, (top, left, bottom, right), around)
            sums = arithmetic.accumulate_conv(
                padded, taken, *weights, bias,
                strides=layer.strides, dilations=layer.dilations, group=layer.group,
            )  # fmt: skip
            height, width = (int(size or 0) for size in model.edges[layer.name].shape[2:])
            sums = sums[:, :, :height, :width]
    kind, _, bits = fault.partition("-")
    if kind in ("wrap", "saturate"):
        held = arithmetic.wrapped if kind == "wrap" else arithmetic.saturated
        return held(sums.astype(np.int64), int(bits)).astype(np.int32)
    return sums


def _codes(model: QuantizedModel, layer: Any, sums: NDArray[np.int32], fault: str) -> AnyArray:
    x, y = _params(model, layer.inputs[0]), _params(model, layer.name)
    if isinstance(layer, GlobalPool):
        pixels = math.prod(int(size or 0) for size in model.edges[layer.inputs[0]].shape[2:])
        multiplier = arithmetic.pool_multiplier(x.scale, y.scale, pixels)
    else:
        scale = layer.weight.params.scale
        scale = np.max(scale) if fault == "one-scale" else scale
        multiplier = arithmetic.conv_multiplier(x.scale, scale, y.scale)
    scheme = REQUANTIZERS[ROUNDINGS.get(fault, "contract")]
    return scheme.codes(sums, multiplier, y.zero_point, 1)


def _added(model: QuantizedModel, layer: Add, inputs: list[AnyArray]) -> AnyArray:
    """Sum without the output's zero point, round, then add it."""
    a, b, c = (_params(model, name) for name in (*layer.inputs, layer.name))
    constants = (a.scale, a.zero_point, b.scale, b.zero_point, c.scale, np.zeros_like(c.zero_point))
    first, second, fixed = arithmetic.add_constants(*constants)
    inner = arithmetic.fma32(inputs[1], second, fixed)
    return arithmetic.round_to_codes(arithmetic.fma32(inputs[0], first, inner), c.zero_point)


def _params(model: QuantizedModel, name: str) -> Any:
    return model.edges[name].params
