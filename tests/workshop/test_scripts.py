"""The scripts: bad input is one sentence on stderr, exit status 2, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WEIGHTS = "not_weights.pt"
CASES = {
    "train without a dataset": (["train.py"], "CIFAR-10 was not found"),
    "train for no epoch": (["train.py", "--epochs", "0"], "nothing to train"),
    "quantize without a dataset": (
        ["quantize_pytorch.py", "--weights", "{models}/resnet8.pt"],
        "CIFAR-10 was not found|is not installed",
    ),
    "export no state dict": (["export_onnx.py", "--weights", WEIGHTS], WEIGHTS),
    "export nothing": (["export_onnx.py", "--weights", "absent.pt"], "absent.pt"),
    "export into a file": (
        ["export_onnx.py", "--weights", "{models}/resnet8.pt", "--output", f"{WEIGHTS}/a.onnx"],
        "cannot be written",
    ),
    "export over the weights": (
        ["export_onnx.py", "--weights", WEIGHTS, "--output", WEIGHTS],
        "overwrite each other",
    ),
    "evaluate into the model": (
        ["evaluate.py", WEIGHTS, "--output-json", WEIGHTS],
        "overwrite each other",
    ),
    "map into the model": (
        ["accuracy_map.py", "--model", WEIGHTS, "--output-json", WEIGHTS],
        "overwrite each other",
    ),
    "quantize over the network": (
        ["quantize_onnx.py", "--model", WEIGHTS, "--output", WEIGHTS],
        "overwrite each other",
    ),
    "quantize over the weights": (
        ["quantize_pytorch.py", "--weights", WEIGHTS, "--output", WEIGHTS],
        "overwrite each other",
    ),
    "import without weights": (["import_mlperf.py"], "official weights were not found"),
    "import no HDF5": (["import_mlperf.py", "--weights", WEIGHTS], "not a readable HDF5 file"),
    "evaluate no model": (["evaluate.py", WEIGHTS], WEIGHTS),
    "extract no archive": (["download_cifar10.py", "--archive", WEIGHTS], "not the official"),
    "make models of nothing": (["make_models.py", "--models", "empty"], "resnet8.pt"),
    "recalibrate without a dataset": (
        ["make_models.py", "--models", "{models}", "--recalibrate"],
        "CIFAR-10 was not found",
    ),
}


NEEDS_TORCH = {"evaluate no model"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.torch) if c in NEEDS_TORCH else c for c in CASES],
)
def test_bad_input_is_one_sentence(root: Path, tmp_path: Path, case: str) -> None:
    (script, *arguments), expected = CASES[case]
    (tmp_path / WEIGHTS).write_text("no weights")
    before = sorted(tmp_path.rglob("*"))
    hidden = {"BITBYBIT_DATA", "BITBYBIT_MLPERF"}
    done = subprocess.run(
        [
            sys.executable,
            str(root / "scripts" / script),
            *(argument.format(models=root / "models") for argument in arguments),
        ],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key not in hidden},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert any(part in done.stderr for part in expected.split("|")), done.stderr
    assert sorted(tmp_path.rglob("*")) == before
