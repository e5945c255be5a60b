"""Hand damaged files to every command, and compare random networks with ONNX Runtime.

TARGETs: inspect, verify and scripts take mutated .onnx files; pt takes mutated .pt files; npz takes
mutated inputs and expected outputs; networks draws networks and compares what verify says with
sessions of its own. The corpus is models/ and tests/faults/graphs. Each case is a process forked
from one that has everything imported, with limits on time and memory. A finding is an unforeseen
exception, a wrong exit status, a signal, a limit reached, more or less than one line on stderr, a
raw control character, a file left half-written or written elsewhere, a started process, or a value
that differs without a word. For Linux. Exit status: 0 none found, 1 some.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded, once for all cases
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402

from bitbybit.errors import DataError  # noqa: E402
from bitbybit.terminal import Parser, positive_int, run  # noqa: E402
from tests.support import fuzz_cases  # noqa: E402
from tests.support.forked import Ending, Job, run_all  # noqa: E402

SECONDS, MEGABYTES = 20, 1000
RIGHT = {"verify": {0, 2, 3}, "npz": {0, 1, 2, 3}, "networks": {0}}
"""Exit statuses of a target, if not 0 or 2: a damaged file makes no mismatch of its own."""


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--cases", type=positive_int, default=100, help="of each (default: 100)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=positive_int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--keep", type=Path, help="folder for the files of the findings")
    arguments = parser.parse_args()
    wanted = arguments.targets or list(fuzz_cases.TARGETS)
    for target in wanted:
        if target not in fuzz_cases.TARGETS:
            raise DataError(
                "there is no such target",
                where="targets",
                expected=", ".join(fuzz_cases.TARGETS),
                found=target,
                next_step="Name one of these, or none for all.",
            )
    fuzz_cases.preload()
    total = sum(fuzz(target, arguments) for target in wanted)
    print(f"seed {arguments.seed}: {total} findings")
    return 1 if total else 0


def fuzz(target: str, arguments: argparse.Namespace) -> int:
    """Run the cases of one target; print and count what was found."""
    statuses: Counter[int] = Counter()
    worst, largest, findings, started = 0.0, 0.0, 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        logs = Path(folder, "logs")
        logs.mkdir()
        jobs = _jobs(target, arguments, Path(folder))
        for number, job, ending in run_all(jobs, logs, at_a_time=arguments.jobs, seconds=SECONDS):
            statuses[ending.status] += 1
            worst, largest = max(worst, ending.seconds), max(largest, ending.megabytes)
            reason = finding(target, ending, job.folder)
            if reason:
                findings += 1
                print(f"{target} --seed {arguments.seed} --first {number}: {reason}", flush=True)
                if arguments.keep:
                    kept = arguments.keep / f"{target}-{arguments.seed}-{number}"
                    shutil.copytree(job.folder, kept, dirs_exist_ok=True)
            shutil.rmtree(job.folder)
            shutil.rmtree(logs / job.folder.name)
    ends = " ".join(f"{status}:{cases}" for status, cases in sorted(statuses.items()))
    print(
        f"{target}: {statuses.total()} cases in {time.monotonic() - started:.0f} s, statuses "
        f"{ends}, at most {worst:.1f} s and {largest:.0f} MB, {findings} findings",
        flush=True,
    )
    return findings


def _jobs(target: str, arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[int, Job]]:
    """Yield the cases of a target: number, and what to do in which folder."""
    place = list(fuzz_cases.TARGETS).index(target)
    for number in range(arguments.first, arguments.first + arguments.cases):
        rng = np.random.default_rng([arguments.seed, place, number])
        own = folder / f"case{number}"
        own.mkdir()
        yield number, Job(fuzz_cases.TARGETS[target](rng, own), own)


def finding(target: str, ending: Ending, folder: Path) -> str:
    """Say what is wrong with an ending; "" if nothing is."""
    text = ending.out + ending.err
    lines = ending.err.count("\n")
    reported = ending.err.strip().removeprefix("This is a defect of bitbybit, not of your input: ")
    partial = [path.name for path in folder.rglob("*.partial*")]
    excused = ending.status == 1 and "need not be exact on this CPU" in text
    for wrong, reason in (
        (
            "Traceback" in text or ending.status == 70,
            f"a defect: {reported[-800:].partition('. Please report')[0]}",
        ),
        (ending.seconds > SECONDS, f"{ending.seconds:.0f} s"),
        (ending.megabytes > MEGABYTES, f"{ending.megabytes:.0f} MB"),
        (
            ending.status not in RIGHT.get(target, {0, 2}) and not excused,
            f"status {ending.status}: {text.strip()[-600:]}",
        ),
        (lines != (ending.status == 2), f"{lines} lines on stderr: {reported[-600:]}"),
        (ending.status == 2 and ending.out, "bad input, and yet it printed something"),
        (any(steers(character) for character in text), "a raw control character"),
        (partial, f"left half-written: {partial}"),
        (ending.touched, f"touched: {ending.touched}"),
    ):
        if wrong:
            return str(reason)
    return ""


def steers(character: str) -> bool:
    """Whether a character could steer a terminal."""
    return character != "\n" and unicodedata.category(character) in {"Cc", "Cf", "Cs"}


if __name__ == "__main__":
    run(main)
