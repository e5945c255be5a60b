"""What files of other tools leave out, or do in another way than ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.execution import sessions
from bitbybit.execution.engine import trace
from bitbybit.execution.feed import stimuli
from bitbybit.execution.verdict import EXHAUSTIVE, as_lines
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.writer import build, write
from bitbybit.resnet8.examples import default_images
from tests.support.damage import node, reads
from tests.support.graphs import GraphMaker
from tests.support.models import Network, small
from tests.support.runtime import on_contract_platform, run_whole

pytestmark = on_contract_platform


@pytest.mark.parametrize("inputs", [None, np.zeros((1, 3, 6, 6), np.float32)])
def test_a_network_of_constants_has_nothing_to_verify(tmp_path: Path, inputs: Any) -> None:
    g = GraphMaker(("N", 3, 6, 6))
    noise = g.node("RandomNormal", "noise", [], shape=[2, 3, 6, 6], seed=1.0)
    model = g.model(g.qdq("logits", noise))
    del model.graph.input[:]
    onnx.save(model, tmp_path / "m.onnx")
    assert default_images(load(tmp_path / "m.onnx")) == (None, "")
    with pytest.raises(DataError, match=r"m\.onnx: the model has no input"):
        verify(tmp_path / "m.onnx", inputs)


def test_an_input_without_shape_is_refused(tmp_path: Path) -> None:
    model = build(small(), "qdq")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(DataError, match="image: the file declares no shape for this input"):
        verify(tmp_path / "m.onnx", np.zeros((2, 3, 8, 8), np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_sum_without_output_zero_point_has_the_type_of_its_inputs(
    tmp_path: Path, dtype: type
) -> None:
    model = build(small(dtype=dtype, per_channel=False), "qoperator")
    add = node(model, "add")
    del add.input[7:]
    zero = numpy_helper.from_array(np.array(0, dtype), "zero_of_the_sum")
    model.graph.initializer.append(zero)
    reads("pool", 2, zero.name)(model)
    onnx.save(model, tmp_path / "m.onnx")
    report = verify(tmp_path / "m.onnx")
    assert (report.exit_status, report.mismatches) == (0, 0)
    assert report.model.edges["add"].dtype == dtype


def test_a_dense_layer_without_output_zero_point_is_float(tmp_path: Path) -> None:
    """ONNX Runtime then refuses the integers that the next node expects."""
    model = build(small(), "qoperator")
    del node(model, "dense").input[8:]
    onnx.save(model, tmp_path / "m.onnx")
    reasons = [getattr(layer, "reason", "") for layer in load(tmp_path / "m.onnx").layers]
    assert "QGemm: its output is float: it has no output scale or zero point" in reasons


def test_outputs_behind_identity_keep_the_name_that_the_file_gives_them(tmp_path: Path) -> None:
    model = build(small(), "qdq")
    for name in ("first", "second"):
        model.graph.node.append(helper.make_node("Identity", ["logits"], [name]))
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("first", "second")]
    del model.graph.output[:]
    model.graph.output.extend(infos)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    found = load(path)
    assert (found.outputs, found.file_outputs) == (("logits", "logits"), ("first", "second"))
    assert verify(path).exit_status == 0
    inputs = stimuli(found)
    logits = trace(found, inputs)["logits"]
    assert np.array_equal(run_whole(found, inputs)["logits"], logits)
    right, wrong = logits, logits + 1
    assert verify(path, inputs, {"first": right, "second": right}).exit_status == 0
    for given in ({"first": right, "second": wrong}, {"first": wrong, "second": right}):
        assert verify(path, inputs, given).exit_status == 1
    with pytest.raises(DataError, match="no values are given for the output first"):
        verify(path, inputs, {"second": right})
    # The name of two outputs is the name of none: it is that of the tensor that both hold.
    for value, status in ((right, 0), (wrong, 1)):
        assert verify(path, inputs, {"logits": value}).exit_status == status
    with pytest.raises(DataError, match=r"no such tensor \(expected first, second"):
        verify(path, inputs, {"third": right})


def test_one_number_for_each_fixed_batch_is_compared_with_as_many(tmp_path: Path) -> None:
    g = GraphMaker((2, 3, 4, 4))
    x = g.qdq("input", "image")
    path = g.save(tmp_path / "m.onnx", g.node("ReduceMean", "mean", [x], keepdims=0))
    model, image = load(path), np.random.default_rng(0).normal(size=(4, 3, 4, 4))
    inputs = image.astype(np.float32)
    means = [trace(model, inputs[i : i + 2])[model.outputs[0]] for i in (0, 2)]
    right = {model.file_outputs[0]: np.array(means, np.float32)}
    assert verify(path, inputs, right).mismatches == 0
    right[model.file_outputs[0]][1] += 1
    found = verify(path, inputs, right)
    assert found.mismatches == 1
    assert found.first is not None
    assert found.first.first is not None
    assert found.first.first.index == (1,)
    with pytest.raises(BitbybitError, match=r"expected float32 \[\], found float32 \[2\]"):
        verify(path, inputs, {model.file_outputs[0]: np.array(means[0])})


def test_an_open_input_follows_the_one_that_fixes_the_batch(tmp_path: Path) -> None:
    g = GraphMaker((3, 2, 4, 4))
    g.inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ("N", 2, 4, 4)))
    y = g.node("Add", "add", [g.qdq("a", "image"), g.qdq("b", "other")])
    path = g.save(tmp_path / "m.onnx", g.qdq("logits", y))
    report = verify(path, images=7)
    assert (report.exit_status, report.images) == (0, 9)


def test_every_accumulator_of_a_layer_with_one_channel(tmp_path: Path) -> None:
    net = Network((None, 2, 4, 4))
    write(net.finish(net.conv("conv", "input", 1)), tmp_path / "m.onnx")
    report = verify(tmp_path / "m.onnx")
    assert any(check.authority == EXHAUSTIVE for check in report.checks)
    assert (report.exit_status, report.mismatches) == (0, 0)


def test_a_pool_that_the_runtime_refuses_is_named(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 2, 2))
    mean = g.node("GlobalAveragePool", "mean", [g.qdq("input", "image", 2000.0)])
    path = g.save(tmp_path / "m.onnx", g.qdq("logits", mean, 1.0))
    with pytest.raises(UnsupportedError, match=r"layer mean \(GlobalAveragePool node 'mean'\)"):
        verify(path)


def test_a_file_that_fails_when_it_runs_is_named(tmp_path: Path) -> None:
    g = GraphMaker(("N", 3, 4, 4))
    target = g.constant("target", np.array([5, 5], np.int64))
    path = g.save(tmp_path / "m.onnx", g.node("Reshape", "r", [g.qdq("input", "image"), target]))
    with pytest.raises(UnsupportedError, match=r"m\.onnx: ONNX Runtime cannot run the model"):
        run_whole(load(path), np.zeros((1, 3, 4, 4), np.float32))


def test_a_difference_of_the_whole_file_alone_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime merges two QDQ pairs in a row into one, unless it is told not to."""
    monkeypatch.setattr(sessions, "MERGES_QUANTIZERS", "no such optimization")
    g = GraphMaker(("N", 3, 6, 6))
    x = g.qdq("fine", "image", 0.05, np.int8(-10))
    path = g.save(tmp_path / "m.onnx", g.qdq("coarse", x, 0.07, np.int8(9)))
    report = verify(path)
    assert report.exit_status == 1
    assert as_lines(report)[-1].startswith("Each layer alone is equal, so ONNX Runtime optimizes")
