"""The certificate of accumulators: what it holds, and that each fault in it is found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitbybit
from bitbybit import arithmetic, hardware
from bitbybit.files import atomic_write_json
from bitbybit.hardware.certificate import digest
from tests.support.commands import Done, call
from tests.support.models import small
from tests.support.runtime import on_contract_platform

MODEL = bitbybit.example("int8_qoperator")


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    model = bitbybit.load(MODEL)
    images = bitbybit.samples().images.astype(np.float32)
    found = hardware.certificate(model, hardware.widths(model, images), "ten drawings")
    read: dict[str, Any] = json.loads(json.dumps(found))
    assert read == found
    return read


def checked(record: dict[str, Any], folder: Path, *, signed: bool, model: Path = MODEL) -> Done:
    """Run the check on a changed certificate; ``signed``: with the right hash of its content."""
    if signed:
        record = {**record, "sha256": digest(record)}
    atomic_write_json(folder / "c.json", record)
    return call("accumulators", model, "--check", folder / "c.json")


@on_contract_platform
def test_what_is_written_is_found_to_hold(record: dict[str, Any], tmp_path: Path) -> None:
    done = checked(record, tmp_path, signed=False)
    assert (done.status, done.out) == (0, "PASS: 11 layers, every number holds.\n")


def test_it_holds_bounds_and_witnesses_of_every_channel(record: dict[str, Any]) -> None:
    model = bitbybit.load(MODEL)
    for layer, width in zip(record["layers"], hardware.widths(model), strict=True):
        assert layer["bits"]["observed"] <= layer["bits"]["exact"]
        assert layer["low"] == width.bounds.low.tolist()
        assert layer["observed"]["low"] >= layer["low"][:0]
        codes = np.frombuffer(bytes.fromhex(layer["witness"]["high"]["codes"]), np.int8)
        assert len(codes) == (1 if layer["kind"] == "global_pool" else layer["products"])
        assert set(codes.tolist()) <= {-128, 127}
        rows = arithmetic.centred(codes, np.int8(layer["x"]["zero_point"]))
        m = layer["witness"]["high"]["channel"]
        assert (width.bounds.weights[m] * rows).sum() + width.bounds.bias[m] == max(layer["high"])


def _bound(layer: dict[str, Any]) -> None:
    layer["low"][3] -= 1


def _weights(layer: dict[str, Any]) -> None:
    layer["weights"][0] += 1


def _bits(layer: dict[str, Any]) -> None:
    layer["bits"]["exact"] -= 1


def _witness(layer: dict[str, Any]) -> None:
    codes = layer["witness"]["high"]["codes"]
    layer["witness"]["high"]["codes"] = ("80" if codes[:2] == "7f" else "7f") + codes[2:]


def _value(layer: dict[str, Any]) -> None:
    layer["witness"]["low"]["value"] += 1


def _place(layer: dict[str, Any]) -> None:
    layer["witness"]["low"]["place"] = [10**9, 0]


def _observed(layer: dict[str, Any]) -> None:
    layer["observed"]["high"][0] = layer["high"][0] + 1


def _missing(layer: dict[str, Any]) -> None:
    layer.pop("witness")


FAULTS = {"low": _bound, "weights": _weights, "bits": _bits, "witness": _witness}
FAULTS |= {"value": _value, "place": _place, "observed": _observed, "missing": _missing}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_certificate_that_was_edited_is_refused_and_a_false_one_fails(
    fault: Callable[[dict[str, Any]], None], record: dict[str, Any], tmp_path: Path
) -> None:
    changed = json.loads(json.dumps(record))
    fault(changed["layers"][4])
    done = checked(changed, tmp_path, signed=False)
    assert (done.status, done.out) == (2, "")
    assert "was changed after it was written" in done.err
    done = checked(changed, tmp_path, signed=True)
    assert (done.status, done.err) == (1, "")
    assert done.out.startswith("stack2.conv2: ")


@pytest.mark.parametrize("layers", [None, {}, [], [None], [{}], [{"layer": ["stem"]}]])
def test_other_layers_fail(layers: Any, record: dict[str, Any], tmp_path: Path) -> None:
    done = checked({**record, "layers": layers}, tmp_path, signed=True)
    assert (done.status, done.err) == (1, "")
    assert "the layers are not those of the model" in done.out


def test_one_of_another_model_or_version_is_refused(record: dict[str, Any], tmp_path: Path) -> None:
    done = checked(record, tmp_path, signed=False, model=bitbybit.example("int8"))
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "is of another model" in done.err
    assert "resnet8_int8_qoperator.onnx" in done.err
    done = checked({**record, "version": 2, "made_by": "bitbybit 9\x1b"}, tmp_path, signed=True)
    assert done.status == 2
    assert "another version than this program reads (expected 1, found 2)" in done.err
    assert r"made it: bitbybit 9\x1b." in done.err
    done = checked({**record, "model": "it"}, tmp_path, signed=True)
    assert done.status == 2
    assert "is of another model" in done.err


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"certificate": 1}']
)
def test_what_is_no_certificate_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(text)
    done = call("accumulators", MODEL, "--check", tmp_path / "c.json")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "this is no accumulator certificate" in done.err


@on_contract_platform
def test_the_command_shows_the_four_numbers_and_writes_the_certificate(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    done = call("accumulators", MODEL, "--images", 3, "--certificate", file)
    assert (done.status, done.err) == (0, "")
    (line,) = (line for line in done.out.splitlines() if line.startswith("stack3.conv2"))
    assert line.split()[:6] == ["stack3.conv2", "conv", "576", "26", "24", "23"]
    assert "A register of 23 bits serves all layers" in done.out
    assert "22 witnesses attain the ends" in done.out
    printed = call("accumulators", MODEL, "--images", 3, "--json")
    assert (
        json.loads(printed.out) == json.loads(file.read_text()) == hardware.read_certificate(file)
    )
    done = call("accumulators", MODEL)
    assert "observed" not in done.out


def test_a_model_that_takes_no_images_is_observed_on_stimuli_or_its_own_inputs(
    tmp_path: Path,
) -> None:
    bitbybit.write(small(3), tmp_path / "m.onnx")
    done = call("accumulators", tmp_path / "m.onnx", "--images", 2)
    assert "2 seeded stimuli reach" in done.out.lower()
    np.savez(tmp_path / "i.npz", image=np.full((4, 3, 8, 8), 200, np.float32))
    done = call("accumulators", tmp_path / "m.onnx", "--inputs", tmp_path / "i.npz", "--images", 1)
    assert done.status == 0
    assert "The inputs of i.npz reach" in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([bitbybit.example("float")], "no layer sums integers"),
        ([MODEL, "--certificate", MODEL], "overwrite"),
        ([MODEL, "--check", MODEL, "--json"], "no other option"),
        ([MODEL, "--check", "/no/such/file"], "No such file"),
        ([MODEL, "--images", "100000"], "only"),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[Any], says: str) -> None:
    done = call("accumulators", *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert says in done.err


def standalone(
    record: dict[str, Any], root: Path, folder: Path, name: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run the book's checker, which must not import this library."""
    atomic_write_json(folder / "c.json", record)
    program = "import sys; sys.modules['bitbybit'] = None; del sys.argv[0]; "
    program += "exec(open(sys.argv[0]).read())"
    return subprocess.run(
        [
            *(sys.executable, "-I", "-c", program),
            *(root / "book" / "_static" / "check_accumulators.py", folder / "c.json"),
            bitbybit.example(name) if isinstance(name, str) else name,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["int8", "int8_qoperator", "uint8"])
def test_a_program_without_this_library_finds_that_it_holds(
    name: str, root: Path, tmp_path: Path
) -> None:
    model = bitbybit.load(bitbybit.example(name))
    record = hardware.certificate(model, hardware.widths(model))
    done = standalone(record, root, tmp_path, name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "11 layers: all bounds and witnesses hold\n"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("38.onnx", "1 layers: all bounds and witnesses hold\n"),  # with a node no output needs
        ("two_quantizers.onnx", "1 layers: all bounds and witnesses hold\n"),
        ("split_batch.onnx", "c: not checked, this program does not read such a node\n"),
    ],
)
def test_a_program_without_this_library_reads_a_foreign_network_or_says_that_it_does_not(
    file: str, says: str, root: Path, tmp_path: Path
) -> None:
    path = root / "tests" / "faults" / "graphs" / file
    model = bitbybit.load(path)
    record = hardware.certificate(model, hardware.widths(model))
    done = standalone(record, root, tmp_path, path)
    assert (done.returncode, done.stdout, done.stderr) == (int("not" in says), says, "")


def test_a_program_without_this_library_finds_each_fault(
    record: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    for fault in (_bound, _witness):
        changed = json.loads(json.dumps(record))
        fault(changed["layers"][4])
        done = standalone(changed, root, tmp_path, "int8_qoperator")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("stack2.conv2: ")
        assert done.stdout.count("\n") == 1
    done = standalone(record, root, tmp_path, "int8")
    assert (done.returncode, done.stdout) == (1, "another model, or another version\n")
    fewer = {**record, "layers": record["layers"][1:]}
    done = standalone(fewer, root, tmp_path, "int8_qoperator")
    assert (done.returncode, done.stdout) == (1, "the nodes that sum integers are others\n")


def test_no_file_that_once_showed_a_fault_is_a_defect(root: Path) -> None:
    for path in sorted((root / "tests" / "faults" / "graphs").glob("*.onnx")):
        done = call("accumulators", path)
        assert done.status in {0, 2}, (path.name, done.text)
        assert done.err.count("\n") == (done.status == 2), (path.name, done.err)
        assert done.status == 0 or not done.out, path.name
