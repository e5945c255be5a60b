"""What the tests of the book share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``bitbybit_book``, the book's Sphinx extension, be imported."""
    pytest.importorskip("sphinx")
    monkeypatch.setattr(sys, "path", [str(EXTENSIONS), *sys.path])
