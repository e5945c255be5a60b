"""ONNX Runtime, layer by layer from the file itself, agrees with the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import UnsupportedError
from bitbybit.execution.compare import compare
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import trace
from bitbybit.execution.runtime import FileRuntime, ort_trace
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel
from bitbybit.model.writer import write
from tests.support.models import resnet8, small
from tests.support.networks import quantized_images
from tests.support.runtime import identical, on_contract_platform, run_whole

pytestmark = on_contract_platform


@pytest.fixture(params=["qdq", "qoperator"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(model: QuantizedModel, path: Path, form: str, *, standard: bool = False) -> Path:
    write(model, path, "qdq" if form == "qdq" else "qoperator", standard)
    return path


@pytest.mark.parametrize(
    ("dtype", "per_channel"), [(np.int8, True), (np.int8, False), (np.uint8, False)]
)
def test_every_layer_of_a_generated_network(
    tmp_path: Path, form: str, dtype: type, per_channel: bool
) -> None:
    path = written(resnet8(1, dtype, per_channel=per_channel), tmp_path / "m.onnx", form)
    model, x = load(path), quantized_images((4, 3, 32, 32), 1)
    mine = trace(model, x)
    for theirs in (ort_trace(model, x), ort_trace(model, x, teacher=mine)):
        assert list(theirs) == list(mine)
        assert [r.mismatches for r in compare(theirs, mine)] == [0] * len(mine)
    assert identical(run_whole(model, x)["logits"], mine["logits"])


def test_accumulators(tmp_path: Path, form: str) -> None:
    model = load(written(small(2), tmp_path / "m.onnx", form))
    mine, runtime = trace(model, quantized_images((3, 3, 8, 8), 2)), LayerRuntime(model)
    shown = {}
    for layer in model.layers:
        sums = runtime.accumulator(layer, mine)
        if sums is not None:
            shown[layer.name] = identical(sums, mine.accumulator(layer.name))
    assert shown == dict.fromkeys(("stem", "left", "right", "dense"), True)


def test_a_dense_layer_of_standard_operators(tmp_path: Path) -> None:
    """Without com.microsoft the layer is a 1x1 convolution between reshapes."""
    model = load(written(small(2), tmp_path / "m.onnx", "qoperator", standard=True))
    report = verify(model, quick=True)
    assert report.mismatches == 0


def changed(model: QuantizedModel, name: str, **fields: Any) -> QuantizedModel:
    layers = [replace(x, **fields) if x.name == name else x for x in model.layers]
    return replace(model, layers=tuple(layers))


def _flipped(layer: Layer) -> Layer:
    assert isinstance(layer, (Conv, Dense))
    weight = replace(layer.weight, values=layer.weight.values[..., ::-1])
    return replace(layer, weight=weight)


@pytest.mark.parametrize("name", ["stem", "left", "dense"])
def test_a_mistake_of_the_reader_does_not_hide(tmp_path: Path, form: str, name: str) -> None:
    model = load(written(small(2), tmp_path / "m.onnx", form))
    wrong = replace(model, layers=tuple(_flipped(x) if x.name == name else x for x in model.layers))
    report = verify(wrong, quick=True)
    assert report.exit_status == 1
    assert report.first is not None
    assert report.first.name == name


def test_pads_and_biases_misread_do_not_hide(tmp_path: Path, form: str) -> None:
    model = load(written(small(2), tmp_path / "m.onnx", form))
    mistakes: dict[str, dict[str, Any]] = {"stem": {"bias": None}, "left": {"pads": (1, 1, 0, 0)}}
    for name, fields in mistakes.items():
        report = verify(changed(model, name, **fields), quick=True)
        assert report.first is not None
        assert (report.exit_status, report.first.name) == (1, name)


def test_swapped_operands_of_an_addition_do_not_hide(tmp_path: Path, form: str) -> None:
    model = load(written(small(2), tmp_path / "m.onnx", form))
    edges = dict(model.edges)
    edges["left"], edges["right"] = (
        replace(edges[name], params=edges[other].params)
        for name, other in (("left", "right"), ("right", "left"))
    )
    assert verify(replace(model, edges=edges), quick=True).exit_status == 1


def test_a_file_that_changed_or_went_is_verified_as_it_was_read(tmp_path: Path) -> None:
    model = load(written(small(2), tmp_path / "m.onnx", "qdq"))
    written(small(3), tmp_path / "m.onnx", "qdq")
    assert verify(model, quick=True).exit_status == 0
    (tmp_path / "m.onnx").unlink()
    assert verify(model, quick=True).exit_status == 0


def test_a_model_without_a_file_is_refused() -> None:
    for check in (LayerRuntime, FileRuntime, verify):
        with pytest.raises(UnsupportedError, match=r"built in memory.*bitbybit.write"):
            check(small(2))


class TestDefaultSession:
    def test_int8_qdq_stays_partly_float_and_the_nodes_are_named(self, tmp_path: Path) -> None:
        path = written(resnet8(1), tmp_path / "m.onnx", "qdq")
        report = verify(path, quantized_images((20, 3, 32, 32), 1), quick=True).default_session
        assert report is not None
        operators = {operator for operator, _ in report.float_nodes}
        assert operators == {"Conv", "Add"}
        assert ("Conv", "stem") in report.float_nodes
        assert report.operators["Conv"] == len([n for n in report.float_nodes if n[0] == "Conv"])
        assert [r.name for r in report.outputs] == ["logits"]
        assert report.outputs[0].elements == 200  # of all batches

    def test_what_differs_is_counted_over_all_batches(self, tmp_path: Path) -> None:
        model = load(written(resnet8(1), tmp_path / "m.onnx", "qdq"))
        x = quantized_images((20, 3, 32, 32), 1)
        default = verify(model, x, quick=True).default_session
        theirs = run_whole(model, x, int8_allowed=False)["logits"]
        assert default is not None
        assert default.different == np.count_nonzero(theirs != trace(model, x)["logits"])

    def test_qoperator_is_the_integer_graph(self, tmp_path: Path) -> None:
        path = written(resnet8(1), tmp_path / "m.onnx", "qoperator")
        report = verify(path, quantized_images((4, 3, 32, 32), 1), quick=True).default_session
        assert report is not None
        assert report.float_nodes == ()
        assert [r.mismatches for r in report.outputs] == [0]
