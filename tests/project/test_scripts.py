"""Every script explains itself, and answers what users get wrong with one sentence and status 2.

The calls are made in this process; two run as a process of their own, as users start them.
"""

from __future__ import annotations

import os
import runpy
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bitbybit import terminal
from bitbybit.resnet8.examples import example, models_folder
from tests.support import fault_files

FOLDER = Path(__file__).resolve().parents[2] / "scripts"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
NEEDS_TORCH = {"evaluate.py not_weights.pt"}
NO_MODEL, ABSENT, FLOAT, INT8, JUNK = (
    "other_batch.onnx", "absent.onnx", "resnet8.onnx", "resnet8_int8.onnx", "not_weights.pt"
)  # fmt: skip
OVERWRITE, NO_DATA = "would overwrite each other", "CIFAR-10 was not found"

# What is called, and what the one sentence says; "|" separates what depends on the machine.
MISTAKES = {
    f"accuracy_map.py --model {JUNK} --output-json {JUNK}": OVERWRITE,
    f"accuracy_map.py --model {FLOAT}": NO_DATA,
    "accuracy_map.py --max-samples 0": "expected a whole number from 1 on, found '0'",
    "annotate_qdq_graph.py": "the following arguments are required: --model, --output-dir",
    f"annotate_qdq_graph.py --model {ABSENT} --output-dir out": f"{ABSENT}: ",
    f"annotate_qdq_graph.py --model {FLOAT} --output-dir out": "no node with a scale",
    "benchmark.py --rounds 0": "expected a whole number from 1 on",
    "benchmark.py out.json": "unrecognized arguments: out.json",
    "benchmark.py --output": "expected one argument",
    "build_book.py html": "unrecognized arguments: html",
    "check_repository.py --fix": "unrecognized arguments: --fix",
    f"measure_converters.py --model {INT8}": NO_DATA,
    f"measure_converters.py --model {JUNK} --output-json {JUNK}": OVERWRITE,
    "measure_converters.py --calibration 0": "expected a whole number from 1 on",
    f"measure_error.py --model {FLOAT}": NO_DATA,
    f"register_damage.py --model {INT8}": NO_DATA,
    f"measure_requantizers.py --model {INT8}": NO_DATA,
    f"register_damage.py --model {JUNK} --output-json {JUNK}": OVERWRITE,
    f"measure_requantizers.py --model {JUNK} --output-json {JUNK}": OVERWRITE,
    "register_damage.py --max-samples none": "expected a whole number from 1 on",
    "measure_requantizers.py --max-samples none": "expected a whole number from 1 on",
    f"measure_error.py --model {JUNK} --output-json {JUNK}": OVERWRITE,
    "count_code.py empty": "there are no Python files",
    "count_code.py src tests": "unrecognized arguments: tests",
    "count_code.py --file": "unrecognized arguments: --file",
    f"download_cifar10.py --archive {JUNK}": "not the official",
    "download_cifar10.py --archive absent.tar.gz": "absent.tar.gz",
    f"download_cifar10.py --archive {JUNK} --data-dir {JUNK}": JUNK,
    f"draw_samples.py --output-dir {JUNK}": "cannot be written",
    "draw_samples.py cat": "unrecognized arguments: cat",
    "evaluate.py": "the following arguments are required: model",
    f"evaluate.py {ABSENT}": f"{ABSENT}: there is no such file",
    f"evaluate.py {NO_MODEL}": "one row of logits per image",
    f"evaluate.py {JUNK}": JUNK,
    f"evaluate.py {FLOAT} --split valid": "invalid choice: 'valid'",
    f"evaluate.py {FLOAT} --split samples --max-samples 0": "expected a whole number from 1 on",
    f"evaluate.py {JUNK} --output-json {JUNK}": OVERWRITE,
    f"export_onnx.py --weights {JUNK}": JUNK,
    "export_onnx.py --weights absent.pt": "absent.pt",
    f"export_onnx.py --weights resnet8.pt --output {JUNK}/a.onnx": "cannot be written",
    f"export_onnx.py --weights {JUNK} --output {JUNK}": OVERWRITE,
    f"extract_operations.py --model {INT8}": "arguments are required: --output",
    f"extract_operations.py --model {ABSENT} --output a.json": f"{ABSENT}: ",
    f"extract_operations.py --model {INT8} --output {INT8}": OVERWRITE,
    "fuzz.py nowhere": "there is no such target",
    "fuzz.py --cases 0": "expected a whole number from 1 on",
    "import_mlperf.py": "official weights were not found",
    f"import_mlperf.py --weights {JUNK}": "not a readable HDF5 file",
    f"import_mlperf.py --weights {JUNK} --output {JUNK}": OVERWRITE,
    "list_operators.py docs": "unrecognized arguments: docs",
    "list_operators.py --output x": "unrecognized arguments: --output x",
    "list_operators.py -x": "unrecognized arguments: -x",
    "make_goldens.py --models empty": "resnet8_int8.onnx: the model is missing",
    "make_goldens.py models": "unrecognized arguments: models",
    "make_models.py --models empty": "resnet8.pt",
    "make_models.py --recalibrate": NO_DATA,
    "make_models.py --training empty": NO_DATA,
    f"quantize_onnx.py --model {JUNK} --output {JUNK}": OVERWRITE,
    f"quantize_onnx.py --model {FLOAT}": NO_DATA,
    f"quantize_onnx.py --model {FLOAT} --record {JUNK}": JUNK,
    f"quantize_onnx.py --model {FLOAT} --inputs {JUNK}": "not a .npy file",
    f"quantize_onnx.py --model {FLOAT} --scheme s4s4": "invalid choice: 's4s4'",
    "mutants.py --jobs 0": "expected a whole number from 1 on",
    "mutants.py --all": "unrecognized arguments: --all",
    "open_lab.py --only-write=yes": "ignored explicit argument 'yes'",
    "quantize_pytorch.py --weights resnet8.pt": f"{NO_DATA}|is not installed",
    f"quantize_pytorch.py --weights {JUNK} --output {JUNK}": OVERWRITE,
    "quantize_pytorch.py --per-tensor": "unrecognized arguments: --per-tensor",
    "screenshot.py --page absent.html": "absent.html: the page is not there|was not found",
    "screenshot.py --size": "expected one argument",
    "serve_book.py --port x": "invalid int value: 'x'",
    "train.py": NO_DATA,
    "train.py --epochs 0": "expected a whole number from 1 on",
    "train.py --lr 0.1": "unrecognized arguments: --lr",
    f"validate_qlinearconv.py {ABSENT}": f"{ABSENT}: there is no such file",
    f"validate_qlinearconv.py {FLOAT}": "no quantized convolution",
    "validate_qlinearconv.py": "the following arguments are required: model",
    f"validate_qlinearmatmul.py {ABSENT}": f"{ABSENT}: there is no such file",
    f"validate_qlinearmatmul.py {FLOAT}": "no quantized fully connected layer",
    f"validate_qlinearmatmul.py {INT8} --images 0": "images",
}  # fmt: skip


