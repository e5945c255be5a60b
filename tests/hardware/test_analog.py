"""Analog tiles: exact with ideal converters, and a converter by its definition, one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import bitbybit
from bitbybit import hardware
from bitbybit.errors import BitbybitError
from bitbybit.execution.cut import LayerRuntime
from bitbybit.hardware import Converter
from bitbybit.model.types import Conv, Dense, QuantizedModel
from tests.support import models
from tests.support.runtime import on_contract_platform

ROWS = (64, 128, 256, 1152)


def weighted(model: QuantizedModel) -> list[Conv | Dense]:
    return [layer for layer in model.layers if isinstance(layer, (Conv, Dense))]


def ten_images() -> np.ndarray:
    return bitbybit.samples().images.astype(np.float32)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_ideal_converters_change_nothing(name: str, rows: int) -> None:
    model = bitbybit.load(bitbybit.example(name))
    images = ten_images()[:3]
    exact = bitbybit.trace(model, images)
    every = {layer.name: None for layer in weighted(model)}
    found = hardware.analog_trace(model, images, rows, every)
    assert list(found) == list(exact)
    assert all(np.array_equal(found[edge], exact[edge]) for edge in exact)
    for layer in weighted(model):
        x = exact[layer.inputs[0]]
        sums = hardware.tile_sums(model, layer, x, rows)
        assert len(sums) == -(-hardware.packed_weights(layer).shape[1] // rows)
        acc = hardware.analog_accumulators(model, layer, x, rows)
        assert np.array_equal(acc, exact.accumulator(layer.name))
        short = hardware.layer_sums(layer, sums[:-1].sum(axis=0), x.shape)
        assert not np.array_equal(short, exact.accumulator(layer.name))  # a tile is missing


@on_contract_platform
def test_the_tiles_add_up_to_what_onnx_runtime_makes() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    exact = bitbybit.trace(model, ten_images()[:2])
    runtime = LayerRuntime(model)
    for layer in weighted(model):
        x = exact[layer.inputs[0]]
        sums = runtime.accumulator(layer, exact)
        assert sums is not None
        ours = hardware.analog_accumulators(model, layer, x, 100)
        assert np.array_equal(ours, sums.reshape(ours.shape)), layer.name
        codes = hardware.analog_codes(model, layer, x, 100)
        assert np.array_equal(codes, runtime.output(layer, exact)), layer.name


@pytest.mark.parametrize("bits", [2, 3, 8, 12])
def test_a_converter_is_its_definition(bits: int) -> None:
    reach = 3001
    values = np.arange(-4000.0, 4001.0)
    top = 2 ** (bits - 1) - 1
    step = max(Fraction(reach, top), Fraction(1))
    codes = [min(max(round(Fraction(value) / step), -top), top) for value in values.tolist()]
    found = Converter(bits, reach)(values)
    assert np.array_equal(np.rint(found / float(step)), codes)
    assert np.abs(found - [float(code * step) for code in codes]).max() < 1e-9
    inside = np.abs(values) <= reach
    assert np.abs(found - values)[inside].max() <= float(step) / 2 + 1e-9


def test_ties_go_to_even_and_enough_bits_are_ideal() -> None:
    assert Converter(3, 6)(np.array([1.0, 3.0, 5.0, -1.0, 7.0])).tolist() == [0, 4, 4, 0, 6]
    sums = np.arange(-1000.0, 1001.0)
    assert np.array_equal(Converter(11, 1000)(sums), sums)
    assert not np.array_equal(Converter(10, 1000)(sums), sums)


def test_the_full_scale_is_reached_by_some_input_and_by_none_beyond() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    layer = model.layer("dense")
    assert isinstance(layer, Dense)
    weights = layer.weight.values.astype(int)
    for rows in (7, 64, 200):
        worst = max(
            max(255 * part[part > 0].sum(), -255 * part[part < 0].sum())
            for channel in weights.T
            for part in np.split(channel, range(rows, 64, rows))
        )
        assert hardware.full_scale(model, layer, rows) == worst


@pytest.mark.parametrize(
    "make", [models.small, lambda: models.small(1, np.uint8, per_channel=False)]
)
def test_no_sum_of_a_tile_leaves_the_full_scale(make: object) -> None:
    model: QuantizedModel = make()  # type: ignore[operator]
    x = np.random.default_rng(5).integers(0, 256, (4, 3, 8, 8)).astype(np.float32)
    trace = bitbybit.trace(model, x)
    for layer in weighted(model):
        sums = hardware.tile_sums(model, layer, trace[layer.inputs[0]], 10)
        scale = hardware.full_scale(model, layer, 10)
        assert np.abs(sums).max() <= scale
        wide = Converter(1 + math.ceil(math.log2(scale + 1)), scale)
        assert np.array_equal(wide(sums), sums)


def test_fewer_bits_change_codes_of_that_layer_only_before_the_next() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    exact = bitbybit.trace(model, ten_images()[:2])
    coarse = {
        "stack2.conv1": Converter(4, hardware.full_scale(model, model.layer("stack2.conv1"), 64))
    }
    found = hardware.analog_trace(model, ten_images()[:2], 64, coarse)
    same = [name for name in exact if np.array_equal(found[name], exact[name])]
    names = list(exact)
    before = names[: names.index("stack2.conv1")]
    assert same[: len(before)] == before
    assert "stack2.conv1" not in same
    assert "stack2.shortcut" in same


@pytest.mark.parametrize(
    ("bits", "reach"), [(1, 10), (8, 0), (8, -1), (8, math.inf), (8, math.nan)]
)
def test_a_converter_without_bits_or_reach_is_refused(bits: int, reach: float) -> None:
    with pytest.raises(BitbybitError, match="converter: a converter needs two bits and a reach"):
        Converter(bits, reach)


def test_a_layer_without_weights_or_with_float_output_is_refused() -> None:
    model = models.small()
    x = bitbybit.trace(model, np.zeros((1, 3, 8, 8), np.float32))["stem"]
    with pytest.raises(BitbybitError, match=r"layer add: .*expected conv or dense"):
        hardware.analog_codes(model, model.layer("add"), x, 64)
    edges = dict(model.edges)
    edges["stem"] = replace(edges["stem"], params=None)
    with pytest.raises(BitbybitError, match="layer stem is not quantized"):
        hardware.analog_codes(replace(model, edges=edges), model.layer("stem"), x, 64)
