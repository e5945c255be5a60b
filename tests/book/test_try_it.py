"""What the chapters invite to try: every change runs to the end, and does what the box says."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.chapters import BOOK, cells

BOX = re.compile(r"^```\{admonition\} Try it\n:class: tip\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGE = re.compile(r"Change `([^`]+)` to `([^`]+)`")
CHAPTERS = (
    "boundary_operations", "exactness", "qlinearconv", "qlinearmatmul", "add_and_pooling",
    "architecture", "parameter_inspection", "accumulators", "dataflow", "contract_in_c",
    "verify_hardware",
    "requantization",
)  # fmt: skip
PIXEL = "ship, channel, row, column = "

# What must hold after the last cell, by what the box puts in: the words of the box, checked.
EXPECTED = {
    "boundary_operations": {
        PIXEL + "1, 5, 0, 0": "(ship, row, column) == (1, 0, 0) and saturated == code == q_reg",
        "np.float32(0.6) * p.scale": "saturated == code + 1",
        "floats[lopsided.argmin()]": "s_sym / s_asy < 1.02",
        "s, z = np.float32(0.25), np.int8(4)": "damage['zero point before rounding'] == 0",
    },
    "exactness": {
        'rounding = "float64"': "sum(exhaustive.values()) > 10 * on_images",
        'bitbybit.example("uint8")': "not default.float_nodes and report.mismatches == 0",
    },
    "qlinearconv": {
        PIXEL + "1, 5, 0, 0": "not products[:, 0].any() and not products[:, :, 0].any()"
        " and code == trace['stem'][1, 5, 0, 0]",
        'layer = per_tensor.layer("stack3.shortcut")': "taps.size == 32"
        " and code_1x1 == trace_pt['stack3.shortcut'][0, channel, 4, 4]",
    },
    "qlinearmatmul": {
        "ship, label = 3, 0": "code == trace['dense'][3, 0]",
        "most = min(31, b.qmax - z_b, z_b - b.qmin)": "len(extra) > 3"
        " and np.array_equal(rewritten, whole)",
        'model = bitbybit.load(bitbybit.example("uint8"))': "whole.dtype == np.uint8"
        " and np.array_equal(rewritten, whole) and np.array_equal(as_conv[:, :, 0, 0], whole)"
        " and np.array_equal(as_chain, whole)",
    },
    "add_and_pooling": {
        PIXEL + "3, 9, 0, 0": "code == trace['stack1.add'][3, 9, 0, 0]",
        "(f(0.031), f(0.053), f(0.107))": "round_wrong < 20",
        "(20, 24, 28)": "max(max(row[1:4]) for row in adder_rows[2:]) < 5",
        "(49, f(0.0413), f(0.0619))": "max(row[2] for row in pool_rows[:3]) == 0",
    },
    "architecture": {
        PIXEL + "1, 5, 31, 31": "code == trace['stem'][1, 5, 31, 31]",
        "len(layer.bias.values))[4:8]": "all(sum(row[k] for row in rounding) > 0 for k in (2, 3))",
    },
    "requantization": {
        "integer_multiplier(real_factor, bits=4)": "q < 16 and abs(code"
        " - int(trace[layer.name][ship, channel, row, column])) <= 1",
        'swept = hardware.differences(bitbybit.load(bitbybit.example("uint8")))': "len(equal) == 5",
    },
    "accumulators": {
        PIXEL + "2, 7, 5, 6": "attained == highest and channel == 7",
        "for width in (17, 16):": "wrap_reg == sat_reg == acc",
        "limit, pair_rows, layers = 2**16 - 1": "sum(hit for _, hit, _ in pair_rows) == 0",
    },
    "verify_hardware": {
        'row, column, channel, lanes = 0, 0, 3, copy["lanes"]': "code == np.rint(scaled) + pad_code"
        " and code == -125 and total == pack.tensor(name, 'sum', 'real')[0, 3, 0, 0]",
        "rate, count, confidence = 0.01, 200, 0.95": "missed < 0.5",
    },
    "parameter_inspection": {
        "channel = 10": "abs(code - zero - value / scale) < 3",
        'forms = ("uint8", "float", "int8")': "w.scale.size == 1 and w.zero_point != 0",
        "for count in (2, 5, 10):": "lost[0] < 9 and lost[-1] == 0",
    },
    "dataflow": {
        'small = model.layer("stack2.conv2"), hardware.Array(24, 16)': "row_tiles == 12"
        " and conv2.occupancy == 1 and cycles == conv2.cycles == conv2.load_cycles + 12 * 2 * 256",
        "bits = 20": "converter.step == 1 and np.array_equal(told, column_sums)",
    },
    "contract_in_c": {
        PIXEL
        + "1, 5, 0, 0": "(ship, row) == (1, 0) and result == code == trace['stem'][1, 5, 0, 0]",
    },
}


@dataclass(frozen=True)
class Change:
    """One change that a box proposes."""

    page: str
    old: str
    new: str


def changes(page: str) -> list[Change]:
    """Return the changes that a chapter's boxes propose, in order."""
    boxes = BOX.findall((BOOK / f"{page}.md").read_text(encoding="utf-8"))
    return [Change(page, old, new) for box in boxes for old, new in CHANGE.findall(box)]


ALL = [change for page in CHAPTERS for change in changes(page)]


def test_each_box_is_expected_to_do_something() -> None:
    assert {page: list(expected) for page, expected in EXPECTED.items()} == {
        page: [change.new for change in changes(page)] for page in CHAPTERS
    }


@pytest.mark.parametrize("change", ALL, ids=lambda change: f"{change.page}: {change.new}")
def test_the_line_to_change_is_there(change: Change) -> None:
    sources = [cell.source for cell in cells(BOOK / f"{change.page}.md")]
    assert [source.count(change.old) for source in sources if change.old in source] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("change", ALL, ids=lambda change: f"{change.page}: {change.new}")
def test_a_chapter_runs_with_the_change_and_does_what_the_box_says(change: Change) -> None:
    names = {"__name__": "__main__"}
    for cell in cells(BOOK / f"{change.page}.md"):
        source = "\n" * (cell.line - 1) + cell.source.replace(change.old, change.new)
        exec(compile(source, f"{change.page}.md", "exec"), names)  # noqa: S102 - our own chapter
    expected = EXPECTED[change.page][change.new]
    assert eval(expected, names | {"np": np}), expected  # noqa: S307 - written above
