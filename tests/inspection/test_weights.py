"""Weights of a network with known integers, and of the same network in all its forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.arithmetic import sqnr_db
from bitbybit.errors import ModelError
from bitbybit.inspection.inspected import (
    Inspection,
    form_label,
    granularity,
    parameter_rows,
    tensor_reports,
)
from bitbybit.inspection.weights import (
    granularity_gain,
    tensor_report,
)
from bitbybit.model.types import Conv, QuantizedModel, QuantizedTensor, QuantParams
from tests.support import models, twins
from tests.support.arrays import f32, i8


def conv(weight: QuantizedTensor) -> Conv:
    return Conv("c", ("x",), weight, None)


def quantized(codes: NDArray[np.int8], scale: list[float]) -> QuantizedTensor:
    params = QuantParams(f32(scale), np.zeros(len(scale), np.int8), 0)
    return QuantizedTensor("w", codes, params)


def test_ranges_codes_and_channels() -> None:
    codes = np.zeros((4, 1, 1, 2), np.int8)
    codes[:, 0, 0] = [[100, -100], [100, 50], [100, 0], [2, -2]]
    report = tensor_report(conv(t := quantized(codes, [1, 1, 8, 0.5])), "weight", t)
    assert report.channels[0].tolist() == [-100, 50, 0, -1]
    assert report.channels[1].tolist() == [100, 100, 800, 1]
    assert (report.real.minimum, report.real.maximum) == (-100, 800)
    assert (report.codes_used, report.codes_available) == (6, 256)
    assert report.outlier_channels == (2,)
    assert report.nearly_dead_channels == (3,)
    assert report.range_spread == 800
    assert report.error is None


def test_rounding_error_is_measured_in_steps_of_the_own_channel() -> None:
    codes = i8([[[[1, 2]]], [[[3, 4]]]])
    tensor = quantized(codes, [0.5, 2.0])
    floats = f32([[[[0.6, 1.0]]], [[[6.5, 8.0]]]])
    report = tensor_report(conv(tensor), "weight", tensor, QuantizedTensor("f", floats))
    assert report.error is not None
    assert report.error.largest == 0.5
    assert report.error.largest_in_steps == 0.25
    noise = float(np.square(floats.astype(np.float64) - [[[[0.5, 1]]], [[[6, 8]]]]).sum())
    signal = float(np.square(floats.astype(np.float64)).sum())
    assert report.error.sqnr_db == sqnr_db(signal, noise)


def test_nan_weights_are_counted_and_left_out() -> None:
    floats = f32([[[[np.nan, 1.0]]], [[[np.inf, np.nan]]]])
    report = tensor_report(conv(t := QuantizedTensor("f", floats)), "weight", t)
    assert report.real.invalid == 3
    assert report.channels[0].tolist() == [1, 0]
    assert granularity_gain(floats, 0).gain_db == 0.0


def test_one_scale_per_channel_pays_where_channels_differ() -> None:
    rng = np.random.default_rng(0)
    even = rng.normal(0, 1, (8, 500))
    uneven = even * np.logspace(-3, 0, 8)[:, None]
    assert abs(granularity_gain(even, 0).gain_db) < 3
    assert granularity_gain(uneven, 0).gain_db > 5
    assert granularity_gain(uneven, 0, 4).per_tensor_db < granularity_gain(uneven, 0).per_tensor_db
    assert granularity_gain(np.zeros((2, 2)), 0).gain_db == 0.0


def test_sqnr_has_no_end_without_noise() -> None:
    assert sqnr_db(1, 0) == np.inf
    assert sqnr_db(0, 1) == -np.inf
    assert sqnr_db(100, 1) == 20


def test_every_error_is_at_most_half_a_step(tmp_path: Path) -> None:
    model, reference = twins.twin("int8", tmp_path), twins.twin("float", tmp_path)
    reports = tensor_reports(model, reference)
    assert len(reports) == 20
    for report in reports:
        assert report.error is not None
        # the quantizer divides in float64 and rounds the scale to float32
        assert report.error.largest_in_steps <= 0.5 * (1 + 1e-4), report.layer


def test_a_wrong_scale_is_found(tmp_path: Path) -> None:
    """Dequantizing every channel with the first scale breaks the bound."""
    model, reference = twins.twin("int8", tmp_path), twins.twin("float", tmp_path)
    layer, twin = model.layer("stem"), reference.layer("stem")
    assert isinstance(layer, Conv)
    assert isinstance(twin, Conv)
    assert layer.weight.params is not None
    wrong = replace(layer.weight.params, scale=layer.weight.params.scale[[0] * 16])
    tensor = QuantizedTensor("w", layer.weight.values, wrong)
    report = tensor_report(layer, "weight", tensor, twin.weight)
    assert report.error is not None
    assert report.error.largest_in_steps > 0.6


def test_qdq_and_qoperator_give_the_same_numbers(tmp_path: Path) -> None:
    reference = twins.twin("float", tmp_path)
    a, b = (
        [(r.layer, r.role, r.real, r.codes_used, r.outlier_channels)
         for r in tensor_reports(twins.twin(name, tmp_path), reference)]
        for name in ("int8", "int8_qoperator")
    )  # fmt: skip
    assert a == b


def test_a_twin_of_another_shape_or_name_is_no_twin() -> None:
    model = models.small()
    assert all(r.float_values is None for r in tensor_reports(model, model))
    stem = model.layer("stem")
    assert isinstance(stem, Conv)
    for name, shape in (("stem", (1, 1, 3, 3)), ("stem_2", stem.weight.values.shape)):
        tensor = QuantizedTensor("w", np.zeros(shape, np.float32))
        layer = replace(stem, name=name, weight=tensor, bias=None)
        other = replace(model, layers=(layer,))
        assert tensor_reports(model, other)[0].float_values is None


@pytest.mark.parametrize("name", ["int8", "int8_qoperator", "uint8", "float"])
def test_parameters_of_all_tensors(name: str, tmp_path: Path) -> None:
    model = twins.twin(name, tmp_path)
    rows = parameter_rows(model, "stem")
    assert [row.role for row in rows] == ["input", "weight", "bias", "output"]
    assert rows[1].shape == (16, 3, 3, 3)
    if name == "float":
        assert {granularity(row.params) for row in rows} == {"float"}
        return
    per_channel = name != "uint8"
    assert [granularity(row.params) == "per channel" for row in rows] == [
        False, per_channel, per_channel, False,
    ]  # fmt: skip
    assert rows[1].params is not None
    assert rows[1].params.scale_name == "stem.weight_scale"
    assert rows[1].params.axis == (0 if per_channel else None)
    assert rows[3].dtype == np.dtype(np.int8 if per_channel else np.uint8)
    assert rows[0].entry.node[0] in {"Conv", "QLinearConv"}
    assert parameter_rows(model, "stack1.add")[1].role == "input 2"
    assert len(parameter_rows(model)) == sum(
        len(parameter_rows(model, layer.name)) for layer in model.layers
    )


def test_reshaped_tensors_share_parameters_by_position(tmp_path: Path) -> None:
    """Flatten has no initializers of its own: its parameters are those of the pool."""
    model = twins.twin("int8", tmp_path)
    pool, flat = parameter_rows(model, "pool")[-1], parameter_rows(model, "flatten")[-1]
    assert pool.params is not None
    assert flat.params is not None
    assert flat.params.scale == pool.params.scale


@pytest.mark.parametrize(
    ("name", "label"), [("int8", "INT8"), ("uint8", "UINT8"), ("float", "FP32")]
)
def test_form_labels(name: str, label: str, tmp_path: Path) -> None:
    assert form_label(twins.twin(name, tmp_path)) == label


def test_an_unknown_layer_is_named() -> None:
    model: QuantizedModel = models.small()
    with pytest.raises(ModelError, match="no such layer"):
        parameter_rows(model, "conv2d_1")
    assert Inspection(model).layers[0].node == ("quantize", "")
