"""Hand damaged files to every command, and compare random networks with ONNX Runtime.

TARGETs: inspect, verify and scripts take mutated .onnx files; pt takes mutated .pt files; npz takes
mutated inputs and expected outputs; networks draws networks and compares what verify says with
sessions of its own. The corpus is models/ and tests/faults/graphs. Each case is a process forked
from one that has everything imported, with limits on time and memory. A finding is an unforeseen
exception, a wrong exit status, a signal, 20 s of processor time, 1 GB, more or less than one line
on stderr, a raw control character, JSON, CSV or a page that a strict reader refuses, a file left
half-written, missing or written elsewhere, a started process, or a value that differs without a
word. For Linux. Exit status: 0 none found, 1 some.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded, once for all cases
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402

from bitbybit.errors import DataError  # noqa: E402
from bitbybit.terminal import Parser, positive_int, run  # noqa: E402
from tests.support import fuzz_cases  # noqa: E402
from tests.support.forked import Job, run_all  # noqa: E402
from tests.support.judge import SECONDS, Case, finding  # noqa: E402


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
        for key, job, ending in run_all(jobs, logs, at_a_time=arguments.jobs, seconds=SECONDS):
            number, case, before = key
            statuses[ending.status] += 1
            worst, largest = max(worst, ending.seconds), max(largest, ending.megabytes)
            reason = finding(case, ending, job.folder, before)
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


Key = tuple[int, Case, frozenset[str]]
"""A case's number, the case, and the files that it was given."""


def _jobs(target: str, arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Key, Job]]:
    """Yield the cases of a target, and what to do in which folder."""
    place = list(fuzz_cases.TARGETS).index(target)
    for number in range(arguments.first, arguments.first + arguments.cases):
        rng = np.random.default_rng([arguments.seed, place, number])
        own = folder / f"case{number}"
        own.mkdir()
        case = fuzz_cases.TARGETS[target](rng, own)
        before = frozenset(path.name for path in own.iterdir())
        yield (number, case, before), Job(case.function, own)


if __name__ == "__main__":
    run(main)
