"""The code cells of a chapter, to be run in this process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOOK = Path(__file__).resolve().parents[2] / "book"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"---\n.*?^---\n|(?::[^\n]*\n)+", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """One code cell: its source without options, the options as text, and its line."""

    source: str
    options: str
    line: int

    @property
    def is_check(self) -> bool:
        """Whether the cell is tagged as one that proves the chapter's claims."""
        return re.search(r"\bcheck\b", self.options) is not None


def cells(chapter: Path) -> list[Cell]:
    """Return the code cells of a MyST notebook, in order."""
    text = chapter.read_text(encoding="utf-8")
    found = []
    for match in CELL.finditer(text):
        body = match[1]
        options = OPTIONS.match(body)
        source = body[options.end() :] if options else body
        line = text.count("\n", 0, match.start()) + 2 + body.removesuffix(source).count("\n")
        found.append(Cell(source, options[0] if options else "", line))
    return found


def run(chapter: Path, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run all code cells of a chapter in order, in one namespace, and return it."""
    namespace = {} if namespace is None else namespace
    namespace["__name__"] = "__main__"
    for cell in cells(chapter):
        code = compile("\n" * (cell.line - 1) + cell.source, str(chapter), "exec")
        exec(code, namespace)  # noqa: S102 - our own chapter
    return namespace
