"""Outputs: codes at the rails, saturation, dead channels, distance from float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.arithmetic import sqnr_db
from bitbybit.errors import DataError
from bitbybit.execution.engine import trace, walk
from bitbybit.inspection.activations import (
    ActivationReport,
    Rails,
    activation_reports,
    batches_of,
    unclipped,
)
from bitbybit.inspection.weights import constant_channels, dequantize
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel, QuantizedTensor, QuantParams
from bitbybit.resnet8.examples import samples
from tests.support import models, twins


def images(count: int = 4, size: int = 8) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, 3, size, size)).astype(np.float32)


def reports(model: QuantizedModel, x: NDArray[np.float32]) -> dict[str, ActivationReport]:
    return {r.layer: r for r in activation_reports(model, batches_of(model, x))}


def with_scale(model: QuantizedModel, name: str, factor: float) -> QuantizedModel:
    """The model with the output scale of one layer multiplied."""
    edge = model.edges[name]
    assert edge.params is not None
    scale = np.asarray(edge.params.scale * np.float32(factor))
    edges = dict(model.edges)
    edges[name] = replace(edge, params=replace(edge.params, scale=scale))
    return replace(model, edges=edges)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_unclipped_codes_become_the_codes_when_clipped(dtype: type) -> None:
    """What would lie beyond the rails is found by the contract's own rounding."""
    model = with_scale(models.small(3, dtype, per_channel=dtype == np.int8), "stem", 0.2)
    found = walk(model, images())
    checked = 0
    for layer in model.layers:
        params = model.edges[layer.name].params
        steps = None if params is None else unclipped(found, layer, params)
        if params is None or steps is None:
            continue
        clipped = np.clip(steps, params.qmin, params.qmax)
        difference = np.abs(clipped - found[layer.name].astype(np.float64))
        assert difference.max() <= (1 if layer.kind == "add" else 0), layer.name
        assert (difference > 0).mean() < 0.01
        checked += 1
    assert checked == 7


def test_saturation_is_split_into_intended_and_damaging() -> None:
    x = images()
    plain = reports(models.small(3), x)["stem"].rails
    tight = reports(with_scale(models.small(3), "stem", 0.1), x)["stem"].rails
    wide = reports(with_scale(models.small(3), "stem", 8), x)["stem"].rails
    assert plain is not None
    assert tight is not None
    assert wide is not None
    assert plain.low == plain.intended > 0
    assert (wide.clipped_high, wide.high) == (0, 0)
    assert tight.total / 4 < tight.clipped_high <= tight.high
    assert tight.clipped_low == 0
    assert tight.damaged == tight.clipped_high


def test_without_relu_the_lower_rail_damages_too() -> None:
    rails = reports(with_scale(models.small(3), "left", 0.05), images())["left"].rails
    assert rails is not None
    assert rails.intended == 0
    assert rails.clipped_low
    assert rails.clipped_high
    assert rails.damaged == rails.clipped_low + rails.clipped_high
    assert rails.damaged_share == rails.damaged / rails.total


def test_a_code_at_the_rail_need_not_be_damaged() -> None:
    """Pixel 255 is code 127 exactly: the input layer clips nothing."""
    model = models.small()
    rails = Rails()
    x = images()
    x[:] = 255
    rails.add(trace(model, x), model.layers[0])
    assert (rails.high, rails.damaged) == (x.size, 0)
    rails = Rails()
    rails.add(trace(model, x + 1), model.layers[0])
    assert (rails.high, rails.damaged) == (x.size, x.size)


def with_weight(model: QuantizedModel, name: str, values: NDArray[np.int8]) -> QuantizedModel:
    layers: list[Layer] = []
    for layer in model.layers:
        if layer.name == name:
            assert isinstance(layer, (Conv, Dense))
            tensor = replace(layer.weight, values=values)
            layers.append(replace(layer, weight=tensor))
        else:
            layers.append(layer)
    return replace(model, layers=tuple(layers))


def test_dead_channels_are_proved_and_never_contradicted() -> None:
    model = models.small(2)
    stem = model.layer("stem")
    assert isinstance(stem, Conv)
    assert constant_channels(model, stem) == ()
    values = stem.weight.values.copy()
    values[3] = 0
    bias = stem.bias
    assert bias is not None
    shifted = bias.values.copy()
    shifted[5] = -(2**29)
    layer = replace(stem, weight=replace(stem.weight, values=values),
                    bias=replace(bias, values=shifted))  # fmt: skip
    broken = replace(model, layers=(model.layers[0], layer, *model.layers[2:]))
    assert constant_channels(broken, layer) == (3, 5)
    seen = reports(broken, images())["stem"].constant_observed
    assert {3, 5} <= set(seen)


