"""Every built page: its links, figures, weight, and that it asks no other host for anything."""

from __future__ import annotations

import gzip
import re
import runpy
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.support.pages import HTML, ROOT, anchors, pages, parsed

pytestmark = pytest.mark.pages

LOADING = (("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"))
STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
BOOK = "ResNet8, Bit by Bit"
PAGE_LIMIT, SHARED_LIMIT, LIVE_LIMIT = 300_000, 150_000, 250_000
RECEIPT = re.compile(r"\w+/[\w.]+(?:/\d+){3}")
ICONS = HTML / "_static/fonts/icons.woff2"
MATH = HTML / "_static/fonts/stix-two-math.woff2"


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
            if RECEIPT.fullmatch(fragment) and parsed(file).select_one(".bb-live"):
                continue  # the role that wrote it has found the output in the model
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
    for sheet in HTML.rglob("*.css"):
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
    assert [name for name in listed if not (HTML / f"{name}.html").is_file()] == []


def _loaded(page: Path) -> dict[Path, int]:
    """Return scripts, styles and the font of icons that a page loads, with their weights."""
    found = {ICONS: _weight(ICONS)}
    for tag, key in (("script", "src"), ("link", "href")):
        for item in parsed(page).find_all(tag):
            file, _ = _target(page, item.get(key) or "")
            if file.suffix in {".js", ".css"} and file.is_file():
                found[file] = _weight(file)
    return found


def test_a_page_and_all_that_it_loads_is_light() -> None:
    """A page with a live network may weigh no more than another, its integers included."""
    heavy = []
    for page in pages():
        live = parsed(page).select_one(".bb-live")
        shared = sum(_loaded(page).values())
        formulas = _weight(MATH) if parsed(page).find("math") else 0
        total = _weight(page) + shared + formulas
        if total > (LIVE_LIMIT if live else PAGE_LIMIT) or (shared > SHARED_LIMIT and not live):
            heavy.append((page.name, shared, total))
    assert heavy == []


def test_every_icon_is_in_the_style_sheet_and_there_are_no_other_fonts() -> None:
    sheet = (HTML / "_static/styles/pydata-sphinx-theme.css").read_text(encoding="utf-8")
    for page in pages():
        for icon in parsed(page).select("i[class*=fa-], i.fas"):
            names = [name for name in icon["class"] if f".{name}:before" in sheet]
            assert names, (page.name, icon["class"])
    fonts = {path for path in HTML.rglob("*") if path.suffix in {".woff", ".woff2", ".ttf"}}
    assert fonts == {ICONS, MATH}


def _head(page: Path) -> dict[str, str]:
    metas = parsed(page).head.find_all("meta")
    return {(m.get("name") or m.get("property") or "").lower(): m.get("content") for m in metas}


def test_every_page_describes_itself_to_those_who_preview_it() -> None:
    for page in [*pages(), HTML / "index.html"]:
        tree, told = parsed(page), _head(page)
        assert tree.html["lang"] == "en"
        assert tree.title.get_text(strip=True)
        assert tree.title.get_text().count(BOOK) <= 1, page.name
        assert len(tree.head.find_all("meta", attrs={"name": "viewport"})) == 1, page.name
        assert 40 <= len(told["description"]) <= 210, (page.name, told["description"])
        assert told["og:description"] == told["description"]
        assert told["og:title"], page.name
        assert told["og:site_name"] == BOOK
        assert _target(page, told["og:image"])[0].is_file(), page.name
        assert len(tree.head.find_all("meta", attrs={"name": "theme-color"})) == 2
        icon = tree.head.find("link", rel="apple-touch-icon")
        assert _target(page, icon["href"])[0].is_file(), page.name


def test_the_root_leads_to_the_book_without_a_script() -> None:
    root = parsed(HTML / "index.html")
    assert root.title.string == BOOK
    assert _target(HTML / "index.html", root.a["href"])[0] == HTML / "book" / "index.html"
    assert root.head.find("link", rel="canonical")["href"] == "book/index.html"
    assert parsed(HTML / "404.html").a["href"] == "book/index.html"


def test_a_published_address_makes_addresses_whole() -> None:
    path = ROOT / "book" / "_ext" / "bitbybit_book" / "head.py"
    written = runpy.run_path(str(path))["tags"]("A", "B", "https://example.org/b", "book/a.html")
    for address in ("_static/card.png", "_static/icon.png", "book/a.html"):
        assert f'"https://example.org/b/{address}"' in written


def test_the_book_has_one_name() -> None:
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    logo = settings["sphinx"]["config"]["html_theme_options"]["logo"]
    assert settings["title"] == logo["text"] == BOOK
    for name in ("README.md", "docs/package.md", "book/index.md"):
        assert f"\n# {BOOK}\n" in "\n" + (ROOT / name).read_text(encoding="utf-8"), name
    assert f'title: "{BOOK}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["ipynb"])
def test_each_chapter_offers_its_executed_notebook(kind: str) -> None:
    for source in sorted((ROOT / "book").glob("*.md")):
        if "```{code-cell}" not in source.read_text(encoding="utf-8"):
            continue
        tree = parsed(HTML / "book" / f"{source.stem}.html")
        links = [a["href"] for a in tree.find_all("a", href=True) if a["href"].endswith(kind)]
        assert links, source.name
        assert _target(HTML / "book" / f"{source.stem}.html", links[0])[0].is_file()


def test_no_page_needs_a_script_for_its_formulas() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'mathjax\b(?!_)|class="math ', text, re.IGNORECASE), page.name


def test_every_equation_of_the_chapters_is_on_its_page() -> None:
    for source in sorted((ROOT / "book").glob("*.md")):
        written = len(re.findall(r"^```\{math\}", source.read_text(encoding="utf-8"), re.MULTILINE))
        tree = parsed(HTML / "book" / f"{source.stem}.html")
        assert len(tree.select('.bb-equation math[display="block"]')) == written, source.name
