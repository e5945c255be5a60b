"""A line that the kernel sent in pieces is one line on the page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx")
EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def test_pieces_are_joined_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXTENSIONS), *sys.path])
    from bitbybit_book.streams import joined  # type: ignore[import-not-found]

    figure = {"output_type": "display_data", "data": {}}
    outputs = [stream("stdout", "36"), stream("stderr", "w"), figure, stream("stdout", " codes\n")]
    assert joined(outputs) == [stream("stdout", "36 codes\n"), stream("stderr", "w"), figure]
    assert joined([]) == []
