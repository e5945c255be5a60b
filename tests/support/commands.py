"""Calls of the console command and of scripts: in this process, or in one that is watched."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
DEFECT = 70
"""The exit status of an exception that nobody foresaw."""


@dataclass(frozen=True)
class Done:
    """What a call left behind.

    Attributes
    ----------
    status : the exit status; minus the signal that ended it
    out, err : what it wrote
    seconds : processor time, without the start of the interpreter; 0 if it was not watched
    megabytes : the largest resident set; 0 if it was not watched
    """

    status: int
    out: str
    err: str
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def text(self) -> str:
        """Everything it said."""
        return self.out + self.err


def call(*arguments: object) -> Done:
    """Run ``bitbybit ARGUMENTS`` in this process."""
    from bitbybit.cli import main

    return _here(main, ["bitbybit", *map(str, arguments)])


def script(name: str, *arguments: object) -> Done:
    """Run ``python scripts/NAME ARGUMENTS`` in this process."""
    path = str(ROOT / "scripts" / name)
    with patch.object(sys, "path", [str(ROOT / "scripts"), *sys.path]):
        return _here(
            lambda: runpy.run_path(path, run_name="__main__"), [path, *map(str, arguments)]
        )


def _here(main: Callable[[], object], arguments: list[str]) -> Done:
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as err,
    ):
        status = 0
        with (
            patch.object(sys, "argv", arguments),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as left:
                status = left.code if isinstance(left.code, int) else int(left.code is not None)
            except Exception:  # noqa: BLE001 (what a user would see as a traceback)
                traceback.print_exc()
                status = DEFECT
        out.seek(0)
        err.seek(0)
        return Done(status, out.read(), err.read())


_WATCHED = """
import atexit, json, resource, sys, time
def usage():
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    with open(report, "w") as file:
        json.dump([time.process_time() - started, peak / 1024], file)
report, limit = sys.argv.pop(1), int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
started = time.process_time()
atexit.register(usage)
from bitbybit.cli import main
main()
"""


def watched(*arguments: object, limit: int = 60) -> Done:
    """Run ``bitbybit ARGUMENTS`` as a process of its own, and measure it; for Linux.

    It gets 3 GiB of address space and ``limit`` seconds of processor time: a bomb that goes
    off ends the process, not the machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "usage.json"
        done = subprocess.run(
            [sys.executable, "-c", _WATCHED, str(report), str(limit), *map(str, arguments)],
            capture_output=True, text=True, check=False, errors="replace",
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        usage = json.loads(report.read_text()) if report.exists() else (float(limit), 3072.0)
    return Done(done.returncode, done.stdout, done.stderr, *usage)
