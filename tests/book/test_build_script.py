"""The build script: what it refuses, what it recovers from, and that it is never wrongly green."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitbybit.errors import BitbybitError, EnvironmentProblem, ModelError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build_book.py"


class Script:
    """The script's functions, working in another folder, with a stand-in for Jupyter Book."""

    def __init__(self, root: Path) -> None:
        self.names: dict[str, Any] = runpy.run_path(str(SCRIPT))
        self.build_folder = root / "_build"
        self.digest = "one"
        self.renders = 0
        self.status = 0
        self.names["build"].__globals__.update(
            ROOT=root, BUILD=self.build_folder, HTML=self.build_folder / "html",
            FIRST_PAGE=self.build_folder / "html" / "index.html",
            STAMP=self.build_folder / "good-build",
            RUNNING=self.build_folder / "build-in-progress",
            book_digest=lambda _: self.digest, render=self.render,
        )  # fmt: skip

    def render(self) -> int:
        """Write a page, count the call and return the status that the test asks for."""
        self.renders += 1
        page = self.build_folder / "html" / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(str(self.renders))
        return self.status

    def build(self) -> None:
        """Build under the lock, as the command does."""
        with self.names["only_build"]():
            self.names["build"]()


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(b"weights")
    entry = {"sha256": hashlib.sha256(b"weights").hexdigest(), "command": "make models"}
    record = {"files": {"net.onnx": entry}}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def test_nothing_is_done_when_nothing_changed(script: Script) -> None:
    script.build()
    script.build()
    assert script.renders == 1


def test_a_change_builds_again(script: Script) -> None:
    script.build()
    script.digest = "two"
    script.build()
    assert script.renders == 2


def test_a_failure_is_not_forgotten(script: Script) -> None:
    script.status = 1
    for _ in range(2):
        with pytest.raises(BitbybitError, match="errors or warnings"):
            script.build()
    assert script.renders == 2


def test_a_failure_after_a_good_build_is_not_hidden_by_it(script: Script) -> None:
    script.build()
    script.digest, script.status = "two", 1
    with pytest.raises(BitbybitError):
        script.build()
    script.digest = "one"
    with pytest.raises(BitbybitError):
        script.build()


def test_missing_pages_are_built_again(script: Script) -> None:
    script.build()
    (script.build_folder / "html" / "index.html").unlink()
    script.build()
    assert script.renders == 2


def test_an_interrupted_build_starts_afresh(script: Script) -> None:
    script.build()
    half_written = script.build_folder / "executed" / "half"
    half_written.mkdir(parents=True)
    (script.build_folder / "build-in-progress").touch()
    script.digest = "two"
    script.build()
    assert not half_written.exists()
    assert not (script.build_folder / "build-in-progress").exists()


def test_ctrl_c_ends_what_was_started_and_says_what_comes_next(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if self.returncode is None and timeout is None and not killed:
                raise KeyboardInterrupt
            return super().wait(timeout)

    killed: list[int] = []
    kill = os.killpg

    def record(group: int, number: int) -> None:
        killed.append(number)
        kill(group, number)

    monkeypatch.setattr(os, "killpg", record)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    script.names["build"].__globals__.update(
        IPYTHON=script.build_folder / "ipython", render=script.names["render"], ROOT=Path("/")
    )
    with pytest.raises(KeyboardInterrupt):
        script.build()
    assert killed == [signal.SIGKILL]
    assert "starts afresh" in capsys.readouterr().err
    assert (script.build_folder / "build-in-progress").exists()


def test_two_builds_at_once_are_refused(script: Script) -> None:
    with script.names["only_build"](), pytest.raises(EnvironmentProblem, match="another build"):
        script.build()
    script.build()


def test_a_folder_that_cannot_be_written_is_named(script: Script) -> None:
    script.build_folder.write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="cannot be written") as caught:
        script.build()
    assert str(script.build_folder) in str(caught.value)


def test_the_recorded_models_pass(script: Script, models: Path) -> None:
    script.names["check_models"](models)


def _remove(path: Path) -> None:
    path.unlink()


def _flip_a_bit(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "sentence"), [(_remove, "is missing"), (_flip_a_bit, "not the one")]
)
def test_a_damaged_model_is_named(
    script: Script, models: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(models / "net.onnx")
    with pytest.raises(ModelError, match=sentence) as caught:
        script.names["check_models"](models)
    assert "net.onnx" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": {"net.onnx": {}}}', None])
def test_a_missing_or_damaged_record_is_named(
    script: Script, models: Path, text: str | None
) -> None:
    record = models / "manifest.json"
    record.unlink()
    if text is not None:
        record.write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json.*missing or damaged"):
        script.names["check_models"](models)


@pytest.mark.parametrize(
    "name", ["measured_error.json", "register_damage.json", "requantizers.json"]
)
def test_a_record_of_another_model_is_named(script: Script, models: Path, name: str) -> None:
    record = {"command": "python measure.py", "model": {"file": "net.onnx", "sha256": "0" * 64}}
    (models / name).write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"another net\.onnx.*Measure again with `python measure"):
        script.names["check_models"](models)
