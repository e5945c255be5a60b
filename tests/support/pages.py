"""The built book: whether its pages are those of this tree, and the pages, parsed."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
STAMP = ROOT / "_build" / "good-build"


@functools.cache
def missing() -> str | None:
    """Say why there are no pages of this tree, or return None."""
    if not STAMP.is_file():
        return "the book is not built: make book"
    sys.path.append(str(ROOT / "book" / "_ext"))
    from bitbybit_book.inputs import book_digest  # type: ignore[import-not-found]

    good = STAMP.read_text(encoding="utf-8") == book_digest(ROOT)
    return None if good else "the book was built from other sources: make book"


def pages() -> list[Path]:
    """Return every page, also the index and the search page, but not the redirect."""
    found = [*HTML.glob("*.html"), *HTML.glob("book/*.html")]
    return sorted(page for page in found if page != HTML / "index.html")


@functools.cache
def parsed(page: Path) -> Any:
    """Return a page as a tree (BeautifulSoup, whose types fit no plain use of it)."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """Return what a link into a page may name."""
    tags = parsed(page).find_all(lambda tag: tag.has_attr("id") or tag.has_attr("name"))
    return frozenset(tag[key] for tag in tags for key in ("id", "name") if tag.has_attr(key))
