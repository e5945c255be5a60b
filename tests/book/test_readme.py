"""The figures in README and docs are those of their sources: the comparison and the record."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bitbybit

RECORDS = ["fuzzing.md"]
"""Documents that are the source of their figures: what a run of a command measured."""

GROUPED = re.compile(r"\b\d{1,3}(?:,\d{3})+\b")


def figures(path: Path) -> set[int]:
    """Return the numbers of a document that are long enough to be written in groups."""
    return {int(text.replace(",", "")) for text in GROUPED.findall(path.read_text("utf-8"))}


def correct(name: str) -> int:
    """Return how many test images a file gets right, by the record."""
    return int(bitbybit.manifest()["files"][name]["evaluation"]["overall"]["correct"])


def test_the_figures_of_the_readme_are_measured_or_recorded(root: Path) -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    report = bitbybit.verify(model, bitbybit.samples().images.astype(np.float32))
    if report.platform_problem:
        pytest.skip(report.platform_problem)
    by_runtime = [c for c in report.checks if c.authority.startswith("ONNX Runtime")]
    assert sum(result.mismatches for result in by_runtime) == 0
    assert figures(root / "README.md") == {
        sum(result.elements for result in by_runtime),
        correct("resnet8_int8.onnx"),
        correct("resnet8.onnx"),
        bitbybit.manifest()["evaluation"]["data"]["images"],
    }


def test_the_documents_that_are_no_record_have_no_figure_without_a_source(root: Path) -> None:
    documents = [path for path in (root / "docs").glob("*.md") if path.name not in RECORDS]
    found = {path.name: figures(path) for path in documents}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}
