"""Names, bytes and paths chosen by an adversary: read as data, or refused in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitbybit.errors import BitbybitError, ModelError
from bitbybit.inspection.report import model_record
from bitbybit.model.load import load
from bitbybit.model.types import Conv
from bitbybit.model.writer import build
from tests.support import models
from tests.support.damage import external, sentence, tensor
from tests.support.graph_mutations import onnx_file
from workshop.operations import operations


def proto() -> onnx.ModelProto:
    """Return a healthy model."""
    return build(models.small(), "qoperator")


def test_external_data_inside_the_folder_is_read(tmp_path: Path) -> None:
    model = proto()
    weight = tensor(model, "stem/w").raw_data
    (tmp_path / "data").mkdir()
    (tmp_path / "data/w.bin").write_bytes(b"12345" + weight + b"!")
    external(location="data/w.bin", offset="5", length=str(len(weight)))(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    layer = load(tmp_path / "m.onnx").layer("stem")
    assert isinstance(layer, Conv)
    assert layer.weight.values.tobytes() == weight


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"offset": "5"}, "the external data file is too short (expected 221 bytes, found 216"),
        ({"length": "200"}, "has the wrong length (expected 216 bytes, found 200 bytes)"),
        ({"offset": "-1"}, "needs a non-negative offset and length (found -1)"),
        ({"offset": "9" * 40}, "needs a non-negative offset and length"),
    ],
)
def test_bounds_of_external_data(entries: dict[str, str], expected: str, tmp_path: Path) -> None:
    model = proto()
    (tmp_path / "w.bin").write_bytes(bytes(216))
    external(location="w.bin", **entries)(model)
    assert expected in sentence(model, tmp_path)


def test_external_data_does_not_leave_the_folder_by_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "secret.bin", tmp_path / "models"
    outside.write_bytes(bytes(216))
    inside.mkdir()
    (inside / "w.bin").symlink_to(outside)
    (inside / "up").symlink_to(tmp_path)
    for location in ("w.bin", "up/secret.bin", "./up/../w.bin", "../secret.bin", str(outside)):
        model = proto()
        external(location=location)(model)
        assert "must lie inside the model's folder" in sentence(model, inside)
    os.mkfifo(inside / "pipe")
    model = proto()
    external(location="pipe")(model)
    assert "not a regular file" in sentence(model, inside)


def test_hostile_names_become_plain_layer_names(tmp_path: Path) -> None:
    hostile = ["<script>alert(1)</script>", "../../etc/passwd", "a" * 10_000, "x\x1b[0m", "\u202e"]
    model = proto()
    for n, name in zip(model.graph.node, hostile, strict=False):
        n.name = name
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    layers = load(tmp_path / "m.onnx").layers
    assert [layer.name for layer in layers[:5]] == [
        "script_alert_1_.script",
        "etc.passwd",
        "a" * 80,
        "x_0m",
        "add_1",
    ]
    assert [layer.nodes[0][1] for layer in layers[:5]] == hostile


def test_names_that_are_not_text(tmp_path: Path) -> None:
    data = proto().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data.replace(b"stem/w_scale", b"stem/w_scal\xff"))
    with pytest.raises(ModelError, match="a name is not UTF-8 text"):
        load(tmp_path / "m.onnx")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """Whatever the bytes, the answer is a model or one sentence."""
    rng = np.random.default_rng(2026)
    healthy = [build(models.small(), form) for form in ("qdq", "qoperator")]
    data = [m.SerializeToString() for m in (*healthy, models.float_foreign())]
    answers = [answer(onnx_file(rng, data[i % 3]), tmp_path / "m.onnx") for i in range(240)]
    assert not any("\n" in text for text in answers)
    assert 60 < sum(map(bool, answers)) < 230


def answer(data: bytes, path: Path) -> str:
    """Read a file in every way; return the sentence that refuses it, "" if none does."""
    path.write_bytes(data)
    try:
        model = load(path)
        model_record(model)
        operations(path)
        if model.form != "float":
            build(model, "qdq")
    except BitbybitError as error:
        return str(error)
    return ""
