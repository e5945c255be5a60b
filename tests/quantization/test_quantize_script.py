"""scripts/quantize_onnx.py: files that run, a record that makes them again, clear refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitbybit.execution.engine import trace
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from tests.support.commands import Done, script
from tests.support.fake_cifar10 import write_dataset
from tests.support.float_nets import images_for

Network = Callable[[str], QuantizedModel]


def quantize_onnx(*arguments: object) -> Done:
    return script("quantize_onnx.py", *arguments)


@pytest.fixture(autouse=True)
def no_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)


@pytest.fixture
def inputs(network: Network, tmp_path: Path) -> Path:
    path = tmp_path / "inputs.npy"
    np.save(path, images_for(network("small")))
    return path


def test_a_record_makes_the_same_bytes_without_images(
    root: Path, network: Network, inputs: Path, tmp_path: Path
) -> None:
    model = network("small").path
    options = ("--model", model, "--scheme", "u8u8", "--weight-bits", 5, "--format", "qoperator")
    command = [sys.executable, root / "scripts" / "quantize_onnx.py", *options, "--inputs", inputs]
    command += ["--ranges", "entropy", "--output", tmp_path / "a.onnx"]
    first = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    record = tmp_path / "a.calibration.json"
    again = quantize_onnx(*options, "--record", record, "--output", tmp_path / "b.onnx")
    assert again.status == 0, again.err
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    made = load(tmp_path / "a.onnx")
    assert made.form == "qoperator"
    assert made.edges["stem"].dtype == np.uint8
    codes = made.layer("stem").weight.values  # type: ignore[attr-defined]
    assert codes.max() < 2**5
    assert np.isfinite(trace(made, np.load(inputs))["logits"]).all()


def test_a_dataset_with_too_few_images_is_one_sentence(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "data")
    monkeypatch.setenv("BITBYBIT_DATA", str(tmp_path / "data"))
    done = quantize_onnx("--model", network("small").path)
    assert done.status == 2
    assert done.err.startswith(
        "the training images of CIFAR-10: there are too few images of class airplane"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--weight-bits", "9"), "weight_bits"),
        (("--scheme", "u8u8", "--activation-bits", "1"), "activation_bits"),
        (("--percentile", "101", "--ranges", "percentile"), "percentage"),
        (("--inputs", "no.npy"), "no.npy"),
        (("--record", "no.json"), "no.json"),
        ((), "CIFAR-10 was not found"),
        (("--model", "no.onnx"), "no.onnx"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments: tuple[str, ...], said: str, network: Network, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "q.onnx"
    base = ["--model", network("small").path, "--output", output]
    if said == "percentage":
        base += ["--inputs", inputs]
    done = quantize_onnx(*base, *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not output.parent.exists()


def test_pickled_inputs_are_not_opened(network: Network, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    done = quantize_onnx(
        "--model", network("small").path, "--inputs", tmp_path / "p.npy",
        "--output", tmp_path / "q.onnx",
    )  # fmt: skip
    assert done.status == 2
    assert "not a .npy file of numbers" in done.err
