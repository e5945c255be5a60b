"""The library stays small enough to be read in an afternoon."""

from __future__ import annotations

from pathlib import Path

import pytest

import count_code


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("# a comment\n\n", 0),
        ('"""A docstring\nof two lines."""\nx = 1  # counted once\n', 1),
        ('x = 1\n"""What x is."""\n', 1),
        ('def f():\n    """What."""\n    return """two\nlines"""\n', 3),
        ("f(\n    1,\n\n    # why\n    2,\n)\n", 4),
    ],
)
def test_what_counts(tmp_path: Path, source: str, lines: int) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert count_code.code_lines(path) == lines


def test_no_file_is_longer_than_a_reader_keeps_in_mind(root: Path) -> None:
    counted = count_code.count(root / "src" / "bitbybit")
    assert {path.name: lines for path, lines in counted.items() if lines > 500} == {}


def test_the_library_does_not_grow_unseen(root: Path) -> None:
    """Whoever must raise a limit says in the commit what the reader gets for it.

    The limits leave room for the hardware room and for the operators of other networks.
    """
    counted = count_code.count(root / "src" / "bitbybit")
    assert sum(counted.values()) <= 17_000
    assert len(counted) <= 134
