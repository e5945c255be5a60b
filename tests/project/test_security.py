"""Each promise of SECURITY.md is held by tests, which are named here and exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZ = "faults/test_fuzz.py::test_a_short_run_finds_nothing"
CASES = "faults/test_cases.py::test_the_right_answer_and_status"
PROMISES = {
    "Nothing in a `.pt` file is executed": [
        "model/test_torch_file.py::test_refuses_every_call_by_name",
        "model/test_torch_file.py::test_the_canary_pickle_would_run_in_an_ordinary_unpickler",
        FUZZ,
    ],
    "CIFAR-10 batches are read with an unpickler": [
        "resnet8/test_cifar10.py::test_a_bad_batch_is_one_sentence"
    ],
    "External data of an ONNX file is read only from the folder": [
        "model/test_hostile_files.py::test_external_data_does_not_leave_the_folder_by_link",
        "model/test_hostile_files.py::test_external_data_inside_the_folder_is_read",
    ],
    "Sizes are checked before memory is allocated": [
        "model/test_hostile_files.py::test_bounds_of_external_data",
        "model/test_torch_file.py::test_refuses_sizes_that_do_not_fit",
        "model/test_torch_file.py::test_a_damaged_pickle_is_a_sentence_and_takes_no_memory",
    ],
    "Reading has a budget": [
        "model/test_budget.py::test_constants_take_no_more_than_eight_files_and_the_budget",
        "model/test_torch_file.py::test_no_small_file_takes_much_memory",
        CASES,
    ],
    "`bitbybit inspect` reads a file and runs nothing of it": ["inspection/test_nothing_runs.py::"],
    "Names and strings from a model are escaped": [
        "inspection/test_hostile.py::test_hostile_names_stay_text",
        "inspection/test_hostile.py::test_a_hostile_file_name_stays_text",
        "inspection/test_hostile.py::test_a_name_is_no_formula_in_a_spreadsheet",
        "book/test_qdq_graph.py::test_names_cannot_leave_their_quotes",
        "package/test_terminal.py::test_a_model_string_cannot_steer_the_terminal",
        CASES,
        FUZZ,
    ],
    "A page of `inspect` loads nothing": [
        "inspection/test_report.py::test_the_page_is_small_and_loads_nothing"
    ],
    "Files are written whole or not at all": [
        "package/test_files.py::test_a_failure_leaves_the_old_file_and_nothing_else",
        "package/test_files.py::test_an_output_is_no_other_file_of_the_command",
        "package/test_endings.py::test_a_signal_leaves_no_half_file",
        FUZZ,
    ],
    "What a process leaves that is killed outright": [
        "package/test_endings.py::test_sigkill_leaves_the_target_whole_and_one_hidden_file"
    ],
    "A link given as output is followed": [
        "package/test_files.py::test_a_link_is_followed_and_stays_a_link",
        "package/test_files.py::test_a_device_is_not_replaced",
        "package/test_files.py::test_nothing_is_written_into_the_folder_of_devices",
    ],
    "What nobody foresaw ends with status 70": [
        "package/test_terminal.py::test_a_defect_has_its_own_status",
        FUZZ,
    ],
}
"""Beginning of a sentence → the tests that hold it, below ``tests``; "" is all of a file."""


def promises() -> list[str]:
    """Return the sentences of the list in SECURITY.md."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    items = re.findall(r"^- (.*?)(?=^- |^\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return [s for item in items for s in re.split(r"(?<=\.) (?=[A-Z`])", " ".join(item.split()))]


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_sentence_has_its_tests() -> None:
    found = [
        [beginning for beginning in PROMISES if sentence.startswith(beginning)]
        for sentence in promises()
    ]
    assert found == [[beginning] for beginning in PROMISES]


@pytest.mark.parametrize("test", sorted({t for tests in PROMISES.values() for t in tests}))
def test_the_tests_exist(test: str) -> None:
    name, _, function = test.partition("::")
    names = functions_of(ROOT / "tests" / name)
    assert function in names if function else any(n.startswith("test_") for n in names)
