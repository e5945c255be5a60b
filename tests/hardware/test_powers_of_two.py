"""Weights quantized anew: every multiplier is a power of two, and no other power is better."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import bitbybit
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.errors import ModelError
from bitbybit.execution.engine import params
from bitbybit.hardware import power_of_two_scales, trace_with
from bitbybit.model.types import Conv, Dense

FLOATS = bitbybit.load(bitbybit.example("float"))
MODEL = bitbybit.load(bitbybit.example("int8"))


def test_every_multiplier_is_the_best_power_of_two() -> None:
    shifted = power_of_two_scales(MODEL, FLOATS)
    for layer in shifted.layers:
        if not isinstance(layer, (Conv, Dense)):
            continue
        twin, before = FLOATS.layer(layer.name), MODEL.layer(layer.name)
        assert isinstance(twin, (Conv, Dense))
        assert isinstance(before, (Conv, Dense))
        x, y = (params(shifted.edges[name], layer) for name in (layer.inputs[0], layer.name))
        w, old = params(layer.weight, layer), params(before.weight, before)
        kept = REQUANTIZERS["power-of-two"].multiplier(x.scale, w.scale, y.scale, y.zero_point)
        assert set(kept.q.tolist()) == {1}
        exact = np.float64(x.scale) * w.scale / np.float64(y.scale)
        assert np.allclose(exact, np.exp2(-kept.shift.astype(float)), rtol=2.0**-23, atol=0)
        assert (np.abs(np.log2(w.scale / old.scale)) < 1).all()
        assert w.axis is not None
        real = np.moveaxis(twin.weight.values, w.axis, 0)
        codes = np.moveaxis(layer.weight.values, w.axis, 0)
        for row, code, scale in zip(real, codes, w.scale.astype(float), strict=True):
            errors = {}
            for power in (0.5, 1.0, 2.0):
                nearest = np.clip(np.round(row.astype(float) / (scale * power)), -128, 127)
                errors[power] = float(((nearest * scale * power - row) ** 2).sum())
                if power == 1:
                    assert np.array_equal(nearest, code)
            assert errors[1.0] <= min(errors.values()) * (1 + 1e-9) or errors[0.5] < errors[1.0]
        assert layer.bias is not None
        assert before.bias is not None
        apart = layer.bias.values * w.scale.astype(float) - before.bias.values * old.scale
        assert (np.abs(apart) <= w.scale * 0.501).all()


def test_a_shift_keeps_what_rounding_the_multipliers_loses() -> None:
    images = bitbybit.samples().images.astype(np.float32)
    shift = REQUANTIZERS["power-of-two"]
    right = bitbybit.trace(MODEL, images)["logits"]
    off = [
        float(np.abs(trace_with(model, images, requantize=shift)["logits"] - right).mean())
        for model in (MODEL, power_of_two_scales(MODEL, FLOATS))
    ]
    assert all(one > 3 * other for one, other in pairwise(off))


def test_what_cannot_be_quantized_anew_is_refused() -> None:
    per_tensor = bitbybit.load(bitbybit.example("int8_per_tensor"))
    for model, floats in ((per_tensor, FLOATS), (MODEL, MODEL)):
        with pytest.raises(ModelError, match="stem: the weights cannot be quantized anew"):
            power_of_two_scales(model, floats)
