"""Names and a meaning on one line become entries that the API page can show."""

from __future__ import annotations

import pytest

WRITTEN = """A range.

Parameters
----------
x : kept

Attributes
----------
low, high : both ends,
    inside

Raises
------
ModelError : a bad file
OperandError, UnsupportedError
    Kept.
"""
SHOWN = """A range.

Parameters
----------
x : kept

Attributes
----------
low
    both ends,
    inside

high
    both ends,
    inside

Raises
------
ModelError
    a bad file
OperandError, UnsupportedError
    Kept.
"""


@pytest.mark.usefixtures("extension")
def test_each_name_gets_the_meaning() -> None:
    from bitbybit_book.docstrings import described  # type: ignore[import-not-found]

    assert described(WRITTEN.split("\n")) == SHOWN.split("\n")
    assert described(["One line."]) == ["One line."]
