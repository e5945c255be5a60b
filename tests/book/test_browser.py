"""Every page in Chromium, from file://: nothing fetched, nothing complained, accessible."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import pytest

from tests.support.browser import Page, browser
from tests.support.pages import pages

pytestmark = [pytest.mark.browser, pytest.mark.pages]

# All rules that axe has on by itself, in the light theme; in the dark one those that see colours.
OPTIONS = {
    "light": "{}",
    "dark": '{runOnly: {type: "rule", values: ["color-contrast", "link-in-text-block"]}}',
}
AXE = """axe.run(document, {resultTypes: ["violations"], ...%s})
.then(found => found.violations.flatMap(rule => rule.nodes.map(
  node => [rule.id, node.target.join(" "), node.html.slice(0, 200)])))"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def axe() -> str:
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    return resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_pages_are_accessible_and_fetch_nothing(
    page: Page, axe: str, width: int, theme: str
) -> None:
    bad = []
    for path in pages():
        page.open(path, width, theme)
        page.settle()
        bad += [(path.name, "asked for", url) for url in page.requests()]
        bad += [(path.name, "complaint", text) for text in page.complaints()]
        page.run(axe)
        bad += [(path.name, *item) for item in page.run(AXE % OPTIONS[theme])]
    assert bad == []


def test_what_chapters_draw_has_the_ground_and_the_ink_of_the_page(page: Page) -> None:
    """axe does not judge the text of an SVG: on a ground of the theme's own it could be lost."""
    read = (
        "[...document.querySelectorAll('.cell_output .text_html')].map(made => "
        "[getComputedStyle(made).backgroundColor, getComputedStyle(made).color, "
        "getComputedStyle(made.closest('article')).color])"
    )
    for theme in ("light", "dark"):
        found = []
        for path in pages():
            page.open(path, 1280, theme)
            found += page.run(read)
        assert found
        assert [item for item in found if item[0] != "rgba(0, 0, 0, 0)" or item[1] != item[2]] == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_scrolls_sideways(page: Page, width: int) -> None:
    wide = []
    for path in pages():
        page.open(path, width, "light")
        needed = page.run("document.documentElement.scrollWidth")
        if needed > width:
            wide.append((path.name, needed))
    assert wide == []


def test_the_search_field_of_a_page_finds_without_a_network(page: Page) -> None:
    page.open(next(path for path in pages() if path.stem == "qlinearconv"), 1280, "light")
    page.run("document.querySelector('.search-button__button').click()")
    page.run("document.querySelector('#pst-search-dialog input').value = 'accumulator'")
    page.run("void document.querySelector('#pst-search-dialog form').requestSubmit()")
    found = 0
    for _ in range(50):
        page.settle(0.1)
        found = page.run("document.querySelectorAll('#search-results li a').length")
        if found:
            break
    assert found
    assert page.run("location.href").endswith("search.html?q=accumulator")
    assert page.requests() == []
    assert page.complaints() == []
