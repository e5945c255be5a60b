"""Every built page: its links, figures, weight, and that it asks no other host for anything."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.support.pages import HTML, ROOT, anchors, built, pages, parsed

LOADING = (("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"))
STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
HEAVY_PAGES = {"architecture": 600_000}
PAGE_LIMIT, SHARED_LIMIT = 300_000, 150_000


def _target(page: Path, address: str) -> tuple[Path, str]:
    """Return the file and the fragment that a relative address names."""
    parts = urlsplit(address)
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return file, unquote(parts.fragment)


def _weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), mtime=0))


def test_every_internal_link_and_anchor_exists() -> None:
    broken = []
    for page in pages():
        for link in parsed(page).find_all("a", href=True):
            address = link["href"]
            if urlsplit(address).scheme or address in {"#", ""}:
                continue
            file, fragment = _target(page, address)
            if not file.is_file() or (
                fragment and file.suffix == ".html" and fragment not in anchors(file)
            ):
                broken.append((page.name, address))
    assert broken == []


def test_no_page_loads_anything_from_another_host() -> None:
    external = []
    for page in pages():
        tree = parsed(page)
        found = [
            (tag, tree_tag.get(key)) for tag, key in LOADING for tree_tag in tree.find_all(tag)
        ]
        found += [
            ("link", link["href"])
            for link in tree.find_all("link", href=True)
            if set(link.get("rel", [])) & {"stylesheet", "preload", "icon", "modulepreload"}
        ]
        external += [(page.name, *item) for item in found if item[1] and urlsplit(item[1]).netloc]
    for sheet in built().rglob("*.css"):
        for match in STYLE_URL.finditer(sheet.read_text(encoding="utf-8")):
            address = match[1] or match[2]
            if urlsplit(address).netloc:
                external.append((sheet.name, "css", address))
    assert external == []


def test_every_figure_has_a_caption_and_an_alternative_text() -> None:
    bad = []
    for page in pages():
        for figure in parsed(page).find_all("figure"):
            caption = figure.find(["figcaption", "caption"])
            drawn = figure.find_all("svg", recursive=True) + figure.find_all("img")
            named = all(item.get("aria-label") or item.get("alt") for item in drawn)
            if caption is None or not caption.get_text(strip=True) or not named:
                bad.append((page.name, figure.get("id")))
        bad += [
            (page.name, image.get("src"))
            for image in parsed(page).find_all("img")
            if image.get("alt") is None
        ]
    assert bad == []


def test_ids_are_unique_on_each_page() -> None:
    for page in pages():
        ids = [tag["id"] for tag in parsed(page).find_all(id=True)]
        twice = {name for name in ids if ids.count(name) > 1}
        assert twice - {"my-dataTable"} == set(), page.name


def test_every_source_is_in_the_table_of_contents_and_was_built() -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = {contents["root"]}
    for part in contents["parts"]:
        listed |= {chapter["file"] for chapter in part["chapters"]}
    sources = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert listed == sources
    assert [name for name in listed if not (built() / f"{name}.html").is_file()] == []


def test_no_page_is_heavy() -> None:
    for page in pages():
        assert _weight(page) <= HEAVY_PAGES.get(page.stem, PAGE_LIMIT), page.name


def test_shared_scripts_and_styles_are_light() -> None:
    for page in pages():
        shared: dict[Path, int] = {}
        for tag, key in (("script", "src"), ("link", "href")):
            for item in parsed(page).find_all(tag):
                address = item.get(key) or ""
                file, _ = _target(page, address)
                if file.suffix in {".js", ".css"} and file.is_file():
                    shared[file] = _weight(file)
        assert sum(shared.values()) <= SHARED_LIMIT, page.name


@pytest.mark.parametrize("kind", ["ipynb"])
def test_each_chapter_offers_its_executed_notebook(kind: str) -> None:
    for source in sorted((ROOT / "book").glob("*.md")):
        if "```{code-cell}" not in source.read_text(encoding="utf-8"):
            continue
        tree = parsed(built() / "book" / f"{source.stem}.html")
        links = [a["href"] for a in tree.find_all("a", href=True) if a["href"].endswith(kind)]
        assert links, source.name
        assert _target(HTML / "book" / f"{source.stem}.html", links[0])[0].is_file()
