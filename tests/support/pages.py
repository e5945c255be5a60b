"""The built book: its pages, parsed; built first where something changed since."""

from __future__ import annotations

import fcntl
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"


@functools.cache
def built() -> Path:
    """Build the book unless the last build is still good, and return its folder.

    Tests that run beside each other wait for the one that builds.
    """
    HTML.parent.mkdir(exist_ok=True)
    with (HTML.parent / "tests-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "build_book.py")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise AssertionError(done.stdout[-2000:] + done.stderr[-8000:])
    return HTML


def pages() -> list[Path]:
    """Return every page, also the index and the search page, but not the redirect."""
    found = [*built().glob("*.html"), *built().glob("book/*.html")]
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
