"""The judge of the fuzzing command finds what it is there to find."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import judge
from tests.support.forked import Ending, Job, run_all
from tests.support.judge import Case, finding
from tests.support.written import fault_of_csv, fault_of_json, fault_of_page

PAGE = "<!doctype html><title>x</title><a href='#a'>a</a><script>1</script></html>\n"


def prints(text: str, *, status: int = 0, error: str = "") -> Callable[[], int]:
    """Return a case that says this."""

    def function() -> int:
        sys.stdout.write(text)
        sys.stderr.write(error)
        return status

    return function


def writes(name: str, text: str, *, status: int = 0) -> Callable[[], int]:
    """Return a case that makes this file."""

    def function() -> int:
        Path(name).write_text(text, encoding="utf-8", newline="")
        sys.stderr.write("a sentence.\n" * (status == 2))
        return status

    return function


def fails() -> int:
    raise ZeroDivisionError("nobody foresaw this")


def computes() -> int:
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    return 0


def takes_memory() -> int:
    return int(bytearray(b"x") * (150 << 20) == b"")


def dies() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def starts_a_process() -> int:
    return os.system("true")  # noqa: S605, S607 (what must be found)


def writes_elsewhere() -> int:
    try:
        Path("/no such folder/x").open("w")  # noqa: SIM115
    except OSError:
        return 0
    return 1


def opens_nothing() -> int:
    return 0


JSON, CSV, HTML = {"json": True}, {"writes": ("o.csv",)}, {"writes": ("o.html",)}
FAULTS = {
    "traceback": (fails, {}, "a defect"),
    "defect": (prints("", status=70, error="a defect\n"), {}, "a defect"),
    "status": (prints("", status=1), {}, "status 1"),
    "mismatch elsewhere": (prints("", status=3), {}, "status 3"),
    "killed": (dies, {}, "status -9"),
    "time": (computes, {}, r"\d s"),
    "memory": (takes_memory, {}, r"\d+ MB"),
    "no memory": (prints("The memory of this machine does not"), {}, "more memory"),
    "two lines": (prints("", status=2, error="one\ntwo\n"), {}, "2 lines on stderr"),
    "no sentence": (opens_nothing, {"statuses": frozenset({2})}, "status 0"),
    "a warning": (prints("good", error="RuntimeWarning\n"), {}, "1 lines on stderr"),
    "long line": (prints("", status=2, error="x" * 6000 + "\n"), {}, "a line of"),
    "half an answer": (prints("x", status=2, error="bad.\n"), {}, "printed something"),
    "escape": (prints("\x1b[2J"), {}, "control character"),
    "turned text": (prints("\u202e"), {}, "control character"),
    "process": (starts_a_process, {}, "os.system"),
    "elsewhere": (writes_elsewhere, {}, "no such folder"),
    "partial": (writes(".o.csv.x.partial.csv", ""), {}, "partial"),
    "missing": (opens_nothing, CSV, r"wrote \[\]"),
    "bad and written": (writes("o.csv", "a\nb\n", status=2), CSV, "status 2, wrote"),
    "NaN": (prints('{"a": NaN}'), JSON, "NaN"),
    "Infinity": (prints('{"a": -Infinity}'), JSON, "Infinity"),
    "no JSON": (prints("layers: 3"), JSON, "no JSON"),
    "half JSON": (prints('{"a": 1'), JSON, "no JSON"),
    "formula": (writes("o.csv", "a,b\n1,=1+1\n"), CSV, "a formula"),
    "page": (writes("o.html", PAGE.replace("#a", "https://example.org/")), HTML, "it leads to"),
}


def ending_of(function: Callable[[], int], folder: Path) -> Ending:
    """Run a case as the fuzzing command does."""
    (folder / "logs").mkdir()
    (folder / "case").mkdir()
    jobs = [(None, Job(function, folder / "case"))]
    ((_, _, ending),) = run_all(jobs, folder / "logs", at_a_time=1, seconds=20)
    return ending


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cases are forked on Linux only")
@pytest.mark.parametrize("name", FAULTS)
def test_the_judge_finds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function, promises, reason = FAULTS[name]
    if name == "time":
        monkeypatch.setattr(judge, "SECONDS", 0.3)
    if name == "memory":
        status = Path("/proc/self/status").read_text()  # a fork shares no pages of files
        own = int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])  # type: ignore[index]
        monkeypatch.setattr(judge, "MEGABYTES", 100 + own // 2**10)
    case = Case(function=function, **promises)  # type: ignore[arg-type]
    found = finding(case, ending_of(function, tmp_path), tmp_path / "case", frozenset())
    assert re.search(reason, found), found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cases are forked on Linux only")
@pytest.mark.parametrize(
    "case",
    [
        Case(function=prints('{"a": null}'), json=True),
        Case(function=writes("o.csv", "a,b\n-1,'=1\n"), writes=("o.csv",)),
        Case(function=writes("o.html", PAGE), writes=("o.html",)),
        Case(function=prints("", status=2, error="no such file.\n")),
        Case(function=lambda: 3, statuses=frozenset({3})),
    ],
)
def test_the_judge_lets_pass(case: Case, tmp_path: Path) -> None:
    ending = ending_of(case.function, tmp_path)
    assert finding(case, ending, tmp_path / "case", frozenset()) == ""


@pytest.mark.parametrize("text", ["NaN", "", "{", '{"a": 1, "a": 2}', '"\\ud800"', "1 2", "[1,]"])
def test_what_is_no_json(text: str) -> None:
    assert fault_of_json(text).startswith("no JSON")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"a,b\n", b"a,b\n1\n", b"a,b\n1,=1\n", b"a,b\n1,\t+1\n", b"a,b\n1,-x\n", b"a\n\xff\n",
        b"a,b\n1,@x\n", b"a,b\n\x1b,1\n", b"a,b\nx\r=1+1,1\n", "a,b\n\u202e,1\n".encode(),
    ],
)  # fmt: skip
def test_what_is_no_safe_csv(data: bytes) -> None:
    assert fault_of_csv(data)
    assert fault_of_csv(b'a,b\r\n"x, y",-1e-05\r\n') == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</html>", ""), ("<title>", "<script></script><title>"), ("<a ", "<a onclick='x' "),
        ("#a", "javascript:x"), ("#a", "//example.org"), ("<a ", "<iframe><a "), ("a<", "\u2066<"),
        ("<a ", "<p id='a'></p><p id='a'></p><a "), ("<a ", "<img src='http://x/y.png'><a "),
    ],
)  # fmt: skip
def test_what_is_no_safe_page(old: str, new: str) -> None:
    assert fault_of_page(PAGE) == ""
    assert fault_of_page(PAGE.replace(old, new))
