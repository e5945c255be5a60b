"""Letters, terms and sources: each has its place in the notation, glossary or bibliography."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.support.chapters import BOOK, cells

CHAPTERS = {
    "boundary": "boundary_operations",
    "convolution": "qlinearconv",
    "dense": "qlinearmatmul",
    "add": "add_and_pooling",
    "architecture": "architecture",
    "inspection": "parameter_inspection",
    "accumulators": "accumulators",
    "data flow": "dataflow",
    "verification": "verify_hardware",
    "requantization": "requantization",
}
FENCED_CODE = re.compile(r"^(`{3,})(?:\{code-cell\}|\w+\n).*?^\1$", re.MULTILINE | re.DOTALL)
EQUATION = re.compile(r"^```\{math\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$([^$]+)\$")
OPTION = re.compile(r"^:[\w-]+:.*$", re.MULTILINE)
WORDS = re.compile(r"\\(?:text|mathrm|operatorname)\{[^}]*\}")
GREEK = ("alpha", "delta", "Delta", "kappa", "mu", "sigma")
COMMAND = re.compile(r"\\([A-Za-z]+)")


class Row(NamedTuple):
    """One row of the table: its letters, its names in code and its chapters."""

    symbols: str
    letters: set[str]
    names: list[str]
    pages: list[str]


def letters(math: str) -> set[str]:
    """Return the letters of a formula, Greek ones by name, without words and commands."""
    math = WORDS.sub(" ", OPTION.sub(" ", math))
    greek = {name for name in COMMAND.findall(math) if name in GREEK}
    return greek | set(re.findall(r"[A-Za-z]", COMMAND.sub(" ", math)))


def used(page: str) -> set[str]:
    """Return the letters of a chapter's formulas."""
    text = FENCED_CODE.sub("", (BOOK / f"{page}.md").read_text(encoding="utf-8"))
    formulas = EQUATION.findall(text)
    formulas += INLINE.findall(re.sub(r"`[^`]*`", "", EQUATION.sub("", text)))
    return set().union(*map(letters, formulas))


def rows() -> list[Row]:
    """Return the rows of the notation page's table."""
    text = (BOOK / "notation.md").read_text(encoding="utf-8")
    found = []
    for line in re.findall(r"^\| (\$.*) \|$", text, re.MULTILINE):
        symbol, code, meaning, where = (part.strip() for part in line.split(" | "))
        own = set().union(*map(letters, INLINE.findall(symbol)))
        own |= set().union(*map(letters, INLINE.findall(meaning)))
        everywhere = where == "all chapters"
        pages = [*CHAPTERS.values()] if everywhere else [CHAPTERS[w] for w in where.split(", ")]
        found.append(Row(symbol, own, re.findall(r"`([^`]+)`", code), pages))
    return found


def test_the_letters_of_a_formula_are_found() -> None:
    formula = r"\mu_m = \frac{s_x}{\operatorname{float32}(n)} \text{top} \;\mathrm{d}e"
    assert letters(formula) == {"mu", "m", "s", "x", "n", "e"}


@pytest.mark.parametrize("page", CHAPTERS.values())
def test_a_letter_has_one_meaning_in_a_chapter(page: str) -> None:
    for letter in sorted(used(page)):
        meanings = [row.symbols for row in rows() if page in row.pages and letter in row.letters]
        assert len(meanings) == 1, f"{page}: {letter} has the meanings {meanings}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.symbols)
def test_every_row_is_used_where_it_says_in_formula_and_code(row: Row) -> None:
    for letter in sorted(row.letters):
        assert any(letter in used(page) for page in row.pages), f"no formula has {letter}"
    code = "\n".join(cell.source for page in row.pages for cell in cells(BOOK / f"{page}.md"))
    for name in row.names:
        assert re.search(rf"\b{name}\b", code), f"no cell has {name}"


PROSE = {path.stem: path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")}


def glossary() -> list[str]:
    """Return the entries of the glossary."""
    (block,) = re.findall(
        r"^```\{glossary\}\n(.*?)^```$", PROSE["notation"], re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^(?! )(.+)$", block, re.MULTILINE)


def test_the_glossary_is_in_order() -> None:
    assert glossary() == sorted(glossary(), key=str.lower)


@pytest.mark.parametrize("term", glossary())
def test_a_chapter_leads_to_each_entry_of_the_glossary(term: str) -> None:
    link = re.compile(r"\{term\}`(?:[^`<]*<)?" + re.escape(term) + ">?`")
    assert [page for page in PROSE if page != "notation" and link.search(PROSE[page])]


@pytest.mark.parametrize(
    "entry", re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), re.MULTILINE)
)
def test_each_source_of_the_bibliography_is_cited(entry: str) -> None:
    assert [page for page in PROSE if re.search(r"\{cite\}`[^`]*\b" + entry, PROSE[page])]
