"""The chapters' sources: computed numbers, short cells, public names only."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import bitbybit
from tests.support.chapters import BOOK, cells

PAGES = sorted(BOOK.glob("*.md"))
ALLOWED = tomllib.loads(Path(__file__).with_name("numerals.toml").read_text(encoding="utf-8"))
LONGEST_CELL, WIDEST_LINE = 15, 99
MODULES = {"numpy", "bitbybit", "onnx", "onnxruntime"}

# What is not prose, in the order in which it is cut out.
NOT_PROSE = [
    re.compile(pattern, re.MULTILINE | re.DOTALL)
    for pattern in (
        r"\A---\n.*?^---\n",
        r"^(?P<fence>`{3,})\{(?:code-cell|math|eval-rst|bibliography)\}.*?^(?P=fence)$",
        r"^`{3,}\{[\w-]+\}",
        r"^\([\w-]+\)=$",
        r"^:[\w-]+:.*$",
        r"\$\$.*?\$\$",
        r"\$[^$]+\$",
        r"\{[\w:]+\}`[^`]*`",
        r"`[^`]*`",
        r"\]\([^)]*\)",
        r"https?://\S+",
    )
]
NUMERAL = re.compile(r"[\w.,×/–-]*\d[\w.,×/%–-]*")


def prose(text: str) -> str:
    """Return a source without code, math, roles and addresses."""
    for pattern in NOT_PROSE:
        text = pattern.sub(" ", text)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numerals_in_prose_are_computed_or_allowed_with_a_reason(page: Path) -> None:
    allowed = ALLOWED["everywhere"] | ALLOWED.get(page.stem, {})
    found = {
        token.strip(".,") for token in NUMERAL.findall(prose(page.read_text(encoding="utf-8")))
    }
    assert sorted(found - allowed.keys()) == []
    assert all(allowed.values()), "each allowed numeral has a reason"


def test_the_numeral_test_sees_a_numeral_in_prose() -> None:
    text = "About 27 of $3$ and `4` and {val}`five5` need 87.2% of 3×3.\n"
    found = [token.strip(".,") for token in NUMERAL.findall(prose(text))]
    assert found == ["27", "87.2%", "3×3"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_cells_are_short_and_hold_no_helpers(page: Path) -> None:
    for cell in cells(page):
        lines = cell.source.strip("\n").split("\n")
        assert len(lines) <= LONGEST_CELL, f"{page.name}:{cell.line}: {len(lines)} lines"
        widest = max(map(len, lines))
        assert widest <= WIDEST_LINE, f"{page.name}:{cell.line}: {widest} columns"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, (ast.FunctionDef, ast.ClassDef)), f"{page.name}:{cell.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_chapters_import_only_numpy_and_public_names(page: Path) -> None:
    for cell in cells(page):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= MODULES, cell.line
            elif isinstance(node, ast.ImportFrom):
                top, *rest = (node.module or "").split(".")
                assert top == "bitbybit", cell.line
                assert not rest or rest[0] in bitbybit.__all__, cell.line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_prose_is_free_of_filler(page: Path) -> None:
    words = r"comprehensive|crucial|leverag\w*|seamless\w*"
    phrases = r"it is important to note|in this chapter we will"
    assert (
        re.findall(rf"\b({words}|{phrases})\b", page.read_text(encoding="utf-8"), re.IGNORECASE)
        == []
    )
