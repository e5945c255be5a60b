"""Change the arithmetic in thousands of places, one at a time, and see that a test fails each time.

The tree is copied to _build/mutants, where mutmut (`pip install mutmut`; `make mutants` does)
makes the mutants and runs the tests of the arithmetic on each; what a stopped run found is kept.
Options of mutmut are in pyproject.toml. A mutant that no test kills is shown; docs/mutants.toml
holds the reasons for those that compute the same, and the score on record. Exit status: 0 if at
least 95 % are killed and every survivor has a reason.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.terminal import Parser, positive_int, run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "mutants"
REASONS = ROOT / "docs" / "mutants.toml"
PARTS = ("src", "tests", "models", "scripts", "pyproject.toml", "README.md")
LOWEST = 0.95
ALIVE = ("survived", "no tests")
UNKNOWN = ("not checked", "check was interrupted by user", "skipped")


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants, with *; default: all")
    parser.add_argument("--jobs", type=positive_int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    _copy()
    _mutmut("run", "--max-children", str(arguments.jobs), *arguments.names)
    found = dict(re.findall(r"(\S+__mutmut_\d+): (.+)", _mutmut("results", "--all", "true")))
    wanted = arguments.names or ["*"]
    chosen = {n: s for n, s in found.items() if any(fnmatch.fnmatch(n, w) for w in wanted)}
    return report(chosen, lambda name: _mutmut("show", name))


def report(statuses: Mapping[str, str], show: Callable[[str], str]) -> int:
    """Print the score by file, and the survivors without a reason; return the exit status.

    Parameters
    ----------
    statuses
        Mutant → what mutmut says of it. A mutant that ends the process, or never ends, is killed.
    show
        Mutant → its difference from the source.
    """
    reasons = {_place(e["function"], e["line"]) for e in _reasons()}
    totals = Counter(name.split(".")[-2] for name in statuses)
    alive = [name for name, status in statuses.items() if status in ALIVE]
    unknown = [name for name, status in statuses.items() if status in UNKNOWN]
    lost = Counter(name.split(".")[-2] for name in (*alive, *unknown))
    for module, total in sorted(totals.items()):
        print(f"{module} = [{total - lost[module]}, {total}]")
    left = []
    for name in alive:
        difference = show(name)
        changed = [line[1:] for line in difference.splitlines() if re.match(r"\+(?!\+\+)", line)]
        if _place(_function(name), " ".join(changed)) not in reasons:
            left.append(name)
            print(f"\n{name}\n{difference}")
    total = len(statuses)
    killed = total - len(alive) - len(unknown)
    score = killed / max(total, 1)
    print(
        f"{killed} of {total} mutants killed: {100 * score:.1f} %; {len(alive) - len(left)} "
        f"compute the same (docs/mutants.toml), {len(left)} are not explained, "
        f"{len(unknown)} were not run"
    )
    return int(score < LOWEST or bool(left) or bool(unknown))


def _reasons() -> list[dict[str, str]]:
    text = REASONS.read_text(encoding="utf-8") if REASONS.exists() else ""
    return list(tomllib.loads(text).get("same", []))


def _place(function: str, line: str) -> tuple[str, str]:
    """Name a mutant by its function and its changed lines: its number changes with the code."""
    return function, " ".join(line.split())


def _function(name: str) -> str:
    """Return module and function of ``...arithmetic._fast.xǁFastConvǁ_taps__mutmut_1``."""
    module, _, mangled = name.rpartition("__mutmut_")[0].rpartition(".")
    plain = mangled.removeprefix("xǁ").replace("ǁ", ".").removeprefix("x_")
    return f"{module.rpartition('.')[2]}.{plain}"


def _copy() -> None:
    """Copy what the tests of the arithmetic need; what mutmut knows already stays."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source, target = ROOT / part, FOLDER / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "graphs")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy2(source, target)


def _mutmut(*arguments: str) -> str:
    """Run mutmut in the copy, with few examples for each property; return what it prints."""
    settings = {"HYPOTHESIS_PROFILE": "mutants", "PYTHONPATH": "", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 (our own Python, with names of mutants)
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=FOLDER, env=os.environ | settings, check=False, text=True, errors="replace",
        stdout=None if arguments[0] == "run" else subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if "No module named mutmut" in (done.stdout or ""):
        raise EnvironmentProblem(
            "mutmut is not installed", where=sys.executable, next_step="Run: make mutants"
        )
    return done.stdout or ""


if __name__ == "__main__":
    run(main)
