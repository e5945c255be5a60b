"""Formulas are MathML, made at build time; what cannot be set is refused."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import HTML, ROOT, pages, parsed

pytestmark = pytest.mark.usefixtures("extension")


def test_a_formula_becomes_mathml_with_upright_names_and_tight_bars() -> None:
    from bitbybit_book.formulas import mathml  # type: ignore[import-not-found]

    found = mathml(r"|\operatorname{float32}(q)| \!\le \max_m b_m", "block")
    assert found.startswith('<math display="block">')
    assert '<mi mathvariant="normal">float32</mi>' in found
    assert re.search(r"<munder><mi>max</mi>", found)
    assert found.count('lspace="0" rspace="0"') == 2
    assert 'width="-0.167em"' in found


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"\frac{a}", r"\beth"])
def test_a_formula_that_cannot_be_set_is_refused(latex: str) -> None:
    from bitbybit_book.formulas import mathml

    with pytest.raises(ValueError, match=r"missing|does not know|lacks|Error"):
        mathml(latex)


@pytest.mark.pages
def test_no_page_needs_a_script_for_its_formulas() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'mathjax\b(?!_)|class="math ', text, re.IGNORECASE), page.name


@pytest.mark.pages
def test_every_equation_of_the_chapters_is_on_its_page() -> None:
    for source in sorted((ROOT / "book").glob("*.md")):
        written = len(re.findall(r"^```\{math\}", source.read_text(encoding="utf-8"), re.MULTILINE))
        tree = parsed(HTML / "book" / f"{source.stem}.html")
        assert len(tree.select('.bb-equation math[display="block"]')) == written, source.name