@cache
def main_of(name: str) -> Callable[[], int | None]:
    """Import a script and return its ``main``."""
    main: Callable[[], int | None] = runpy.run_path(str(FOLDER / name))["main"]
    return main


class Call:
    """Calls a script with an argument list in a folder with a few files; keeps its output."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self._patch, self._capture = patch, capture
        patch.chdir(folder)
        for variable in ("BITBYBIT_DATA", "BITBYBIT_MLPERF"):
            patch.delenv(variable, raising=False)
        patch.setattr(sys, "argv", sys.argv)

    def __call__(self, name: str, *arguments: str) -> tuple[object, str, str]:
        main = main_of(name)
        sys.argv = [name, *arguments]
        with pytest.raises(SystemExit) as end:
            terminal.run(main)
        out, err = self._capture.readouterr()
        return end.value.code, out, err


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    return Call(tmp_path, monkeypatch, capsys)


def test_every_script_has_its_mistakes() -> None:
    assert sorted({line.split()[0] for line in MISTAKES}) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_docstring(name: str, call: Call) -> None:
    status, out, err = call(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {name}")
    assert str(runpy.run_path(str(FOLDER / name))["__doc__"]).splitlines()[0] in out


@pytest.mark.parametrize(
    "line",
    [pytest.param(c, marks=pytest.mark.torch) if c in NEEDS_TORCH else c for c in MISTAKES],
)
def test_a_mistake_is_one_sentence(line: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / JUNK).write_text("no weights")
    for path in (example("float"), example("int8"), models_folder() / "resnet8.pt"):
        if path.name in line:
            shutil.copy(path, tmp_path)
    if NO_MODEL in line:
        shutil.copy(fault_files.path_of("evaluate_52130.onnx", tmp_path.parent), NO_MODEL)
    before = sorted(tmp_path.rglob("*"))
    name, *arguments = line.split()
    status, out, err = call(name, *arguments)
    assert (status, err.count("\n")) == (2, 1), err
    assert out == "" or name == "make_models.py"  # which says what it is at
    assert any(part.lower() in err.lower() for part in MISTAKES[line].split("|")), err
    assert sorted(tmp_path.rglob("*")) == before


def run_script(root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts" / name), *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_script_finds_the_workshop_from_anywhere(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "export_onnx.py"), "--weights", "absent.pt"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.fixture
def pages(root: Path, tmp_path: Path) -> Path:
    """A copy of the server's script beside a built book of one page; returns the root."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "serve_book.py"
    script.write_bytes((root / "scripts" / "serve_book.py").read_bytes())
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("<p>page</p>")
    return tmp_path


def test_a_taken_port_is_one_sentence(pages: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_script(pages, "serve_book.py", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"port {port}: cannot be used: ")


def test_an_impossible_port_is_one_sentence(pages: Path) -> None:
    done = run_script(pages, "serve_book.py", "--port", "70000")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_an_address_that_is_not_there_gets_the_page_of_the_book(pages: Path) -> None:
    text = '<html><head></head><body><a href="book/index.html">ü</a></body></html>'
    (pages / "_build" / "html" / "404.html").write_text(text, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(pages / "scripts" / "serve_book.py"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as found:
                assert found.read() == b"<p>page</p>"
            for address in ("nowhere.html", "book/deep/nowhere"):
                with pytest.raises(urllib.error.HTTPError, match="404") as raised:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{address}")
                expected = text.replace("<head>", '<head><base href="/">')
                assert raised.value.read().decode() == expected
        finally:
            server.terminate()


def test_without_a_book_it_says_how_to_build_it(pages: Path) -> None:
    (pages / "_build" / "html" / "index.html").unlink()
    done = run_script(pages, "serve_book.py")
    assert done.returncode == 2
    assert done.stderr == "_build/html: the book is not built yet. Run: make book\n"
