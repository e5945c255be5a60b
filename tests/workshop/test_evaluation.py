"""Evaluation: one record for every backend, and figures that a hand calculation gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import DataError, ModelError
from bitbybit.resnet8.cifar10 import CLASSES
from bitbybit.resnet8.examples import samples
from tests.support.resnet8_state import random_state
from workshop.evaluation import accuracy, evaluate, fidelity, run_model
from workshop.export import float_model
from workshop.selection import names_sha256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "float.onnx"
    path.write_bytes(float_model(random_state()).SerializeToString())
    return path


def check_schema(record: dict[str, Any]) -> None:
    keys = ["schema_version", "backend", "model", "data", "overall", "per_class"]
    assert list(record)[:6] == keys
    assert record["schema_version"] == 1
    assert list(record["model"]) == ["file", "sha256"]
    assert list(record["overall"]) == ["correct", "total", "accuracy"]
    assert [row["class"] for row in record["per_class"]] == list(CLASSES)
    for key in ("correct", "total"):
        assert sum(row[key] for row in record["per_class"]) == record["overall"][key]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_accuracy_by_hand() -> None:
    logits = np.zeros((4, 10), np.float32)
    logits[[0, 1, 2], [3, 3, 5]] = 1  # the last image is a tie: the first class wins
    found = accuracy(logits, np.array([3, 4, 5, 0]))
    assert found["overall"] == {"correct": 3, "total": 4, "accuracy": 0.75}
    assert found["per_class"][3] == {"class": "cat", "correct": 1, "total": 1, "accuracy": 1.0}
    assert found["per_class"][9] == {"class": "truck", "correct": 0, "total": 0, "accuracy": None}


def test_fidelity_by_hand() -> None:
    reference = np.array([[3.0, 4.0], [0.0, 5.0]], np.float32)
    logits = np.array([[3.0, 2.0], [0.0, 5.0]], np.float32)
    # signal 9 + 16 + 25 = 50, noise 4: 10 log10(12.5) = 10.97 dB
    assert fidelity(logits, reference) == {"changed_predictions": 1, "logit_sqnr_db": 10.97}
    assert fidelity(logits, logits) == {"changed_predictions": 0, "logit_sqnr_db": None}


def test_the_record_of_an_onnx_file(model: Path) -> None:
    bundled = samples()
    record = evaluate(model, bundled, "samples", against=model)
    check_schema(record)
    assert record["backend"] == "onnxruntime"
    assert record["data"] == {
        "split": "samples",
        "images": 10,
        "names_sha256": names_sha256(bundled.names),
    }
    assert record["against"]["changed_predictions"] == 0


@pytest.mark.torch
def test_the_record_of_a_state_dict(model: Path, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "float.pt"
    torch.save({name: torch.from_numpy(v) for name, v in random_state().items()}, path)
    record = evaluate(path, samples(), "samples", against=model)
    check_schema(record)
    assert record["backend"] == "pytorch"
    assert record["against"]["changed_predictions"] == 0
    assert record["against"]["logit_sqnr_db"] > 100


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((2, 3, 32, 32), np.float32),
        np.zeros((3, 32, 32), np.uint8),
    ],
)
def test_images_of_another_shape(model: Path, images: Any) -> None:
    with pytest.raises(DataError, match=r"expected uint8 \[N, 3, 32, 32\], found"):
        run_model(model, images)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    images = samples().images
    with pytest.raises(ModelError, match="there is no such file"):
        run_model(tmp_path / "absent.onnx", images)
    with pytest.raises(ModelError, match=r"expected \.onnx or \.pt"):
        run_model(tmp_path / "model.tflite", images)


def run_script(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_without_a_dataset(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)
    output = tmp_path / "record.json"
    done = run_script(root, model, "--max-samples", "4", "--output-json", output)
    assert done.returncode == 0, done.stderr
    assert "bundled sample images" in done.stdout
    record = json.loads(output.read_text())
    check_schema(record)
    assert record["data"]["images"] == 4
    failed = run_script(root, model, "--split", "test")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "CIFAR-10 was not found" in failed.stderr


def test_the_script_refuses_nothing_to_evaluate(root: Path, model: Path) -> None:
    done = run_script(root, model, "--split", "samples", "--max-samples", "0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
