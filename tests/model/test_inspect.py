"""``bitbybit inspect`` and ``extract_operations.py``: the numbers in the file, all of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import helper

from bitbybit import cli
from bitbybit.digits import hex_float, shortest
from bitbybit.model.costs import costs
from bitbybit.model.types import Conv
from bitbybit.model.writer import Form, build, write
from tests.support import models
from tests.support.damage import values
from workshop.operations import operations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small QDQ model."""
    write(models.small(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def inspect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``bitbybit inspect`` in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["bitbybit", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_table_has_one_row_per_layer_in_graph_order(path: Path, inspect: Run) -> None:
    done = inspect(path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    names = [line.split()[0] for line in lines[rule + 1 : rule + 1 + 9]]
    assert names == [layer.name for layer in models.small().layers]
    stem = lines[rule + 2]
    params = models.small().edges["stem"].params
    assert params is not None
    assert f" {shortest(params.scale)} " in stem
    assert f" {hex_float(params.scale)} " in stem
    assert " 13,824 " in stem  # 8 * 27 products for each of 64 pixels
    assert lines[-1].startswith("9 layers, 29,244 MACs, 1,236 weights, 25 biases")


def test_json_says_the_same(path: Path, inspect: Run) -> None:
    record = json.loads(inspect(path, "--json").stdout)
    model = models.small()
    assert record["model"] == "small.onnx"
    assert (record["form"], record["opsets"]) == ("qdq", {"ai.onnx": 13})
    for row, layer, cost in zip(record["layers"], model.layers, costs(model), strict=True):
        assert (row["name"], row["macs"], row["weight_bytes"]) == (
            layer.name,
            cost.macs,
            cost.weight_bytes,
        )
        params = model.edges[layer.name].params
        if params is None:
            assert row["output"]["quantization"] is None
        else:
            found = row["output"]["quantization"]
            assert np.float32(found["scale"]) == params.scale
            assert float.fromhex(found["scale_hex"]) == params.scale
            assert found["zero_point"] == params.zero_point
    left = model.layer("left")
    assert isinstance(left, Conv)
    assert left.weight.params is not None
    row = next(r for r in record["layers"] if r["name"] == "left")
    scales = np.array(row["weight"]["quantization"]["scale"], np.float32)
    assert np.array_equal(scales, left.weight.params.scale)
    assert row["attributes"]["pads"] == [0, 0, 1, 1]


def test_one_layer(path: Path, inspect: Run) -> None:
    done = inspect(path, "--layer", "dense")
    assert done.returncode == 0
    for text in ("DequantizeLinear dense/w_dequantize", "dense/w_scale", "accumulator", "int32[5]"):
        assert text in done.stdout
    assert (
        len([x for x in done.stdout.splitlines() if re.match(r" *\d+ +[\d.]+ +0x", x)]) == 5
    )  # channels
    one = json.loads(inspect(path, "--layer", "dense", "--json").stdout)
    every = json.loads(inspect(path, "--json").stdout)
    assert one == next(r for r in every["layers"] if r["name"] == "dense")


def test_an_unknown_layer_lists_near_names(path: Path, inspect: Run) -> None:
    done = inspect(path, "--layer", "dens")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no such layer (found dens). Near: dense" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_float_file_and_its_islands(tmp_path: Path, inspect: Run) -> None:
    onnx.save(models.float_foreign(), tmp_path / "float.onnx")
    done = inspect(tmp_path / "float.onnx")
    assert done.returncode == 0
    assert "Float island gate: Sigmoid is no integer layer of the contract." in done.stdout
    assert "bytes are those of its 8-bit twin" in done.stdout


def test_hostile_names_cannot_steer_the_terminal(tmp_path: Path, inspect: Run) -> None:
    model = build(models.small())
    for node in model.graph.node:
        if node.name == "stem":
            node.name = "\x1b[31mstem\u202e\n<b>[red]"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    done = inspect(tmp_path / "m.onnx", "--layer", "31mstem_b_red")
    assert done.returncode == 0
    assert "\\x1b[31mstem\\u202e\\n<b>[red]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 3.4e38, 1.0, 2**-126])
def test_scales_are_printed_exactly(value: float) -> None:
    scale = np.array(value, np.float32)
    assert np.float32(shortest(scale)) == scale
    assert float.fromhex(hex_float(scale)) == scale
    assert len(repr(shortest(scale))) <= len("1.17549435e-38")


def extracted(tmp_path: Path, form: Form) -> dict[str, Any]:
    """Run the script on a small model; return the record."""
    write(models.small(), tmp_path / "m.onnx", form)
    script, out = "scripts/extract_operations.py", tmp_path / "o.json"
    command = [sys.executable, script, "--model", str(tmp_path / "m.onnx"), "--output", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    record: dict[str, Any] = json.loads(out.read_text())
    assert record == json.loads(json.dumps(operations(tmp_path / "m.onnx")))
    assert str(tmp_path) not in out.read_text()
    return record


def test_operations_of_a_qoperator_file(tmp_path: Path) -> None:
    record = extracted(tmp_path, "qoperator")
    assert (record["model_path"], record["opset_version"]) == ("m.onnx", 13)
    assert record["opsets"] == {"ai.onnx": 13, "com.microsoft": 1}
    assert record["summary"] == {
        "total_nodes": 9,
        "qlinear_nodes": 6,
        "quantization_nodes": 8,
        "op_type_counts": {
            "DequantizeLinear": 1,
            "Flatten": 1,
            "QGemm": 1,
            "QLinearAdd": 1,
            "QLinearConv": 3,
            "QLinearGlobalAveragePool": 1,
            "QuantizeLinear": 1,
        },
    }
    stem = next(o for o in record["operations"] if o["name"] == "stem")
    assert stem["inputs"][3:6] == ["stem/w", "stem/w_scale", "stem/w_zero_point"]
    assert list(stem["scales"]) == ["x_scale", "w_scale", "y_scale"]
    assert stem["scales"]["w_scale"]["axis"] == 0
    assert stem["scales"]["w_scale"]["shape"] == [8]
    assert stem["zero_points"]["y_zero_point"]["value"] == -128
    assert stem["attributes"]["pads"] == [1, 1, 1, 1]
    assert stem["tensors"]["stem"] == {"dtype": "int8", "shape": [None, 8, 8, 8]}
    dense = next(o for o in record["operations"] if o["name"] == "dense")
    assert (dense["domain"], dense["scales"]["b_scale"]["axis"]) == ("com.microsoft", 1)


def test_operations_of_a_qdq_file(tmp_path: Path) -> None:
    record = extracted(tmp_path, "qdq")
    names = [o["name"] for o in record["operations"]]
    proto = onnx.load(tmp_path / "m.onnx")
    assert names == [n.name for n in proto.graph.node]  # each touches a Q or DQ
    weight = next(o for o in record["operations"] if o["name"] == "stem/w_dequantize")
    model = models.small()
    layer = model.layer("stem")
    assert isinstance(layer, Conv)
    assert layer.weight.params is not None
    values = np.array(weight["scales"]["x_scale"]["value"], np.float32)
    assert np.array_equal(values, layer.weight.params.scale)
    assert weight["scales"]["x_scale"]["axis"] == 0


def test_operations_survive_odd_attributes(tmp_path: Path) -> None:
    """Text, tensors, NaN and lists of text: each becomes something that JSON can say."""
    model = build(models.small())
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    tensor = helper.make_tensor("t", onnx.TensorProto.FLOAT, [2], [0, 1])
    for key, value in (("a", "SAME_\x07"), ("b", float("nan")), ("c", ["x", "y"]), ("d", tensor)):
        node.attribute.append(helper.make_attribute(key, value))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    record = operations(tmp_path / "m.onnx")
    found = next(o for o in record["operations"] if o["op_type"] == "Conv")["attributes"]
    assert [found[k] for k in "abc"] == ["SAME_\\x07", "nan", ["x", "y"]]
    assert found["d"] == {"dtype": "float32", "shape": [2]}
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("case", ["scale", "itself", "folder", "absent"])
def test_operations_that_cannot_be_extracted(tmp_path: Path, case: str) -> None:
    """A contradiction in the file, the model as output, a folder as output, no model."""
    model, out = tmp_path / "m.onnx", tmp_path / "o.json"
    network = build(models.small(), "qoperator")
    if case == "scale":
        values("stem/y_scale", np.float32(np.nan))(network)
    onnx.save(network, model)
    before = model.read_bytes()
    if case == "folder":
        out.mkdir()
    arguments: list[object] = [tmp_path / "no.onnx" if case == "absent" else model]
    arguments += ["--output", model if case == "itself" else out]
    command = [sys.executable, "scripts/extract_operations.py", "--model", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert model.read_bytes() == before
    assert not out.is_file()
