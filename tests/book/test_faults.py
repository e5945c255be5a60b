"""Each chapter's check cells catch faults in the library: a check must be able to fail."""

from __future__ import annotations

import pytest

from bitbybit.errors import BitbybitError
from tests.support.chapters import BOOK, cells, run
from tests.support.faults import inject

CHAPTERS = {
    "boundary_operations": (
        "ceil",
        "dequantize-without-zero-point",
        "half-away-from-zero",
        "floor",
    ),
    "qlinearconv": (
        "pad-code-0",
        "symmetric-pads",
        "kernel-flipped",
        "int16-accumulator",
    ),
    "add_and_pooling": (
        "add-of-real-numbers",
        "add-without-fma",
        "add-operands-swapped",
        "pool-divides-last",
    ),
    "exactness": ("plus-37", "half-away-from-zero"),
    "accumulators": ("bias-missing", "kernel-flipped", "int16-accumulator"),
    "requantization": ("half-up", "half-away-from-zero", "floor"),
    "architecture": ("dequantize-without-zero-point", "kernel-flipped"),
    "parameter_inspection": ("kernel-flipped", "half-away-from-zero", "bias-missing"),
    "dataflow": ("kernel-flipped", "bias-missing", "half-away-from-zero"),
    "contract_in_c": ("half-away-from-zero", "kernel-flipped", "bias-missing"),
    "verify_hardware": ("bias-missing",),
    "qlinearmatmul": ("bias-missing", "truncate", "plus-37", "all-zeros"),
}
"""Chapter → faults of :mod:`tests.support.faults` that its check cells must catch."""

# The first fault of each chapter is tried by `make test`, all of them by .ci/run.
CASES = [
    pytest.param(chapter, fault, marks=[pytest.mark.slow] if number else [])
    for chapter, faults in CHAPTERS.items()
    for number, fault in enumerate(faults)
]


@pytest.mark.parametrize(("chapter", "fault"), CASES)
def test_a_fault_in_the_library_fails_the_chapter(chapter: str, fault: str) -> None:
    path = BOOK / f"{chapter}.md"
    if not path.is_file():
        pytest.fail(f"{path.name} is not there")
    with inject(fault), pytest.raises((AssertionError, BitbybitError)) as caught:
        run(path)
    failed = [entry.lineno + 1 for entry in caught.traceback if entry.path == path]
    checks = [cell for cell in cells(path) if cell.is_check]
    assert failed, "the failure comes from the chapter"
    assert any(cell.line <= failed[0] <= cell.line + cell.source.count("\n") for cell in checks)


def test_there_are_at_least_ten_faults() -> None:
    assert len(CASES) >= 10
