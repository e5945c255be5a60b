"""A layer on an array: against a loop nest that executes the tiles, and im2col by its indices."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import bitbybit
from bitbybit import hardware, inspection
from bitbybit.errors import BitbybitError
from bitbybit.hardware import Array
from bitbybit.model.types import Conv, Dense, Edge, Layer, QuantizedModel
from tests.support import models
from tests.support.random_networks import RandomNetwork
from tests.support.runtime import on_contract_platform

ARRAYS = (Array(1, 1), Array(4, 4), Array(5, 3), Array(16, 16), Array(128, 8), Array(1152, 64))


def unusual(seed: int = 3) -> QuantizedModel:
    """Return a network with groups, a depthwise layer, strides, one-sided pads and no bias."""
    net = models.Network((None, 3, 12, 8), seed)
    x = net.conv("stem", "input", 8, stride=2, bias=False)
    x = net.conv("grouped", x, 12, kernel=3, group=4, relu=False)
    x = net.conv("depthwise", x, 12, kernel=3, stride=2, group=12)
    flat = net.flatten("flatten", net.pool("pool", net.conv("point", x, 6, kernel=1)))
    return net.finish(net.dense("dense", flat, 5))


def weighted(model: QuantizedModel) -> list[Conv | Dense]:
    return [layer for layer in model.layers if isinstance(layer, (Conv, Dense))]


def images(model: QuantizedModel, count: int, seed: int = 0) -> NDArray[np.float32]:
    shape = [count, *(size or 1 for size in model.edges[model.inputs[0]].shape[1:])]
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


class Simulated:
    """Executes a layer tile by tile for one image and counts what it does."""

    def __init__(self, rows: NDArray[np.int64], weights: NDArray[np.int64], array: Array) -> None:
        groups, taps, channels = weights.shape
        pixels = rows.shape[1]
        self.cycles = self.weights = self.inputs = self.sums = self.tiles = self.busy = 0
        self.made = np.zeros((groups, pixels, channels), np.int64)
        for g in range(groups):
            for left in range(0, channels, array.columns):
                columns = range(left, min(left + array.columns, channels))
                for top in range(0, taps, array.rows):
                    held: dict[tuple[int, int], int] = {}
                    self.tiles += 1
                    for k in range(top, min(top + array.rows, taps)):
                        for m in columns:
                            held[k, m] = int(weights[g, k, m])
                        self.weights += len(columns)
                        self.cycles += 1
                    for v in range(pixels):
                        entering = {k: int(rows[g, v, k]) for k, _ in held}
                        self.inputs += len(entering)
                        for (k, m), weight in held.items():
                            self.made[g, v, m] += weight * entering[k]
                            self.busy += 1
                        if top > 0:
                            self.sums += len(columns)  # the sum so far enters
                        if top + array.rows < taps:
                            self.sums += len(columns)  # and leaves, unless it is complete
                        self.cycles += 1


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.rows}x{array.columns}")
@pytest.mark.parametrize("make", [models.small, unusual])
def test_a_loop_nest_that_executes_the_tiles_counts_the_same(make: object, array: Array) -> None:
    model = make()  # type: ignore[operator]
    trace = bitbybit.trace(model, images(model, 1))
    for layer in weighted(model):
        rows = hardware.input_rows(model, layer, trace[layer.inputs[0]])
        done = Simulated(rows, hardware.packed_weights(layer), array)
        found = hardware.mapping(model, layer, array)
        assert found is not None
        assert (found.cycles, found.tiles, found.macs) == (done.cycles, done.tiles, done.busy)
        assert (found.weight_bytes, found.input_bytes) == (done.weights, done.inputs)
        assert (found.sum_bytes, found.output_bytes) == (4 * done.sums, done.made.size)
        assert found.bytes_moved == done.weights + done.inputs + 4 * done.sums + done.made.size
        size = array.rows * array.columns
        assert found.occupancy == done.weights / (done.tiles * size)
        assert found.utilization == done.busy / (done.cycles * size)
        acc = hardware.layer_sums(layer, done.made, trace[layer.inputs[0]].shape)
        assert np.array_equal(acc, trace.accumulator(layer.name)), layer.name


@pytest.mark.parametrize("make", [models.small, unusual])
def test_a_product_of_matrices_is_the_layer(make: object) -> None:
    model = make()  # type: ignore[operator]
    trace = bitbybit.trace(model, images(model, 3))
    for layer in weighted(model):
        sums = hardware.input_rows(model, layer, trace[layer.inputs[0]]) @ hardware.packed_weights(
            layer
        )
        acc = hardware.layer_sums(layer, sums, trace[layer.inputs[0]].shape)
        assert acc.dtype == np.int32
        assert np.array_equal(acc, trace.accumulator(layer.name)), layer.name


def test_im2col_puts_each_code_where_its_index_says() -> None:
    model = unusual()
    trace = bitbybit.trace(model, images(model, 2))
    for layer in (layer for layer in model.layers if isinstance(layer, Conv)):
        x, w = trace[layer.inputs[0]], layer.weight.values
        params = model.edges[layer.inputs[0]].params
        assert params is not None
        zero = int(params.zero_point)
        rows = hardware.input_rows(model, layer, x)
        n, _, height, width = trace[layer.name].shape
        per_group = x.shape[1] // layer.group
        for g, i, y, z in product(range(layer.group), range(n), range(height), range(width)):
            row = rows[g, (i * height + y) * width + z]
            for c, u, v in product(*map(range, w.shape[1:])):
                at = (
                    y * layer.strides[0] + u - layer.pads[0],
                    z * layer.strides[1] + v - layer.pads[1],
                )
                inside = all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True))
                want = int(x[i, g * per_group + c, *at]) - zero if inside else 0
                assert row[(c * w.shape[2] + u) * w.shape[3] + v] == want


def test_a_float_network_counts_as_its_8_bit_twin() -> None:
    pair = [bitbybit.load(bitbybit.example(name)) for name in ("int8", "float", "int8_qoperator")]
    assert len(weighted(pair[0])) == 10
    for layer in weighted(pair[0]):
        found = [hardware.mapping(model, model.layer(layer.name), Array(16, 16)) for model in pair]
        assert found[0] == found[1] == found[2]


def test_what_has_no_weights_or_an_open_shape_is_not_mapped() -> None:
    model = models.small()
    others: list[Layer] = [layer for layer in model.layers if layer not in weighted(model)]
    assert [hardware.mapping(model, layer, Array(4, 4)) for layer in others] == [None] * len(others)
    with pytest.raises(BitbybitError, match=r"layer add: .*expected conv or dense, found add"):
        hardware.matrix_layer(model.layer("add"))


def test_a_convolution_without_channels_is_not_mapped() -> None:
    model = models.small()
    stem = model.layer("stem")
    assert isinstance(stem, Conv)
    none = replace(stem, weight=replace(stem.weight, values=stem.weight.values[:0]))
    assert hardware.mapping(model, none, Array(4, 4)) is None


@on_contract_platform
def test_layers_of_random_networks_are_products_of_matrices(tmp_path: Path) -> None:
    kinds = Counter[str]()
    for seed in range(40):
        path = tmp_path / f"{seed}.onnx"
        onnx.save(RandomNetwork(seed).model(), path)
        model = bitbybit.load(path)
        x = {name: drawn(model.edges[name], seed) for name in model.inputs}
        trace = bitbybit.trace(model, x)
        for layer, cost in zip(model.layers, inspection.costs(model), strict=True):
            found = hardware.mapping(model, layer, Array(5, 3))
            if isinstance(layer, (Conv, Dense)) and layer.weight.params is not None:
                acc = hardware.analog_accumulators(model, layer, trace[layer.inputs[0]], 7)
                assert np.array_equal(acc, trace.accumulator(layer.name)), f"{seed}: {layer.name}"
                assert found is None or found.macs == cost.macs
                kinds[f"{layer.kind}, {found is None}"] += 1
    assert kinds["conv, False"] > 30
    assert kinds["dense, False"] > 15


def drawn(edge: Edge, seed: int) -> NDArray[np.generic]:
    """Return images for a graph input, two where their number is open."""
    rng = np.random.default_rng(seed)
    shape = [size or (1 if axis else 2) for axis, size in enumerate(edge.shape)]
    return rng.integers(0, 256, shape).astype(edge.dtype)


@pytest.mark.parametrize("sides", [(0, 16), (16, -1)])
def test_an_array_without_rows_or_columns_is_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(BitbybitError, match="array: an array needs rows and columns"):
        Array(*sides)
