"""``bitbybit verify`` and the two validator scripts: what they print and how they end."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bitbybit import cli
from bitbybit.execution.engine import trace
from bitbybit.execution.verdict import EXHAUSTIVE, RUNTIME
from bitbybit.model.costs import costs
from bitbybit.model.load import load
from bitbybit.model.types import Conv
from bitbybit.model.writer import build, write
from tests.support import fault_files
from tests.support.commands import script
from tests.support.damage import node
from tests.support.faults import inject
from tests.support.foreign import runtime_quantized
from tests.support.graphs import GraphMaker
from tests.support.models import float_foreign, small
from tests.support.networks import quantized_images
from tests.support.runtime import on_contract_platform

pytestmark = on_contract_platform

Ending = tuple[int, str, str]
Command = Callable[..., Ending]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``bitbybit verify`` in this process: exit status, stdout, stderr."""
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)

    def command(*arguments: object) -> Ending:
        monkeypatch.setattr(sys, "argv", ["bitbybit", "verify", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        code, output = ending.value.code, capsys.readouterr()
        return int(code or 0), output.out, output.err

    return command


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(small(3), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def island(tmp_path: Path) -> Path:
    """A quantized network with operators outside the contract."""
    onnx.save(runtime_quantized(float_foreign(), "QDQ", "S8S8"), tmp_path / "island.onnx")
    return tmp_path / "island.onnx"


def plain_array() -> bytes:
    """Return an ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def array_of(count: int) -> bytes:
    """Return an ``.npz`` file whose only array declares so many elements and holds none."""
    stream, header = io.BytesIO(), io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, description)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    return stream.getvalue()


class TestExitStatus:
    def test_0_all_integer_all_equal(self, verify: Command, model: Path) -> None:
        status, out, err = verify(model)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1].startswith("EXACT: ")
        assert out.splitlines()[-1].endswith(" elements, 0 mismatches")

    def test_1_a_mismatch_names_layer_and_element(self, verify: Command, model: Path) -> None:
        with inject("bias-missing"):
            status, out, _ = verify(model)
        assert status == 1
        verdict, first = out.splitlines()[-2:]
        assert verdict.startswith("FAIL: ")
        assert re.fullmatch(
            r"first: stem\[0, \d+, \d+, \d+\]: expected -?\d+ \(.*\), "
            r"found -?\d+, accumulator -?\d+",
            first,
        )

    def test_3_equal_with_layers_outside_the_contract(self, verify: Command, island: Path) -> None:
        status, out, _ = verify(island)
        assert status == 3
        assert "outside the contract: " in out
        verdict = out.splitlines()[-1]
        islands = sum(layer.kind == "float_island" for layer in load(island).layers)
        assert re.fullmatch(
            rf"EXACT EXCEPT FLOAT PARTS: [\d,]+ elements, 0 mismatches; {islands} layers lie "
            r"outside the contract, with (\d+|\d+\.\d) % of the multiply-accumulates and "
            r"\d+\.\d % of the elements",
            verdict,
        )

    def test_3_where_only_quantizers_are_integer(self, verify: Command, tmp_path: Path) -> None:
        path = fault_files.GRAPHS / "uint8_in_int8_out.onnx"
        status, out, _ = verify(path, "--images", "1")
        assert status == 3
        assert out.splitlines()[-1].startswith("NOTHING INTEGER TO CHECK: ")

    def test_a_reason_is_given_once(self, verify: Command, tmp_path: Path) -> None:
        g = GraphMaker(("N", 3, 6, 6))
        x = g.qdq("input", "image")
        for i in range(8):
            x = g.qdq(f"q{i}", g.node("Softplus", f"soft{i}", [x]), 0.02)
        out = verify(g.save(tmp_path / "m.onnx", x), "--images", "1")[1]
        (line,) = [line for line in out.splitlines() if line.startswith("outside")]
        names = ", ".join(f"soft{i}" for i in range(6))
        reason = "Softplus is no integer layer of the contract"
        assert line == f"outside the contract: {names} and 2 more: {reason}"

    def test_2_a_float_model(self, verify: Command, tmp_path: Path) -> None:
        onnx.save(float_foreign(), tmp_path / "float.onnx")
        status, out, err = verify(tmp_path / "float.onnx")
        assert (status, out) == (2, "")
        assert "the model has no quantized layer" in err

    def test_2_a_layer_that_onnx_runtime_refuses_is_named(
        self, verify: Command, tmp_path: Path
    ) -> None:
        """A uint16 pair is fine in ONNX, but opset 13 knows no such QuantizeLinear."""
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="first"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="second"),
        ]
        constants = [
            helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("z", TensorProto.UINT16, [], [7]),
        ]
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in "xy"]
        graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], constants)
        opsets = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "m.onnx")
        status, out, err = verify(tmp_path / "m.onnx")
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert "QuantizeLinear node 'first'" in err
        assert "ONNX Runtime cannot load the model" in err

    @pytest.mark.parametrize("arguments", [["--images", "0"], ["--images", "many"]])
    def test_2_a_wrong_call(self, verify: Command, model: Path, arguments: list[str]) -> None:
        assert verify(model, *arguments)[0] == 2

    def test_2_a_missing_file(self, verify: Command, tmp_path: Path) -> None:
        status, _, err = verify(tmp_path / "absent.onnx")
        assert status == 2
        assert "there is no such file" in err


class TestInputsAndOutputs:
    @pytest.fixture
    def arrays(self, model: Path) -> dict[str, Any]:
        x = quantized_images((20, 3, 8, 8), 5).astype(np.float32)
        return {"image": x, "logits": trace(load(model), x)["logits"]}

    def saved(self, folder: Path, **arrays: Any) -> Path:
        path = folder / f"{'_'.join(arrays)}.npz"
        np.savez(path, **arrays)
        return path

    def test_expected_outputs(
        self, verify: Command, model: Path, tmp_path: Path, arrays: dict[str, Any]
    ) -> None:
        inputs = self.saved(tmp_path, image=arrays["image"])
        right = self.saved(tmp_path, logits=arrays["logits"])
        assert verify(model, "--inputs", inputs, "--expected", right)[0] == 0
        wrong = arrays["logits"].copy()
        wrong[17, 2] += 1
        other = self.saved(tmp_path, logits=wrong)
        status, out, _ = verify(model, "--inputs", inputs, "--expected", other)
        assert status == 1
        assert f"first: logits[17, 2]: expected {wrong[17, 2]}" in out

    def test_any_tensor_and_accumulator_can_be_expected(
        self, verify: Command, model: Path, tmp_path: Path, arrays: dict[str, Any]
    ) -> None:
        inputs = self.saved(tmp_path, image=arrays["image"])
        made, network = trace(load(model), arrays["image"]), load(model)
        layer = next(x for x in network.layers if isinstance(x, Conv))
        accumulators = made.accumulator(layer.name)
        in_file = network.edges[layer.name].onnx_name
        path = tmp_path / "inside.npz"
        both: dict[str, Any] = {in_file: made[layer.name], f"{layer.name}.acc": accumulators}
        np.savez(path, **both)
        status, out, _ = verify(model, "--inputs", inputs, "--expected", path)
        assert status == 0
        assert "not checked: logits: nothing was expected of this output" in out
        assert f"{layer.name}.acc" in out
        wrong = accumulators.copy()
        wrong[19, 1, 2, 3] -= 1
        both = {f"{layer.name}.acc": wrong}
        np.savez(path, **both)
        status, out, _ = verify(model, "--inputs", inputs, "--expected", path)
        assert status == 1
        assert f"first: {layer.name}.acc[19, 1, 2, 3]: expected {wrong[19, 1, 2, 3]}" in out

    @pytest.mark.parametrize(
        ("expected", "what"),
        [
            (
                {"nonsense": np.zeros((20, 5), np.float32)},
                "expected logits, found nonsense",
            ),
            ({"logits": np.zeros((20, 4), np.float32)}, "differ in dtype or shape"),
            ({"logits": np.zeros((19, 5), np.float32)}, "differ in dtype or shape"),
            ({"logits": np.zeros((21, 5), np.float32)}, "differ in dtype or shape"),
            ({}, "no values are given for the output logits"),
        ],
    )
    def test_wrong_expectations_are_bad_input(
        self, verify: Command, model: Path, tmp_path: Path, arrays: dict[str, Any],
        expected: dict[str, Any], what: str,
    ) -> None:  # fmt: skip
        inputs = self.saved(tmp_path, image=arrays["image"])
        path = tmp_path / "expected.npz"
        np.savez(path, **expected)
        status, out, err = verify(model, "--inputs", inputs, "--expected", path)
        assert (status, out) == (2, "")
        assert what in err

    @pytest.mark.parametrize(
        "content",
        [b"", b"PK\x03\x04", b"no archive", b"\x93NUMPY", plain_array(), array_of(2**40)],
        ids=["empty", "truncated", "text", "damaged array", "one array", "absurd size"],
    )
    def test_no_archive(self, verify: Command, model: Path, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.npz"
        path.write_bytes(content)
        status, _, err = verify(model, "--inputs", path)
        assert status == 2
        assert "not an .npz file of plain arrays" in err

    def test_more_than_the_directory_of_an_archive_may_declare(
        self, verify: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bitbybit.execution.feed.LARGEST", 1000)
        path = self.saved(tmp_path, image=np.zeros((20, 3, 8, 8), np.float32))
        status, _, err = verify(model, "--inputs", path)
        assert status == 2
        assert "the arrays are too large (expected at most 1000 bytes, found 15" in err

    @pytest.mark.parametrize(
        ("inputs", "more", "what"),
        [
            ({"picture": np.zeros((4, 3, 8, 8), np.float32)}, [], "found picture"),
            ({"image": np.float32(1)}, [], "image: this is a single number"),
            ({"image": np.zeros((4, 3, 8, 8))}, [], "expected float32, found float64"),
            ({"image": np.zeros((4, 3, 8, 7), np.float32)}, [], "found [4, 3, 8, 7]"),
            ({"image": np.zeros((0, 3, 8, 8), np.float32)}, [], "there are no images"),
            ({"image": np.zeros((4, 3, 8, 8), np.float32)}, ["--images", "9"], "expected 1 to 4"),
        ],
    )
    def test_wrong_inputs(
        self, verify: Command, model: Path, tmp_path: Path,
        inputs: dict[str, Any], more: list[str], what: str,
    ) -> None:  # fmt: skip
        np.savez(tmp_path / "x.npz", **inputs)
        status, out, err = verify(model, "--inputs", tmp_path / "x.npz", *more)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert what in err

    def test_pickled_objects_are_not_loaded(
        self, verify: Command, model: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "x.npz", image=np.array([{}], object))
        assert verify(model, "--inputs", tmp_path / "x.npz")[0] == 2

    def test_as_many_images_as_asked_for(
        self, verify: Command, model: Path, tmp_path: Path, arrays: dict[str, Any]
    ) -> None:
        inputs = self.saved(tmp_path, image=arrays["image"])
        out = verify(model, "--inputs", inputs, "--images", 3)[1]
        assert "3 images: given inputs" in out


def test_json_says_what_the_text_says(verify: Command, model: Path) -> None:
    with inject("truncate"):
        text, record = verify(model)[1], json.loads(verify(model, "--json")[1])
    assert f"FAIL: {record['mismatches']:,} of {record['elements']:,} elements differ" in text
    first = record["first_mismatch"]
    place = ", ".join(map(str, first["index"]))
    assert f"first: {first['layer']}[{place}]: expected {first['expected']}" in text
    for check in record["checks"]:
        assert check["layer"] in text
        assert check["compared_with"] in text
    assert record["exit_status"] == 1
    assert record["default_session"]["float_nodes"]
    assert record["inputs"] == {"what": "seeded stimuli", "images": 16}
    assert record["platform"]["problem"] is None


def layers_of(record: dict[str, Any], authority: str) -> set[str]:
    return {c["layer"] for c in record["checks"] if c["compared_with"] == authority}


def test_all_inputs_are_tried_unless_it_shall_be_quick(verify: Command, model: Path) -> None:
    record = json.loads(verify(model, "--json")[1])
    layers = {layer.name for layer in small(3).layers}
    assert layers_of(record, EXHAUSTIVE) == layers - {"flatten"}
    assert record["mismatches"] == 0
    quick = json.loads(verify(model, "--quick", "--json")[1])
    assert layers_of(quick, EXHAUSTIVE) == set()
    assert layers_of(quick, RUNTIME) == layers


def test_one_kind_of_layer(verify: Command, model: Path) -> None:
    status, out, _ = verify(model, "--kind", "conv", "--images", "3")
    assert status == 0
    assert out.count("x_zero_point") == 3
    assert "logits" not in out
    status, _, err = verify(model, "--kind", "pool")
    assert status == 2
    assert "no quantized layer of kind pool (expected add, conv, dense" in err


def test_what_share_was_integer_and_compared(verify: Command, model: Path, island: Path) -> None:
    out = verify(model, "--quick")[1]
    total = sum(c.macs or 0 for c in costs(small(3)))
    rows = [line for line in out.splitlines() if line.startswith("multiply-accumulates")]
    assert [row.split()[3:] for row in rows] == [[f"{total:,}", *["100", "%"] * 3]]
    shares = json.loads(verify(island, "--quick", "--json")[1])["compared"]
    assert all(0 < s["elements"] < s["elements_of_all_layers"] for s in shares)


def test_another_version_of_the_runtime_is_named(
    verify: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitbybit.execution import verdict

    assert "committed goldens" not in verify(model, "--quick")[1]
    monkeypatch.setattr(verdict, "COMMITTED_WITH", "1.0.0")
    out = verify(model, "--quick")[1]
    assert "the committed goldens were made with 1.0.0." in out


def test_another_cpu_is_named(
    verify: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitbybit.execution import runtime

    monkeypatch.setattr(runtime, "is_contract_platform", lambda *_: False)
    monkeypatch.setattr(runtime, "machine", lambda: "ARM64")
    out = verify(model, "--quick")[1]
    assert "not the contract platform: int8 activations with int8 weights" in out
    assert "ARM64" in out


@pytest.mark.parametrize("name", ["validate_qlinearconv.py", "validate_qlinearmatmul.py"])
def test_a_validator_passes(name: str, model: Path) -> None:
    done = script(name, model)
    assert (done.status, done.err) == (0, "")
    for word in ("x_scale", "x_zero_point", "w_scale", "w_zero_point", "y_scale", "shapes"):
        assert word in done.out
    assert "PASS, maximum difference 0" in done.out
    assert done.out.splitlines()[-1].startswith("PASS: ")


def test_a_validator_of_a_model_without_such_layers(tmp_path: Path) -> None:
    onnx.save(float_foreign(), tmp_path / "float.onnx")
    done = script("validate_qlinearmatmul.py", tmp_path / "float.onnx")
    assert (done.status, done.out) == (2, "")
    assert "the model has no quantized fully connected layer" in done.err


def test_a_validator_says_why_an_operator_makes_no_layer(tmp_path: Path) -> None:
    network = build(small(), "qoperator")
    node(network, "dense").attribute.append(helper.make_attribute("alpha", 0.5))
    onnx.save(network, tmp_path / "m.onnx")
    done = script("validate_qlinearmatmul.py", tmp_path / "m.onnx")
    assert (done.status, done.out) == (2, "")
    assert "found QGemm: its alpha is not 1 or its input is transposed" in done.err


def test_a_validator_takes_the_options_of_verify(model: Path) -> None:
    done = script("validate_qlinearconv.py", model, "--quick", "--images", "2", "--json")
    assert (done.status, done.err) == (0, "")
    record = json.loads(done.out)
    assert record["inputs"]["images"] == 2
    assert {check["kind"] for check in record["checks"]} == {"conv"}


def test_a_validator_of_a_folder(tmp_path: Path) -> None:
    done = script("validate_qlinearconv.py", tmp_path)
    assert (done.status, done.out) == (2, "")
    assert "this is not a regular file" in done.err
