"""The score of the mutants, as `make mutants` prints it."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PLACE = "bitbybit.arithmetic._one.x_double__mutmut_1"


@pytest.fixture
def script(root: Path, tmp_path: Path) -> dict[str, Any]:
    loaded = runpy.run_path(str(root / "scripts" / "mutants.py"))
    reasons = tmp_path / "mutants.toml"
    reasons.write_text('same = [{function = "_one.double", line = "return x + x", why = "2 x"}]')
    loaded["report"].__globals__["REASONS"] = reasons
    return loaded


def shown(name: str) -> str:
    line = "return x + x" if name == PLACE else "return x - x"
    return f"# {name}\n--- a\n+++ b\n def double(x):\n-    return 2 * x\n+    {line}\n"


@pytest.mark.parametrize(
    ("statuses", "status", "last"),
    [
        ({PLACE: "killed"}, 0, "1 of 1 mutants killed: 100.0 %; 0 compute the same"),
        ({PLACE: "timeout", f"{PLACE}2": "segfault"}, 0, "2 of 2 mutants killed: 100.0 %; 0"),
        ({PLACE: "survived"}, 1, "0 of 1 mutants killed: 0.0 %; 1 compute the same"),
        (
            {PLACE: "survived", **{f"{PLACE}{n}": "killed" for n in range(19)}}, 0,
            "19 of 20 mutants killed: 95.0 %; 1 compute the same (docs/mutants.toml), 0 are not",
        ),
        (
            {f"{PLACE}0": "no tests", **{f"{PLACE}0{n}": "killed" for n in range(99)}}, 1,
            "99 of 100 mutants killed: 99.0 %; 0 compute the same (docs/mutants.toml), 1 are not",
        ),
        (
            {f"{PLACE}0": "not checked", **{f"{PLACE}0{n}": "killed" for n in range(99)}}, 1,
            "0 are not explained, 1 were not run",
        ),
        ({}, 1, "0 of 0 mutants killed"),
    ],
)  # fmt: skip
def test_the_score(
    script: dict[str, Any], statuses: Mapping[str, str], status: int, last: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert script["report"](statuses, shown) == status
    assert last in capsys.readouterr().out.splitlines()[-1]


def test_a_survivor_is_shown_and_counted_by_file(
    script: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = "bitbybit.arithmetic._two.x\u01c1Classǁmethod__mutmut_12"
    script["report"]({PLACE: "killed", other: "survived", f"{other}3": "killed"}, shown)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["_one = [1, 1]", "_two = [1, 2]"]
    assert other in lines
    assert script["_function"](other) == "_two.Class.method"


def test_every_reason_on_record_has_a_place_and_a_sentence(root: Path) -> None:
    reasons = runpy.run_path(str(root / "scripts" / "mutants.py"))["_reasons"]()
    places = {(reason["function"], reason["line"]) for reason in reasons}
    assert len(places) == len(reasons)
    assert all(len(reason["why"].split()) > 3 for reason in reasons)
    sources = root / "src" / "bitbybit" / "arithmetic"
    for function, _ in places:
        module, _, name = function.partition(".")
        name = name.rpartition(".")[2]
        assert f"def {name}(" in (sources / f"{module}.py").read_text(encoding="utf-8")
