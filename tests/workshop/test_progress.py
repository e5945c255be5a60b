"""A count on stderr: only for a terminal, and never steering it."""

from __future__ import annotations

import io
import sys

import pytest

from workshop.progress import progress


def test_progress_is_silent_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress([1, 2], "counting")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_shows_its_description_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    assert list(progress(iter([1, 2]), "[red]x\x1b[0m", total=2)) == [1, 2]
    assert shown.getvalue().startswith("\r[red]x\\x1b[0m: 1 of 2\r")
    assert shown.getvalue().endswith(" \r")
