"""What a notebook shows of an error: its sentence, and nothing that steers a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitbybit.errors import BitbybitError, ModelError


def test_a_notebook_shows_the_sentence_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell_module = pytest.importorskip("IPython.core.interactiveshell", reason="no IPython")
    capture = pytest.importorskip("IPython.utils.capture", reason="no IPython")
    shell = shell_module.InteractiveShell()
    with capture.capture_output() as shown:
        result = shell.run_cell("import bitbybit\nbitbybit.explore('missing.onnx')")
    assert isinstance(result.error_in_exec, ModelError)
    assert "ModelError: missing.onnx: there is no such file." in shown.stdout
    assert "Traceback" not in shown.stdout
    assert len(shown.stdout.strip().splitlines()) == 1


def test_the_sentence_cannot_steer_a_terminal() -> None:
    lines = BitbybitError("no", where="\x1b[31m\u202e.onnx")._render_traceback_()
    assert lines == ["BitbybitError: \\x1b[31m\\u202e.onnx: no."]
