"""The chapter on inspection and the report of the command show the same digits."""

from __future__ import annotations

from typing import Any

import pytest
from bs4 import BeautifulSoup

from bitbybit.inspection.inspected import examine
from bitbybit.model.load import load
from bitbybit.pictures.inspection_page import page
from bitbybit.resnet8.examples import example
from tests.support.pages import pages, parsed


def _tables(tree: Any) -> dict[str, list[list[str]]]:
    """Every cell of every layer's tables, by layer."""
    return {
        section["data-layer"]: [
            [cell.get_text() for cell in row.select("th, td")] for row in section.select("table tr")
        ]
        for section in tree.select("bb-explorer section")
    }


@pytest.mark.pages
def test_the_chapter_and_the_report_agree_to_the_last_digit() -> None:
    chapter = next(p for p in pages() if p.name == "parameter_inspection.html")
    report = BeautifulSoup(page(examine()), "html.parser")
    found = _tables(parsed(chapter))
    assert found == _tables(report)
    assert sum(map(len, found.values())) > 400


@pytest.mark.pages
def test_the_strip_marks_the_layers_that_give_codes() -> None:
    chapter = next(p for p in pages() if p.name == "parameter_inspection.html")
    boxes = parsed(chapter).select("bb-explorer nav .bb-stop")
    marked = [box.span.get_text() for box in boxes if "[Q]" in box.small.get_text()]
    assert marked == [box.span.get_text() for box in boxes if "bb-integer" in box["class"]]
    model = load(example("int8"))
    names = [name for name, edge in model.edges.items() if edge.params is not None]
    assert marked == names
