"""How long the way into the book takes: words, formulas, figures and open cells are counted."""

from __future__ import annotations

import re
import sys

from tests.support.chapters import BOOK, cells

sys.path.insert(0, str(BOOK / "_ext"))

import bitbybit_sentences as said  # type: ignore[import-not-found]

WAY = ("index", "boundary_operations", "exactness")
LIMIT = 40.0

# Minutes: technical prose at 200 words a minute; each of the others has to be looked at.
PER_WORD, PER_FORMULA, PER_PICTURE, PER_LINE = 1 / 200, 0.5, 0.5, 0.05
FOLDED = re.compile(r"hide-cell|hide-input|remove|\bcheck\b")


def minutes(page: str) -> float:
    """Return the minutes that a page takes, without exercises' solutions and folded code."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    without_solutions = re.sub(
        r"^```\{dropdown\}.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL
    )
    words = sum(len(said.filled(s.text, {}).split()) for s in said.sentences(without_solutions))
    formulas = len(re.findall(r"^```\{math\}", text, re.MULTILINE))
    chapter = cells(BOOK / f"{page}.md")
    pictures = sum("label=" in cell.source and "hide-cell" not in cell.options for cell in chapter)
    lines = sum(
        len(cell.source.strip("\n").split("\n"))
        for cell in chapter
        if not FOLDED.search(cell.options)
    )
    return words * PER_WORD + formulas * PER_FORMULA + pictures * PER_PICTURE + lines * PER_LINE


def test_the_way_into_the_book_takes_less_than_forty_minutes() -> None:
    taken = {page: minutes(page) for page in WAY}
    assert sum(taken.values()) < LIMIT, taken
