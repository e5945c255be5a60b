"""The console command, run as its users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bitbybit
from bitbybit import cli
from bitbybit.cli import COMMANDS, doctor


def bitbybit_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitbybit", *arguments],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_version() -> None:
    done = bitbybit_command("--version")
    assert (done.returncode, done.stdout) == (0, f"bitbybit {bitbybit.__version__}\n")


def test_without_arguments_it_explains_itself() -> None:
    done = bitbybit_command()
    assert done.returncode == 0
    assert "doctor" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        ["doctor", "extra"],
        ["__init__"],
        ["verify"],
        ["verify", "m.onnx", "--images", "0"],
        ["verify", "m.onnx", "--image", "3"],
        ["inspect", "m.onnx", "--bins", "many"],
        ["accumulators"],
        ["accumulators", "m.onnx", "--images", "no"],
        ["accumulators", "m.onnx", "--bits", "16"],
        ["dataflow"],
        ["vectors", "m.onnx"],
        ["vectors", "m.onnx", "--out", "d", "--images", "0"],
        ["vectors", "m.onnx", "--out", "d", "--formats", "hex"],
        ["dataflow", "m.onnx", "--array", "16"],
        ["dataflow", "m.onnx", "--array", "16x0"],
        ["dataflow", "m.onnx", "--rows", "128"],
        ["requantizers"],
        ["requantizers", "m.onnx", "--bits", "none"],
        ["requantizers", "m.onnx", "--images", "3"],
        ["\x1b[2J"],
    ],
)
def test_a_wrong_call_is_one_sentence(arguments: list[str]) -> None:
    done = bitbybit_command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "See: bitbybit" in done.stderr
    assert done.stderr.endswith(" --help\n")
    assert "\x1b" not in done.stderr


def test_every_command_is_a_module_and_is_listed(root: Path) -> None:
    folder = root / "src" / "bitbybit" / "cli"
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert modules == set(COMMANDS)
    listing = bitbybit_command("--help").stdout
    assert modules <= {line.strip().partition(" ")[0] for line in listing.splitlines()}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_its_docstring(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.call([name, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: bitbybit {name}")
    assert str(import_module(f"bitbybit.cli.{name}").main.__doc__).partition("\n")[0] in shown


def test_doctor_reports_versions_cpu_parts_and_data() -> None:
    done = bitbybit_command("doctor", BITBYBIT_DATA="/no/such\x1bfolder", BITBYBIT_MLPERF="")
    assert done.returncode == 0
    assert f"bitbybit         {bitbybit.__version__}\n" in done.stdout
    assert "/no/such\\x1bfolder: cifar-10-batches-py/test_batch is missing there" in done.stdout
    assert "BITBYBIT_MLPERF  not set" in done.stdout


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    present = {"torch": "2.0", "pytest": "8", "hypothesis": "6"}
    monkeypatch.setattr(doctor, "_version", present.get)
    parts = doctor.report()["Optional parts"]
    assert parts["train"] == (
        "torch 2.0; missing: h5py (in the clone: python -m pip install '.[train]')"
    )
    assert parts["lab"] == (
        "missing: jupyterlab, jupytext (in the clone: python -m pip install '.[lab]')"
    )
    assert parts["test"] == "pytest 8, hypothesis 6"


def test_doctor_knows_the_verdict_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_contract_platform", lambda _a, weight: weight == "int8")
    cpu = doctor.report()["CPU"]
    assert cpu["int8 × int8"].startswith("contract platform")
    assert cpu["uint8 × uint8"].startswith("not the contract platform")
