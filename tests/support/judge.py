"""What is wrong with how a case of ``scripts/fuzz.py`` ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked import DEFECT, Ending
from tests.support.written import fault_of_csv, fault_of_json, fault_of_page, steers

SECONDS, MEGABYTES = 20, 1000
LONGEST = 5000
"""Characters of the one line that says what is wrong with an input."""

_DEFECT = "This is a defect of bitbybit, not of your input: "
_READERS: dict[str, Callable[[Path], str]] = {
    ".json": lambda path: fault_of_json(path.read_text(encoding="utf-8")),
    ".csv": lambda path: fault_of_csv(path.read_bytes()),
    ".html": lambda path: fault_of_page(path.read_text(encoding="utf-8")),
    ".svg": lambda path: fault_of_page(path.read_text(encoding="utf-8")),
    ".png": lambda path: "" if path.read_bytes().endswith(b"IEND\xaeB`\x82") else "no PNG",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call, and what must be true of its ending.

    Attributes
    ----------
    function : what to run; returns the exit status
    statuses : the exit statuses that may come
    json : whether it prints JSON, unless the input is bad
    writes : names of the files that it makes, unless the input is bad
    """

    function: Callable[[], int]
    statuses: frozenset[int] = frozenset({0, 2})
    json: bool = False
    writes: tuple[str, ...] = ()


def finding(case: Case, ending: Ending, folder: Path, before: frozenset[str]) -> str:
    """Say what is wrong with an ending; "" if nothing is.

    ``before`` holds the names of the files that were in the case's folder before it ran.
    """
    text, bad = ending.out + ending.err, ending.status == 2
    lines, sentence = ending.err.count("\n"), ending.err.strip().removeprefix(_DEFECT)
    excused = ending.status == 1 and "need not be exact on this CPU" in text
    made = sorted({path.name for path in folder.rglob("*") if path.is_file()} - before)
    for wrong, reason in (
        (
            "Traceback" in text or ending.status == DEFECT,
            f"a defect: {sentence[-800:].partition('. Please report')[0]}",
        ),
        (ending.seconds > SECONDS, f"{ending.seconds:.0f} s"),
        (ending.megabytes > MEGABYTES, f"{ending.megabytes:.0f} MB"),
        ("The memory of this machine" in text, "it asked for more memory than there is"),
        (
            ending.status not in case.statuses and not excused,
            f"status {ending.status}: {text.strip()[-600:]}",
        ),
        (lines != bad, f"{lines} lines on stderr: {sentence[-600:]}"),
        (bad and ending.out, "bad input, and yet it printed something"),
        (len(ending.err) > LONGEST, f"a line of {len(ending.err)} characters"),
        (any(steers(c) for c in text.replace("\n", "")), "a raw control character"),
        (made != ([] if bad else sorted(case.writes)), f"status {ending.status}, wrote {made}"),
        (ending.touched, f"touched: {ending.touched}"),
    ):
        if wrong:
            return str(reason)
    return "" if bad else _fault_of_output(case, ending, folder)


def _fault_of_output(case: Case, ending: Ending, folder: Path) -> str:
    """Read what was printed and written as its readers do."""
    if case.json and (fault := fault_of_json(ending.out)):
        return f"printed {fault}"
    for name in case.writes:
        path = folder / name
        if fault := _READERS[path.suffix](path):
            return f"{name}: {fault}"
    return ""