def test_proofs_hold_for_the_extreme_inputs() -> None:
    """Images that drive one channel to its ends: a proved channel does not move."""
    model = models.small(2)
    stem = model.layer("stem")
    assert isinstance(stem, Conv)
    centred = stem.weight.values.astype(int)
    found = []
    for sign in (1, -1):
        x = np.where(sign * centred > 0, 255, 0).astype(np.float32)
        x = np.pad(x, ((0, 0), (0, 0), (0, 5), (0, 5)))
        found.append(trace(model, x)["stem"][:, :, 1, 1])
    proved = constant_channels(model, stem)
    for channel in range(8):
        moved = found[0][channel, channel] != found[1][channel, channel]
        assert moved or channel in proved


def test_a_channel_seen_once_is_not_called_constant() -> None:
    found = reports(models.small(), images(1))
    assert found["dense"].constant_observed == ()
    assert found["pool"].constant_observed == ()


def test_distance_from_float_is_what_numpy_says(tmp_path: Path) -> None:
    model, reference = twins.twin("int8", tmp_path), twins.twin("float", tmp_path)
    x = samples().images.astype(np.float32)
    batches = batches_of(model, x, reference)
    found = {r.layer: r for r in activation_reports(model, batches)}
    whole, twin = next(batches())
    assert twin is not None
    assert sum(1 for _ in batches()) == 2
    real = []
    floats = []
    for part, values in batches():
        params = model.edges["stack2.add"].params
        assert params is not None
        assert values is not None
        real.append(dequantize(part["stack2.add"], params))
        floats.append(values["stack2.add"])
    a, b = np.concatenate(floats).astype(np.float64), np.concatenate(real)
    distance = found["stack2.add"].distance
    assert distance is not None
    expected = sqnr_db(float(np.square(a).sum()), float(np.square(a - b).sum()))
    assert distance.sqnr_db == pytest.approx(expected, abs=1e-9)
    scale = model.edges["stack2.add"].params
    assert scale is not None
    rails = found["stack2.add"].rails
    assert rails is not None
    rounded = 1 - rails.intended / rails.total
    assert 0 < rounded < 1
    assert distance.rounding == float(scale.scale) ** 2 / 12 * rounded
    assert distance.sqnr_db < distance.rounding_sqnr_db
    assert whole.model is model


def test_the_lossless_input_has_no_noise(tmp_path: Path) -> None:
    """Pixels are whole numbers; with scale 1 rounding them loses nothing."""
    model = twins.twin("int8", tmp_path)
    edge = model.edges[model.layers[0].name]
    one = QuantParams(np.array(1, np.float32), np.array(-128, np.int8))
    edges = dict(model.edges) | {edge.name: replace(edge, params=one)}
    exact = replace(model, edges=edges)
    batches = batches_of(exact, samples().images, twins.twin("float", tmp_path))
    first = activation_reports(exact, batches)[0]
    assert first.distance is not None
    assert first.distance.noise == 0
    assert first.distance.sqnr_db == np.inf


def test_inputs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = models.small()
    with pytest.raises(DataError, match="wrong shape"):
        batches_of(model, np.zeros((1, 3, 9, 9), np.float32))
    with pytest.raises(DataError, match="a name is unknown"):
        batches_of(model, {"other": np.zeros((1, 3, 8, 8), np.float32)})
    with pytest.raises(DataError):
        batches_of(model, np.zeros((0, 3, 8, 8), np.float32))
    other = replace(models.small(), inputs=("pixels",))
    with pytest.raises(DataError, match="other inputs"):
        batches_of(model, images(), other)


def test_a_float_tensor_among_integers_has_no_rails(tmp_path: Path) -> None:
    model = twins.twin("float", tmp_path)
    found = activation_reports(model, batches_of(model, samples().images[:2]))
    assert all(report.rails is None and report.params is None for report in found)
    assert isinstance(found[0].histogram.total, int)


def test_a_twin_of_another_shape_gives_no_distance(tmp_path: Path) -> None:
    model, reference = twins.twin("int8", tmp_path), twins.twin("float", tmp_path)
    edge = model.edges["stem"]
    edges = dict(model.edges) | {"stem": replace(edge, shape=(None, 16, 31, 31))}
    odd = replace(model, edges=edges)
    given = batches_of(odd, samples().images[:1], reference)
    found = {r.layer: r for r in activation_reports(odd, given)}
    assert found["stem"].distance is None
    assert found["stack1.conv1"].distance is not None


def test_constant_tensor_is_kept(tmp_path: Path) -> None:
    tensor = QuantizedTensor("w", np.zeros((8, 3, 3, 3), np.int8))
    assert tensor.params is None
    dead = with_weight(models.small(), "stem", tensor.values)
    assert constant_channels(dead, dead.layer("stem")) == tuple(range(8))
