"""What a command prints, and the status with which it ends."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

import pytest

from bitbybit import command
from bitbybit.errors import ModelError


def failing(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ModelError("the scale is zero", where="m.onnx"), 2, "m.onnx: the scale is zero.\n"),
        (FileNotFoundError(2, "No such file", "m.onnx"), 2, "m.onnx: No such file.\n"),
        (
            ModuleNotFoundError("No module", name="onnxruntime.capi"),
            2,
            (
                "The package 'onnxruntime' is not installed. "
                "Install it with: python -m pip install 'bitbybit[run]'\n"
            ),
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_becomes_one_sentence(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command.run(failing(error))
    assert end.value.code == status
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize("error", [ValueError("x"), ModuleNotFoundError("x", name="nonsense")])
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        command.run(failing(error))


@pytest.mark.parametrize(("returned", "status"), [(None, None), (0, 0), (1, 1)])
def test_the_status_is_what_main_returns(returned: int | None, status: int | None) -> None:
    with pytest.raises(SystemExit) as end:
        command.run(lambda: returned)
    assert end.value.code == status


def test_a_model_string_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;title\x07\r\n[red]b[/red]\u202ec\x9b31m"
    with pytest.raises(SystemExit):
        command.run(failing(ModelError("bad name", where=hostile)))
    assert capsys.readouterr().err == (
        "a\\x1b]0;title\\x07\\r\\n[red]b[/red]\\u202ec\\x9b31m: bad name.\n"
    )


def test_printable_keeps_ordinary_text() -> None:
    assert command.printable("Größe 3×3 − [C, H] \\n 層") == "Größe 3×3 − [C, H] \\n 層"


def test_progress_is_silent_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(command.progress([1, 2], "counting")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_shows_its_description_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(command.progress(iter([1, 2]), "[red]x\x1b[0m", total=2)) == [1, 2]
    assert "[red]x\\x1b[0m" in terminal.getvalue()


def test_log_messages_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("bitbybit")
    before, level = logger.handlers, logger.level
    try:
        command.configure_logging(verbose=True)
        logging.getLogger("bitbybit.model").info("reading %s", "a\x1b[2Jb")
        command.configure_logging(verbose=False)
        logging.getLogger("bitbybit.model").info("not shown")
    finally:
        logger.handlers = before
        logger.setLevel(level)
    assert capsys.readouterr().err == "INFO bitbybit.model: reading a\\x1b[2Jb\n"
