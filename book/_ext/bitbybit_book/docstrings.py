"""What attributes and exceptions mean, as the API page shows it.

Our docstrings say ``low, high : both ends, inside``: names and a meaning, where Napoleon expects
one name and a type.  So each name gets a line, and its meaning is indented below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sphinx.application import Sphinx

SECTIONS = ("Attributes", "Raises")
ITEM = re.compile(r"(\w+(?:, \w+)*) : (.*)")


def described(lines: list[str]) -> list[str]:
    """Return a docstring's lines with the items of these sections so rewritten."""
    found: list[str] = []
    for title, body in sections(lines):
        if title not in SECTIONS:
            found += body
            continue
        found += body[:2]
        for item in items(body[2:]):
            match = ITEM.fullmatch(item[0])
            if match is None:
                found += item
                continue
            for name in match[1].split(", "):
                found += [name, f"    {match[2]}", *item[1:]]
    return found


def sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Cut a docstring at its underlined titles; the first part has none."""
    starts = [i - 1 for i, line in enumerate(lines) if i and re.fullmatch(r"-{3,}", line)]
    for start, end in zip([0, *starts], [*starts, len(lines)], strict=True):
        yield (lines[start] if start in starts else ""), lines[start:end]


def items(body: list[str]) -> Iterator[list[str]]:
    """Cut a section at the lines that are not indented."""
    starts = [i for i, line in enumerate(body) if line[:1].strip()]
    for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
        yield body[start:end]


def rewrite(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Do so before Napoleon reads them."""
    lines[:] = described(lines)


def setup(app: Sphinx) -> None:
    """Come before Napoleon."""
    app.connect("autodoc-process-docstring", rewrite, priority=100)
