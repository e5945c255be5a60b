"""``bitbybit inspect`` with its reports: exit status, files, sentences."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bitbybit import cli
from tests.support import torch_archive, twins


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Done:
    """Run the console command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["bitbybit", "inspect", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        return Done(code, out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("the command did not end the process")


def refused(done: Done, sentence: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("int8", "float"):
        twins.twin(name, folder)
    return folder


def test_all_reports_at_once(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.full((2, 3, 32, 32), 200, np.float32))
    done = run(
        folder / "int8.onnx", "--against", folder / "float.onnx", "--html", tmp_path / "o.html",
        "--csv", tmp_path / "o.csv", "--inputs", tmp_path / "x.npz", "--bins", 20, "--json",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    numbers = json.loads(done.stdout)["inspection"]
    assert numbers["inputs"] == "The arrays of x.npz."
    assert numbers["layers"][1]["output"]["images"] == 2
    assert len(numbers["layers"][1]["output"]["counts"]) == 20
    assert "The arrays of x.npz." in (tmp_path / "o.html").read_text(encoding="utf-8")
    assert (tmp_path / "o.csv").read_text(encoding="utf-8").startswith("layer,kind,")


def test_an_image_as_input(folder: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    picture = image.new("RGB", (32, 32), (200, 0, 9))
    picture.save(tmp_path / "red.png")
    done = run(folder / "int8.onnx", "--inputs", tmp_path / "red.png", "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)["inspection"]["layers"][0]["output"]
    assert output["images"] == 1
    assert abs(output["maximum"] - 200) < 0.5
    image.new("RGB", (64, 32)).save(tmp_path / "wide.png")
    refused(run(folder / "int8.onnx", "--inputs", tmp_path / "wide.png"), "another size")
    (tmp_path / "no.png").write_bytes(b"hello")
    refused(run(folder / "int8.onnx", "--inputs", tmp_path / "no.png"), "the image cannot be read")


def test_tensors_of_a_torch_file(tmp_path: Path) -> None:
    tensor = torch_archive.tensor("0", 6, (2, 3), (3, 1))
    pickle = torch_archive.dictionary(**{"conv.weight": tensor})
    path = torch_archive.write(
        tmp_path / "m.pt", pickle, {"data/0": np.arange(6, dtype=np.float32).tobytes()}
    )
    done = run(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "conv.weight  float32[2,3]" in done.stdout
    found = json.loads(run(path, "--json").stdout)
    assert found["format"] == "pytorch"
    assert found["layers"]["conv"]["tensors"]["weight"]["maximum"] == 5.0
    refused(run(path, "--html", tmp_path / "o.html"), "holds only tensors")
    assert not (tmp_path / "o.html").exists()


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    int8, html = folder / "int8.onnx", tmp_path / "o.html"
    html.write_text("kept", encoding="utf-8")
    (tmp_path / "a.npz").write_bytes(b"PK")
    (tmp_path / "some.h5").write_bytes(b"x")
    evil = torch_archive.call(b"os\nsystem", torch_archive.text("true"))
    refused(run(tmp_path / "no.onnx", "--html", html), "no such file")
    refused(run(tmp_path / "no.pt"), "no such file")
    refused(run(tmp_path), "this is a folder")
    refused(run(tmp_path / "some.h5"), "extension is unknown")
    refused(run(torch_archive.write(tmp_path / "e.pt", evil)), "os.system")
    refused(run(int8, "--html", html, "--against", int8), "not a float network")
    refused(run(int8, "--html", html, "--bins", 201), "10 to 200")
    refused(run(int8, "--html", html, "--inputs", tmp_path / "no.npz"), "no such file")
    refused(run(int8, "--html", html, "--inputs", tmp_path / "a.npz"), "not an .npz file")
    np.savez(tmp_path / "b.npz", np.zeros((1, 3, 9, 9), np.float32))
    refused(run(int8, "--html", html, "--inputs", tmp_path / "b.npz"), "wrong shape")
    np.savez(tmp_path / "c.npz", np.array([{}], object))
    refused(run(int8, "--html", html, "--inputs", tmp_path / "c.npz"), "plain arrays")
    np.savez(tmp_path / "d.npz", a=np.zeros(1), b=np.zeros(2))
    refused(run(int8, "--html", html, "--inputs", tmp_path / "d.npz"), "a name is unknown")
    np.savez(tmp_path / "e.npz")
    refused(run(int8, "--html", html, "--inputs", tmp_path / "e.npz"), "an input is missing")
    np.savez(tmp_path / "f.npz", np.full((1, 3, 32, 32), np.nan, np.float32))
    refused(run(int8, "--html", html, "--inputs", tmp_path / "f.npz"), "NaN")
    refused(run(int8, "--html", html, "--highlight", 1, 0), "low <= high")
    refused(run(int8, "--html", html, "--csv", html), "overwrite each other")
    before = int8.read_bytes()
    refused(run(int8, "--csv", int8), "overwrite each other")
    assert int8.read_bytes() == before
    assert html.read_text(encoding="utf-8") == "kept"
    refused(run(int8, "--html", tmp_path / "some.h5" / "o.html"), "cannot be written")
    refused(run(int8, "--html", tmp_path / "missing" / "o.html"), "no such folder")
    refused(run(int8, "--csv", tmp_path / "missing" / "o.csv"), "no such folder")
    assert not (tmp_path / "missing").exists()
