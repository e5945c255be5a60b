"""A Clip that the quantizer dropped: its limits are intended, and the twin lies behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bitbybit.inspection.activations import FoldedClip, folded_clips, twin_edges
from bitbybit.inspection.inspected import Inspection, examine
from bitbybit.inspection.report import output_rows, record
from bitbybit.model.costs import clip_limits
from bitbybit.model.load import load
from bitbybit.model.types import FloatIsland, QuantParams
from tests.support import foreign
from tests.support.arrays import f32
from tests.support.graphs import GraphMaker

HIGH = 0.5
IMAGES = np.random.default_rng(1).normal(0, 1, (3, 3, 16, 16)).astype(np.float32)


def limited(*, twice: bool = False, opset: int = 17) -> onnx.ModelProto:
    """Return two convolutions with a Clip between; with ``twice`` it is not the only reader."""
    g = GraphMaker(("N", 3, 16, 16), opset=opset)
    first = g.conv("first", "image", (8, 3, 3, 3), relu=False)
    if opset < 11:
        x = g.node("Clip", "limit", [first], min=0.0, max=HIGH)
    else:
        limits = [g.constant(n, np.array(v, np.float32)) for n, v in (("low", 0), ("high", HIGH))]
        x = g.node("Clip", "limit", [first, *limits])
    if twice:
        x = g.node("Add", "sum", [x, first])
    return g.model(g.conv("second", x, (4, 8, 3, 3), relu=False))


def inspected(form: str, folder: Path) -> Inspection:
    float_model = limited()
    (folder / "float.onnx").write_bytes(float_model.SerializeToString())
    quantized = foreign.runtime_quantized(float_model, form, "S8S8", per_channel=True)
    (folder / f"{form}.onnx").write_bytes(quantized.SerializeToString())
    return examine(folder / f"{form}.onnx", folder / "float.onnx", inputs=IMAGES)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_the_twin_lies_behind_the_clip_and_its_limits_are_intended(
    form: str, tmp_path: Path
) -> None:
    found = inspected(form, tmp_path)
    assert "limit" not in [entry.name for entry in found.layers]
    first = found.layer("first").activation
    assert first is not None
    assert first.rails is not None
    assert first.distance is not None
    assert first.rails.intended_high == first.rails.high > 100
    assert first.rails.damaged == 0
    assert first.distance.sqnr_db > 25
    maps = first.maps
    assert maps is not None
    assert maps.twin is not None
    assert maps.twin.max() == f32(HIGH)
    output = next(x for x in record(found)["layers"] if x["name"] == "first")["output"]
    assert output["of_these_clip_limit"] == first.rails.high
    assert "of these, the Clip's limit" in dict(output_rows(first))


def test_a_relu_of_its_own_takes_the_twin_of_the_layer_before(tmp_path: Path) -> None:
    """Symmetric activations have their zero point in the middle: Relu stays a node."""
    g = GraphMaker(("N", 3, 16, 16))
    model = g.model(g.conv("second", g.conv("first", "image", (8, 3, 3, 3)), (4, 8, 3, 3)))
    (tmp_path / "float.onnx").write_bytes(model.SerializeToString())
    quantized = foreign.runtime_quantized(
        model, "QDQ", "S8S8", extra_options={"ActivationSymmetric": True}
    )
    (tmp_path / "symmetric.onnx").write_bytes(quantized.SerializeToString())
    found = examine(tmp_path / "symmetric.onnx", tmp_path / "float.onnx", inputs=IMAGES)
    edges = twin_edges(found.model, load(tmp_path / "float.onnx"))
    assert (edges["first.relu"], edges["second.relu"]) == ("first", "second")
    assert not {"first", "second"} & edges.keys()
    distances = {e.name: e.activation.distance for e in found.layers if e.activation}
    assert distances["first"] is distances["second"] is None
    for name in ("first.relu", "second.relu"):
        distance = distances[name]
        assert distance is not None
        assert distance.sqnr_db > 20


def test_a_clip_beside_another_reader_is_not_folded(tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(limited().SerializeToString())
    (tmp_path / "two.onnx").write_bytes(limited(twice=True).SerializeToString())
    model = load(tmp_path / "one.onnx")
    assert folded_clips(model, model) == {}  # both have it
    assert folded_clips(inspected("QDQ", tmp_path).model, load(tmp_path / "two.onnx")) == {}


def test_limits_in_attributes_and_limits_left_open(tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_bytes(limited(opset=10).SerializeToString())
    layer = load(tmp_path / "old.onnx").layer("limit")
    assert isinstance(layer, FloatIsland)
    assert clip_limits(layer) == (0.0, HIGH)
    g = GraphMaker(("N", 3, 16, 16))
    x = g.conv("first", "image", (8, 3, 3, 3), relu=False)
    model = g.model(g.node("Clip", "limit", [x, "", g.constant("high", np.array(1, np.float32))]))
    (tmp_path / "open.onnx").write_bytes(model.SerializeToString())
    layer = load(tmp_path / "open.onnx").layer("limit")
    assert isinstance(layer, FloatIsland)
    assert clip_limits(layer) == (-np.inf, 1.0)


def test_a_range_that_ends_before_the_limit_still_destroys() -> None:
    clip = FoldedClip("limit", 0.0, 6.0)
    zero = np.array(-128, np.int8)
    enough, short = (QuantParams(np.array(s / 255, np.float32), zero) for s in (6.0, 5.0))
    assert clip.is_at_rails(enough) == (True, True)
    assert clip.is_at_rails(short) == (True, False)
