"""Bounds and witnesses: against every input, every order, and ONNX Runtime."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bitbybit
from bitbybit import arithmetic, hardware
from bitbybit.errors import UnsupportedError
from bitbybit.hardware import Width
from bitbybit.model.costs import accumulator
from bitbybit.model.types import Conv, QuantizedModel, QuantParams
from bitbybit.model.writer import write
from tests.support import models
from tests.support.foreign import runtime_quantized
from tests.support.networks import one_conv, quantized_images
from tests.support.runtime import on_contract_platform

FORMS = ("int8", "int8_qoperator", "int8_per_tensor", "uint8")


def loaded(model: QuantizedModel, folder: Path) -> QuantizedModel:
    write(model, folder / "m.onnx", "qoperator")
    return bitbybit.load(folder / "m.onnx")


@on_contract_platform
@pytest.mark.parametrize("name", FORMS)
def test_every_witness_of_a_committed_model_is_attained_in_the_engine_and_the_runtime(
    name: str,
) -> None:
    model = bitbybit.load(bitbybit.example(name))
    found = hardware.widths(model)
    runs = list(hardware.run_witnesses(model, found))
    assert [run.layer for run in runs[::2]] == [width.layer.name for width in found]
    assert all(run.attained for run in runs)
    assert sum(run.runtime is not None for run in runs) == 2 * 10  # nobody shows a pool's sums
    for width, low, high in zip(found, runs[::2], runs[1::2], strict=True):
        assert accumulator(model, width.layer) == width.bounds.over_all_channels
        assert (low.engine, high.engine) == (width.bounds.low.min(), width.bounds.high.max())


@on_contract_platform
@pytest.mark.parametrize("types", [("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "size", "dilations", "group"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), (5, 4), (1, 1), 1),
        ((3, 2), (2, 1), (0, 0, 1, 1), (7, 6), (1, 1), 2),
        ((3, 3), (2, 3), (4, 4, 2, 2), (9, 9), (2, 1), 1),
        ((1, 1), (2, 2), (0, 0, 0, 0), (4, 4), (1, 1), 4),
        ((5, 5), (1, 1), (2, 2, 2, 2), (3, 3), (1, 1), 2),  # no window without padding
        ((3, 1), (1, 1), (3, 0, 3, 0), (2, 3), (2, 1), 1),
    ],
)
def test_witnesses_of_any_convolution(
    kernel: Any, strides: Any, pads: Any, size: Any, dilations: Any, group: int,
    types: Any, tmp_path: Path,
) -> None:  # fmt: skip
    model = one_conv(
        3, (4, 8), kernel, strides, pads, size, types, dilations=dilations, group=group
    )
    model = loaded(model, tmp_path)
    (width,) = hardware.widths(model, quantized_images((3, 4, *size), 1).astype(types[0]))
    assert all(run.attained for run in hardware.run_witnesses(model, [width]))
    limits, seen = width.bounds, width.observed
    fits = kernel != (5, 5) and size != (2, 3)
    assert (width.low.padded, width.high.padded).count(0) == (2 if fits else 0)
    ends = width.low.value, width.high.value
    assert (ends == (limits.low.min(), limits.high.max())) == fits
    assert seen is not None
    for low, seen_low, seen_high, high in zip(limits.low, *seen, limits.high, strict=True):
        assert low <= seen_low <= seen_high <= high
    if not fits:
        most_extreme_of_all_places(model, width)


@on_contract_platform
def test_weights_whose_zero_points_differ_have_witnesses_without_conv_integer(
    tmp_path: Path,
) -> None:
    model = one_conv(5, (4, 3), (3, 3), (1, 1), (1, 1, 1, 1), (6, 6), ("uint8", "uint8"))
    (layer,) = model.layers
    assert isinstance(layer, Conv)
    params = QuantParams(np.ones(3, np.float32), np.array([3, 200, 90], np.uint8), 0)
    weight = replace(layer.weight, params=params)
    model = loaded(replace(model, layers=(replace(layer, weight=weight),)), tmp_path)
    runs = list(hardware.run_witnesses(model, hardware.widths(model)))
    assert [(run.attained, run.runtime) for run in runs] == [(True, None)] * 2


def most_extreme_of_all_places(model: QuantizedModel, width: Width) -> None:
    """Compare with a slow oracle: every place, every rail, each tap for itself."""
    layer: Any = width.layer
    channels = layer.weight.values.shape[1] * layer.group
    size = [edge or 0 for edge in model.edges[layer.inputs[0]].shape[2:]]
    zero = width.x.zero_point
    base = np.full((1, channels, *size), zero)
    rest = arithmetic.accumulate_conv(
        base, zero, layer.weight.values, layer.weight.params.zero_point, layer.bias.values,
        strides=layer.strides, pads=layer.pads, dilations=layer.dilations, group=layer.group,
    ).astype(np.int64)  # fmt: skip
    low, high = rest.copy(), rest.copy()
    for place in itertools.product(*map(range, (channels, *size))):
        sums = []
        for rail in (width.x.qmin, width.x.qmax):
            one = base.copy()
            one[(0, *place)] = rail
            sums.append(
                arithmetic.accumulate_conv(
                    one, zero, layer.weight.values, layer.weight.params.zero_point,
                    strides=layer.strides, pads=layer.pads, dilations=layer.dilations,
                    group=layer.group,
                ).astype(np.int64)
            )  # fmt: skip
        low += np.minimum(*sums)
        high += np.maximum(*sums)
    assert (width.low.value, width.high.value) == (low.min(), high.max())


@on_contract_platform
def test_same_padding_of_the_file_asks_the_runtime_nothing_about_a_witness(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    network = runtime_quantized(models.float_foreign(), "QDQ", "S8S8", pixels=True)
    onnx.save(network, path)
    model = bitbybit.load(path)
    runs = list(hardware.run_witnesses(model, hardware.widths(model)))
    assert all(run.attained for run in runs)
    silent = {run.layer for run in runs if run.runtime is None}
    assert silent == {"stem", "pool"}  # of a pool no operator shows the sum


def test_what_images_reach_is_their_smallest_and_largest_sum() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    images = np.tile(bitbybit.samples().images, (2, 1, 1, 1)).astype(np.float32)
    trace = bitbybit.trace(model, images)
    for width in hardware.widths(model, images):
        sums = trace.accumulator(width.layer.name)
        axes = tuple(i for i in range(sums.ndim) if i != 1)
        assert width.observed is not None
        low, high = width.observed
        assert np.array_equal(low, sums.min(axis=axes))
        assert np.array_equal(high, sums.max(axis=axes))
        assert width.bits["observed"] == arithmetic.signed_width(int(low.min()), int(high.max()))


def test_a_network_without_sums_of_integers_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no layer sums integers"):
        hardware.widths(bitbybit.load(bitbybit.example("float")))


@pytest.mark.parametrize("size", [2**28, 2**40])
def test_a_sum_that_fits_no_64_bits_is_refused(size: int) -> None:
    net = models.Network((None, 1, size, size))
    model = net.finish(net.pool("pool", "input"))
    assert accumulator(model, model.layer("pool")) is None
    with pytest.raises(UnsupportedError, match="no bound of its sums fits 64 bits"):
        hardware.widths(model)
