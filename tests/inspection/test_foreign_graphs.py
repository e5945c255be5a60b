"""Networks as other exporters and quantizers write them give right layers and costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit.inspection.index import tensor_index
from bitbybit.inspection.inspected import inspect, parameter_rows, tensor_reports
from bitbybit.model.costs import costs
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, FloatIsland, QuantizedModel
from tests.support import foreign, models


def read(model: onnx.ModelProto | bytes, folder: Path, name: str = "m.onnx") -> QuantizedModel:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return load(path)


def assert_sane(model: QuantizedModel) -> None:
    """What holds for every network, whoever wrote it."""
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    made = set(model.inputs)
    for layer in model.layers:
        assert set(layer.inputs) <= made, f"{layer.name} reads what comes later"
        made.add(layer.name)
        if isinstance(layer, FloatIsland):
            assert layer.reason
    assert set(model.outputs) <= made
    inspected = inspect(model)
    assert [entry.name for entry in inspected.layers] == names


def table(model: QuantizedModel) -> list[tuple[str, str, int | None]]:
    """Name, kind and MACs of each layer."""
    assert_sane(model)
    return [(c.name, c.kind, c.macs) for c in costs(model)]


def weighted(rows: Sequence[tuple[str, str, int | None]]) -> list[tuple[str, str, int | None]]:
    return [row for row in rows if row[2] != 0]


FOREIGN = [
    ("stem", "conv", 8 * 27 * 64),
    ("depthwise", "conv", 8 * 9 * 64),
    ("branch", "conv", 8 * 8 * 64),
    ("dense", "dense", 16 * 5),
]


@pytest.mark.parametrize(
    ("form", "types", "options"),
    [
        ("QDQ", "S8S8", {"per_channel": True}),
        ("QDQ", "U8S8", {}),
        ("QDQ", "U8U8", {"per_channel": True}),
        ("QOperator", "S8S8", {"per_channel": True}),
        ("QOperator", "U8S8", {}),
        ("QOperator", "U8U8", {}),
    ],
)
def test_onnx_runtime_static(form: str, types: str, options: Any, tmp_path: Path) -> None:
    float_model = models.float_foreign()
    model = read(foreign.runtime_quantized(float_model, form, types, **options), tmp_path)
    assert model.form == form.lower()
    assert weighted(table(model)) == FOREIGN
    assert weighted(table(read(float_model, tmp_path, "float.onnx"))) == FOREIGN
    assert [model.layer(name).kind for name in ("softmax", "maxpool")] == ["softmax", "max_pool"]
    twin = load(tmp_path / "float.onnx")
    for report in tensor_reports(model, twin):
        if report.role == "weight":
            assert report.error is not None
            assert report.error.largest_in_steps <= 0.5 + 1e-3 or "U8" in types[2:]


def test_onnx_runtime_dynamic(tmp_path: Path) -> None:
    """Scales that are computed at run time are no constants: everything is an island."""
    model = read(foreign.dynamic(models.float_foreign()), tmp_path)
    rows = table(model)
    assert sum(macs or 0 for _, _, macs in rows) == sum(macs or 0 for _, _, macs in FOREIGN)
    assert {kind for _, kind, macs in rows if macs} == {"float_island"}


def test_batch_norm_left_as_mul_and_add(tmp_path: Path) -> None:
    model = read(foreign.batch_norm_left(), tmp_path)
    assert weighted(table(model)) == [("conv", "conv", 4 * 27 * 36), ("last", "conv", 2 * 4 * 36)]
    reasons = {x.name: x.reason for x in model.layers if isinstance(x, FloatIsland)}
    assert list(reasons) == ["bn.mul", "bn.add"]
    assert "Mul" in reasons["bn.mul"]
    assert "Add" in reasons["bn.add"]
    entries = tensor_index(tmp_path / "m.onnx").layers
    assert {"conv", "bn.mul", "bn.add", "last"} <= set(entries)


def test_channels_last(tmp_path: Path) -> None:
    model = read(foreign.channels_last(), tmp_path)
    rows = table(model)
    assert weighted(rows) == [("conv0", "conv", 4 * 27 * 64), ("conv1", "conv", 6 * 36 * 64)]
    assert model.edges[model.outputs[0]].shape == (None, 8, 8, 6)
    assert all("Transpose" in x.reason for x in model.layers if isinstance(x, FloatIsland))


def test_shared_parameters_and_several_consumers(tmp_path: Path) -> None:
    model = read(foreign.shared(), tmp_path)
    rows = table(model)
    macs = 4 * 36 * 64
    assert rows[1:5] == [
        ("first", "conv", macs), ("second", "conv", macs), ("sum", "add", 0), ("again", "add", 0),
    ]  # fmt: skip
    first, second = model.layer("first"), model.layer("second")
    assert isinstance(first, Conv)
    assert isinstance(second, Conv)
    assert first.weight.name == second.weight.name == "w"
    assert model.layer("sum").inputs == ("first", "second")
    assert model.layer("again").inputs == ("sum", "first")
    named = {row.params.scale_name for row in parameter_rows(model) if row.params is not None}
    assert named == {"s"}


def test_missing_names_and_zero_points(tmp_path: Path) -> None:
    model = read(foreign.nameless(), tmp_path)
    assert weighted(table(model)) == [("conv_1", "conv", 4 * 27 * 36)]
    layer = model.layer("conv_1")
    assert isinstance(layer, Conv)
    assert layer.weight.params is not None
    assert layer.weight.params.dtype == np.uint8
    assert layer.weight.params.zero_point == 0
    assert layer.weight.params.zero_point_name == ""
    assert layer.relu


def test_constants_left_unfolded(tmp_path: Path) -> None:
    model = read(foreign.unfolded(), tmp_path)
    assert weighted(table(model)) == [("conv", "conv", 4 * 27 * 36), ("fc", "dense", 144 * 5)]
    conv, dense = model.layer("conv"), model.layer("fc")
    assert isinstance(conv, Conv)
    assert conv.weight.values.shape == (4, 3, 3, 3)
    assert conv.weight.values.dtype == np.int8
    assert isinstance(dense, Dense)
    assert dense.weight.values.shape == (144, 5)


def test_grouped_and_pooled(tmp_path: Path) -> None:
    model = read(foreign.grouped_and_pooled(), tmp_path)
    assert weighted(table(model)) == [
        ("depthwise", "conv", 4 * 9 * 256),
        ("grouped", "conv", 8 * 18 * 256),
        ("last", "conv", 3 * 12 * 16),
    ]
    assert not any(isinstance(x, FloatIsland) for x in model.layers)


def test_external_data(tmp_path: Path) -> None:
    model = foreign.grouped_and_pooled()
    inside = read(model, tmp_path, "inside.onnx")
    path = tmp_path / "outside.onnx"
    held = foreign.tensor_bytes(model)
    onnx.save_model(model, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    assert (tmp_path / "data.bin").stat().st_size >= held
    outside = load(path)
    assert table(outside) == table(inside)
    for a, b in zip(tensor_reports(inside), tensor_reports(outside), strict=True):
        assert (a.tensor.values == b.tensor.values).all()


@pytest.mark.torch
def test_torch_float(tmp_path: Path) -> None:
    model = read(foreign.torch_float(), tmp_path)
    assert weighted(table(model)) == [
        ("conv", "conv", 4 * 27 * 64), ("depthwise", "conv", 4 * 9 * 9), ("fc", "dense", 20),
    ]  # fmt: skip


@pytest.mark.torch
def test_torch_fake_quantized(tmp_path: Path) -> None:
    """torch leaves the fused batch norm as arithmetic on the weights, which stays float."""
    model = read(foreign.torch_fake_quantized(), tmp_path)
    rows = weighted(table(model))
    assert ("depthwise", "conv", 4 * 9 * 9) in rows
    assert ("fc", "dense", 20) in rows
    layer = model.layer("depthwise")
    assert isinstance(layer, Conv)
    assert layer.weight.params is not None
    assert layer.weight.params.dtype == np.int8
