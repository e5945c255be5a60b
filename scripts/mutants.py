"""Change the arithmetic in thousands of places, one at a time, and see that a test fails each time.

The tree is copied to _build/mutants, where mutmut (`pip install mutmut`; `make mutants` does)
makes the mutants and runs the tests of the arithmetic on each. Options of mutmut are in
pyproject.toml. A mutant that no test kills is named; docs/mutants.toml holds the reasons for those
that compute the same. Exit status: 0 if at least 95 % are killed and every survivor has a reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.terminal import Parser, positive_int, run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "mutants"
REASONS = ROOT / "docs" / "mutants.toml"
PARTS = ("src", "tests", "models", "scripts", "pyproject.toml", "README.md")
LOWEST = 0.95


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants, with *; default: all")
    parser.add_argument("--jobs", type=positive_int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    _copy()
    command = ("run", "--max-children", str(arguments.jobs), *arguments.names)
    _mutmut(*command)
    _mutmut("export-cicd-stats")
    found = json.loads((FOLDER / "mutants" / "mutmut-cicd-stats.json").read_text())
    survivors = re.findall(r"(\S+): (?:survived|no tests)", _mutmut("results"))
    return report(found, survivors)


def report(found: dict[str, int], survivors: list[str]) -> int:
    """Print the score and the survivors without a reason; return the exit status."""
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8"))["same"] if REASONS.exists() else {}
    killed = found["killed"] + found.get("timeout", 0) + found.get("suspicious", 0)
    same = [name for name in survivors if name in reasons]
    left = [name for name in survivors if name not in reasons]
    counted = killed + len(left)
    score = killed / counted if counted else 1.0
    print(
        f"{killed} of {counted} mutants killed: {100 * score:.1f} %; {len(same)} compute the same"
    )
    for name in left:
        print(f"\n{name}\n{_mutmut('show', name)}")
    return int(score < LOWEST or bool(left))


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
