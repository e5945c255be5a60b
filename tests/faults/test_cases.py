"""Every file that once showed a fault gives the right answer or sentence, and the right status."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.execution.engine import trace, walk
from bitbybit.model.load import load
from tests.support import fault_files
from tests.support.commands import Done, call, script, watched
from tests.support.runtime import identical
from tests.support.written import fault_of_csv, fault_of_json

Case = dict[str, Any]
CASES: list[Case] = tomllib.loads((Path(__file__).parent / "cases.toml").read_text())["case"]


def _parameter(case: Case) -> Any:
    reason = case.get("fails")
    marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
    if "within" in case and not sys.platform.startswith("linux"):
        marks = [pytest.mark.skip(reason="processes are measured on Linux only")]
    if case.get("slow"):
        marks = [*marks, pytest.mark.slow]
    return pytest.param(case, id=case.get("name", case["file"]), marks=marks)


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


def _expected(case: Case, folder: Path) -> Path:
    name = case.get("expected", f"{Path(case['file']).stem}_exp.npz")
    return fault_files.path_of(name, folder)


def _run(case: Case, line: str, folder: Path) -> tuple[set[int], Done]:
    """Run one call of a case; return the right statuses and what it did."""
    model = fault_files.path_of(case["file"], folder)
    (folder / "tame").mkdir(exist_ok=True)
    values = {
        "{m}": lambda: model,
        "{t}": lambda: fault_files.tamed(model, folder / "tame"),
        "{i}": lambda: fault_files.path_of(f"{model.stem}_in.npz", folder),
        "{e}": lambda: _expected(case, folder),
    }
    statuses, command, *words = line.split()
    right = set(map(int, statuses.split("|")))
    arguments = [
        values[word]() if word in values else word.replace("{dir}", str(folder)) for word in words
    ]
    if command.endswith(".py"):
        return right, script(command, *arguments)
    if "within" in case:
        return right, watched(command, *arguments, limit=2 * case["within"][0] + 2)
    return right, call(command, *arguments)


@pytest.mark.parametrize("case", [_parameter(case) for case in CASES])
def test_the_right_answer_and_status(case: Case, tmp_path: Path) -> None:
    done = Done(0, "", "")
    for line in case["calls"]:
        right, done = _run(case, line, tmp_path)
        assert "Traceback" not in done.err, done.err
        assert done.status in right, done.text
        assert done.err.count("\n") == (1 if done.status == 2 else 0), done.err
        assert done.status != 2 or not done.out, done.out
        if "within" in case:
            seconds, megabytes = case["within"]
            assert done.seconds <= 2 * seconds  # twice: this machine may be busy
            assert done.megabytes <= megabytes
    for pattern in case.get("says", ()):
        assert re.search(pattern, done.text), done.text
    for pattern in case.get("never", ()):
        assert not re.search(pattern, done.text), done.text
    if case.get("check") == "json":
        assert fault_of_json(done.out) == ""
    if case.get("check") == "json file":
        assert fault_of_json((tmp_path / "o.json").read_text(encoding="utf-8")) == ""
    if case.get("check") == "csv":
        assert fault_of_csv((tmp_path / "o.csv").read_bytes()) == ""
    if case.get("equal"):
        _check_equal(case, tmp_path)


def _check_equal(case: Case, folder: Path) -> None:
    """Compare the engine, and the shapes that it was told, with the outputs of the file."""
    path = fault_files.path_of(case["file"], folder)
    inputs = _arrays(fault_files.path_of(f"{path.stem}_in.npz", folder))
    expected = _arrays(_expected(case, folder))
    model = load(path)
    for compute in (trace, walk):
        found = compute(model, inputs)
        for edge, name in zip(model.outputs, model.file_outputs, strict=True):
            assert identical(found[edge], expected[name]), name
        for edge, values in found.items():
            shape = model.edges[edge].shape
            if shape:
                assert len(shape) == values.ndim
                assert all(
                    want in (None, got) for want, got in zip(shape, values.shape, strict=True)
                ), (edge, shape, values.shape)


def test_every_committed_file_is_in_the_table() -> None:
    used = {case["file"] for case in CASES}
    committed = {p.name for p in fault_files.GRAPHS.iterdir() if p.suffix in {".onnx", ".pt"}}
    assert committed <= used
    assert used - committed <= set(fault_files.BUILDERS)
