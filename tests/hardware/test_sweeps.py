"""Counted by thresholds, and accumulator by accumulator: the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bitbybit
from bitbybit.arithmetic.requantizers import REQUANTIZERS, single_rounding
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import params
from bitbybit.execution.exhaustive import reachable
from bitbybit.hardware import Difference, differences
from bitbybit.model.types import Conv, Dense, QuantizedModel
from tests.support.models import Network

SCHEMES = (
    *REQUANTIZERS.values(),
    *(single_rounding(bits) for bits in (2, 5, 24)),
    single_rounding(6, one_shift=True),
)


def weighted(model: QuantizedModel) -> list[Conv | Dense]:
    return [layer for layer in model.layers if isinstance(layer, (Conv, Dense))]


def of_channel(kept: Any, c: int) -> Any:
    """Return what a scheme keeps of one channel."""
    if isinstance(kept, tuple):
        parts = [part[c] if part.ndim else part for part in kept]
        return type(kept)(*parts) if hasattr(kept, "_fields") else tuple(parts)
    return kept[c]


def tried(model: QuantizedModel, layer: Conv | Dense, *, whole: bool) -> list[Difference]:
    """Try each accumulator that a layer can reach, or only those near what is not saturated."""
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    low, high = reachable(layer, x)
    scales = np.broadcast_to(params(layer.weight, layer).scale, low.shape)
    begin, end = low, high + 1
    if not whole:  # a scheme that is no more than twice as steep or flat saturates beyond
        ends = np.array([y.qmin, y.qmax]) - int(y.zero_point)
        rails = ends / (x.scale * scales / y.scale)[:, None]
        begin = np.clip(np.minimum(rails[:, 0] * 2, -50).astype(int), low, high)
        end = np.clip(np.maximum(rails[:, 1] * 2, 50).astype(int), low, high) + 1
    found = []
    for scheme in SCHEMES:
        kept: Any = scheme.multiplier(x.scale, scales.copy(), y.scale, y.zero_point)
        wrong, between, largest, first = [], 0, 0, []
        for c in range(len(low)):
            acc = np.arange(begin[c], end[c]).astype(np.int32)
            codes = scheme.codes(acc, of_channel(kept, c), y.zero_point).astype(int)
            right = REQUANTIZERS["contract"](acc, x.scale, scales[c], y.scale, y.zero_point)
            expected = right.astype(int)
            differ = codes != expected
            wrong.append(int(differ.sum()))
            between += int(((expected > y.qmin) & (expected < y.qmax)).sum())
            largest = max(largest, int(np.abs(codes - expected).max()))
            first += [
                (c, int(acc[i]), int(codes[i]), int(expected[i])) for i in differ.nonzero()[0]
            ]
        found.append(
            Difference(
                scheme=scheme.name,
                layer=layer.name,
                reachable=int((high - low + 1).sum()),
                unsaturated=between,
                differing=sum(wrong),
                channels=sum(map(bool, wrong)),
                largest=largest,
                first=first[0] if first else None,
            )
        )
    return found


@pytest.fixture(scope="module", params=[np.int8, np.uint8])
def model(request: pytest.FixtureRequest) -> QuantizedModel:
    """Return a network of few products, whose reachable accumulators are few."""
    net = Network((None, 3, 4, 4), 3, request.param, per_channel=request.param is np.int8)
    stem = net.conv("stem", "input", 3, kernel=1, relu=False)
    flat = net.flatten("flatten", net.pool("pool", net.conv("next", stem, 2, kernel=1)))
    return net.finish(net.dense("dense", flat, 3))


def test_every_reachable_accumulator_is_counted_once(model: QuantizedModel) -> None:
    found = differences(model, SCHEMES)
    for layer in weighted(model):
        here = [each for each in found if each.layer == layer.name]
        for each, expected in zip(here, tried(model, layer, whole=True), strict=True):
            assert replace(each, first=None) == replace(expected, first=None)
            if each.first is not None:  # one of them, not always the first
                assert expected.first is not None


def test_the_exhibit_of_a_difference_is_one(model: QuantizedModel) -> None:
    by_name = {scheme.name: scheme for scheme in SCHEMES}
    shown = 0
    for each in differences(model, SCHEMES):
        if each.first is None:
            assert each.differing == each.largest == each.channels == 0
            continue
        channel, acc, code, expected = each.first
        layer = model.layer(each.layer)
        assert isinstance(layer, (Conv, Dense))
        x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
        scales = np.atleast_1d(params(layer.weight, layer).scale)
        scale = scales[channel % len(scales)]
        given = np.array([acc], np.int32), x.scale, scale, y.scale, y.zero_point
        assert REQUANTIZERS["contract"](*given).tolist() == [expected] != [code]
        if "one-shift" not in each.scheme:
            assert by_name[each.scheme](*given).tolist() == [code]
        shown += 1
    assert shown > 30


def test_the_contract_in_integers_is_the_contract_of_the_committed_networks() -> None:
    for name in ("int8", "uint8"):
        for each in differences(bitbybit.load(bitbybit.example(name))):
            if each.scheme in ("contract", "thresholds", "xnnpack-fp32"):
                assert each.differing == 0
            elif each.scheme in ("floor", "8-bit-multiplier", "power-of-two"):
                assert each.differing > each.unsaturated / 1000


@pytest.mark.slow
def test_every_accumulator_of_some_committed_layers_is_counted_once() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    found = differences(model, SCHEMES)
    for layer in (layer for layer in weighted(model) if layer.name in ("stem", "dense")):
        here = [each for each in found if each.layer == layer.name]
        for each, expected in zip(here, tried(model, layer, whole=False), strict=True):
            assert replace(each, first=None) == replace(expected, first=None), each.scheme


def test_a_network_without_integer_layers_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"no layer requantizes.*form float"):
        differences(bitbybit.load(bitbybit.example("float")))
