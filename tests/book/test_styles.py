"""Which rules of a style sheet the pages need."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

STYLES = runpy.run_path(
    str(Path(__file__).parents[2] / "book" / "_ext" / "bitbybit_book" / "styles.py")
)
NAMES = {"cell", "fa-book", "show", "bs-tooltip-", "a"}


@pytest.mark.parametrize(
    ("sheet", "kept"),
    [
        (".cell{x:1}.card{x:2}", ".cell{x:1}"),
        (".card,.cell p,p.card{x:1}", ".cell p{x:1}"),
        ("p{x:1}.card .cell{x:2}", "p{x:1}"),
        ("p:not(.card),:is(.card,.cell){x:1}", "p:not(.card),:is(.card,.cell){x:1}"),
        ('a[href$=".pdf"],.card[x=","]{x:1}', 'a[href$=".pdf"]{x:1}'),
        (".bs-tooltip-auto{x:1}.bs-popover-auto{x:2}", ".bs-tooltip-auto{x:1}"),
        ("@media print{.card{x:1}}p{x:2}", "p{x:2}"),
        ("@media print{.card{x:1}.cell{x:2}}", "@media print{.cell{x:2}}"),
        (
            "@font-face{x:1}@keyframes k{0%{x:1}to{x:2}}",
            "@font-face{x:1}@keyframes k{0%{x:1}to{x:2}}",
        ),
        (
            '@charset "UTF-8";/*! A licence. */.card{x:1}p{y:1}',
            '@charset "UTF-8";/*! A licence. */p{y:1}',
        ),
        ("/* see .card */ .cell { x: 1 }", " .cell { x: 1 }"),
        (".md\\:card{x:1}", ".md\\:card{x:1}"),
    ],
)
def test_a_rule_stays_if_a_page_or_a_script_may_show_it(sheet: str, kept: str) -> None:
    assert STYLES["without_unused"](sheet, NAMES) == kept


def test_the_words_of_pages_and_scripts() -> None:
    page = '<p class="cell deep">word</p><script>x.classList.add("inline")</script>'
    assert STYLES["words"]([page], ['"bs-tooltip-" + side']) >= {
        "cell", "deep", "inline", "bs-tooltip-", "side"
    }  # fmt: skip
    assert "word" not in STYLES["words"]([page], [])
