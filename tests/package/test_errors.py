"""What a notebook shows of an error: its sentence, and nothing that steers a terminal."""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
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
    shell.history_manager.enabled = False  # it would write to the folder when Python ends
    with capture.capture_output() as shown:
        result = shell.run_cell("import bitbybit\nbitbybit.explore('missing.onnx')")
    assert isinstance(result.error_in_exec, ModelError)
    assert "ModelError: missing.onnx: there is no such file." in shown.stdout
    assert "Traceback" not in shown.stdout
    assert len(shown.stdout.strip().splitlines()) == 1


def test_the_sentence_cannot_steer_a_terminal() -> None:
    lines = BitbybitError("no", where="\x1b[31m\u202e.onnx", next_step=None)._render_traceback_()
    assert lines == ["BitbybitError: \\x1b[31m\\u202e.onnx: no."]


def errors(package: str) -> set[str]:
    """Import every module of a package and return the names of all our error classes."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found, queue = set(), [BitbybitError]
    while queue:
        kind = queue.pop()
        found.add(kind.__name__)
        queue += kind.__subclasses__()
    return found


def test_every_error_says_where_and_what_next(root: Path) -> None:
    names = errors("bitbybit")
    assert {"ModelError", "OperandError"} <= names
    calls, silent = 0, []
    for path in [*(root / "src").rglob("*.py"), *(root / "scripts").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func).rpartition(".")[2] in names:
                calls += 1
                given = {keyword.arg for keyword in node.keywords}
                if not {"where", "next_step"} <= given:
                    silent.append(f"{path.name}:{node.lineno}")
    assert calls > 100
    assert silent == []


def test_an_author_must_decide_what_comes_next() -> None:
    with pytest.raises(TypeError, match="next_step"):
        BitbybitError("no", where="m.onnx")  # type: ignore[call-arg]


def test_a_long_value_is_cut_in_the_sentence_and_kept_whole() -> None:
    error = ModelError("too many", expected="4", found=[1] * 200_000, next_step=None)
    assert len(str(error)) < 450
    assert str(error).startswith("too many (expected 4, found [1, 1, 1,")
    assert len(error.found) == 600_000
