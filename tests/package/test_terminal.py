"""What a command prints, and the status with which it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from google.protobuf.message import EncodeError

from bitbybit import terminal
from bitbybit.errors import ModelError
from bitbybit.text import printable, shortened


def failing(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (
            ModelError("the scale is zero", where="m.onnx", next_step="Quantize it again."),
            2,
            "m.onnx: the scale is zero. Quantize it again.\n",
        ),
        (
            FileNotFoundError(2, "No such file", "m.onnx"),
            2,
            "m.onnx: No such file. Check the path.\n",
        ),
        (
            ModuleNotFoundError("No module", name="onnxruntime.capi"),
            2,
            (
                "The package 'onnxruntime' is not installed. "
                "Install it in the clone with: python -m pip install '.'\n"
            ),
        ),
        (
            ModuleNotFoundError("No module", name="graphviz"),
            2,
            (
                "The package 'graphviz' is not installed. "
                "Install it in the clone with: python -m pip install '.[book]'\n"
            ),
        ),
        (
            MemoryError(),
            2,
            (
                "The memory of this machine does not suffice for this input. "
                "Close other programs, or take a smaller model or fewer images.\n"
            ),
        ),
        (
            EncodeError("Failed to serialize proto"),
            2,
            (
                "The file cannot be read or written as ONNX, which holds 2 GiB at most: "
                "Failed to serialize proto.\n"
            ),
        ),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_an_error_becomes_one_sentence(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        terminal.run(failing(error))
    assert end.value.code == status
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\nlines\x1b[2J"), r"ValueError: two lines\x1b[2J"),
        (ModuleNotFoundError("No module named 'x'", name="x"), "No module named 'x'"),
        (ZeroDivisionError(), "not of your input: ZeroDivisionError. Please"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
@pytest.mark.parametrize("verbose", [False, True])
def test_a_defect_has_its_own_status(
    error: Exception, words: str, verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        terminal.Parser("x").parse_args(["-v"] if verbose else [])
        raise error

    with pytest.raises(SystemExit) as end:
        terminal.run(main)
    assert end.value.code == terminal.DEFECT == 70
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert words in lines[-1]
    assert "report it through" in lines[-1]
    assert "\x1b" not in err
    assert ("Traceback (most recent call last):" in lines) is verbose
    assert len(lines) == 1 or verbose


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_what_main_returns(returned: int | None, status: int) -> None:
    with pytest.raises(SystemExit) as end:
        terminal.run(lambda: returned)
    assert end.value.code == status


def test_a_model_string_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;title\x07\r\n[red]b[/red]\u202ec\x9b31m"
    with pytest.raises(SystemExit):
        terminal.run(failing(ModelError("bad name", where=hostile, next_step=None)))
    assert capsys.readouterr().err == (
        "a\\x1b]0;title\\x07\\r\\n[red]b[/red]\\u202ec\\x9b31m: bad name.\n"
    )


def test_printable_keeps_ordinary_text() -> None:
    assert printable("Größe 3×3 − [C, H] \\n 層") == "Größe 3×3 − [C, H] \\n 層"


def test_a_long_text_is_shortened_before_it_is_escaped() -> None:
    assert shortened("\x1b" * 9, 4) == "\\x1b\\x1b\\x1b…"
    assert shortened("conv", 4) == "conv"


def test_log_messages_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("bitbybit")
    before, level = logger.handlers, logger.level
    try:
        terminal.configure_logging(logging.INFO)
        logging.getLogger("bitbybit.model").info("reading %s", "a\x1b[2Jb")
        terminal.configure_logging(logging.WARNING)
        logging.getLogger("bitbybit.model").info("not shown")
    finally:
        logger.handlers = before
        logger.setLevel(level)
    assert capsys.readouterr().err == "INFO bitbybit.model: reading a\\x1b[2Jb\n"
