"""``bitbybit inspect`` runs nothing of a file unless it is asked to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support import models, twins

PROGRAM = """
import sys
from bitbybit import cli
for line in sys.argv[1:]:
    assert not cli.call(["inspect", *line.split("|")]), line
    print(line, "onnxruntime" in sys.modules, sep="|", file=sys.stderr)
"""
ASKED = [["--run"], ["--inputs", "{x}"]]
UNASKED = [
    [], ["--json"], ["--layer", "dense"], ["--html", "{o}"], ["--csv", "{o}"], ["--bins", "20"],
    ["--against", "{float}", "--beside", "{float}", "--html", "{o}", "--json"],
]  # fmt: skip


def loads_runtime(folder: Path, name: str, *calls: list[str]) -> list[str]:
    """Inspect a file in a process of its own; return the calls after which ONNX Runtime is there.

    The calls follow each other, so one that loads it is followed by nothing but such.
    """
    np.savez(folder / "x.npz", image=np.zeros((1, 3, 32, 32), np.float32))
    places = {"{o}": "o", "{c}": "o.csv", "{x}": "x.npz", "{float}": "float.onnx"}
    lines = [
        "|".join(
            [
                str(folder / name),
                *(str(folder / places[word]) if word in places else word for word in options),
            ]
        )
        for options in calls
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.endswith("|True")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized network, its float twin, and a network of islands."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("int8", "float"):
        twins.twin(name, folder)
    onnx.save(models.float_foreign(), folder / "islands.onnx")
    return folder


def test_nothing_runs_unasked(folder: Path) -> None:
    assert loads_runtime(folder, "int8.onnx", *UNASKED) == []


def test_float_files_and_islands_do_not_run_unasked(folder: Path) -> None:
    assert loads_runtime(folder, "float.onnx", ["--html", "{o}"]) == []
    assert loads_runtime(folder, "islands.onnx", ["--html", "{o}", "--csv", "{c}"]) == []


@pytest.mark.parametrize("options", ASKED, ids=" ".join)
def test_a_float_file_runs_when_asked(folder: Path, options: list[str]) -> None:
    assert loads_runtime(folder, "float.onnx", options)
