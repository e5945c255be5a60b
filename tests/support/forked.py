"""Functions in processes forked from this one, with limits, and watched for what they touch."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

DEFECT = 70
LOGS = ("out", "err", "audit")
_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn",
    "socket.connect", "socket.bind", "urllib.Request", "ctypes.dlopen",
)  # fmt: skip
"""Audit events that no case may cause."""


@dataclass(frozen=True)
class Job:
    """A function, and the folder that it may write into."""

    function: Callable[[], int]
    folder: Path


@dataclass(frozen=True)
class Ending:
    """How a job ended: exit status or minus the signal, cost, texts, and what it touched."""

    status: int
    seconds: float
    megabytes: float
    out: str
    err: str
    touched: str


@dataclass(frozen=True)
class _Running:
    key: Any
    job: Job
    logs: Path
    pid: int
    started: float


def run_all(
    jobs: Iterable[tuple[Any, Job]], logs: Path, *, at_a_time: int, seconds: int
) -> Iterator[tuple[Any, Job, Ending]]:
    """Yield each job with its key and its ending, in the order in which they end."""
    running: dict[int, _Running] = {}
    todo = iter(jobs)
    while True:
        for key, job in islice(todo, at_a_time - len(running)):
            started = _start(key, job, logs)
            running[os.pidfd_open(started.pid)] = started
        if not running:
            return
        ready = select.select(list(running), [], [], 1)[0]
        for descriptor, case in list(running.items()):
            late = time.monotonic() - case.started > 3 * seconds  # this machine may be busy
            if late:
                os.kill(case.pid, signal.SIGKILL)
            if late or descriptor in ready:
                del running[descriptor]
                os.close(descriptor)
                yield case.key, case.job, _end(case)


def _start(key: Any, job: Job, logs: Path) -> _Running:
    own = logs / job.folder.name
    own.mkdir()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_child(job, own))
    return _Running(key, job, own, pid, time.monotonic())


def _child(job: Job, logs: Path) -> int:
    """Run the job; whatever happens, return an exit status."""
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(logs / name, os.O_WRONLY | os.O_CREAT), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        os.chdir(job.folder)
        audit = os.open(logs / "audit", os.O_WRONLY | os.O_CREAT)
        sys.addaudithook(_auditor(job.folder, audit))
        status = job.function()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (a finding)
        traceback.print_exc()
        status = DEFECT
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


def _auditor(folder: Path, report: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook that writes down what is started, or opened for writing elsewhere."""
    temporary = tempfile.gettempdir()
    allowed = (str(folder), f"{temporary}/tmp", "/dev/null", "/dev/shm", "/proc/self")  # noqa: S108

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            os.write(report, f"{event} {arguments!r:.200}\n".encode())
        elif event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str):
                full = os.path.join(folder, path)  # noqa: PTH118 (as it is, links and all)
                if not full.startswith(allowed) and full != temporary:
                    os.write(report, f"open for writing {path!r:.200}\n".encode())

    return hook


def _end(running: _Running) -> Ending:
    _, status, usage = os.wait4(running.pid, 0)
    out, err, touched = (_text(running.logs / name) for name in LOGS)
    return Ending(
        status=os.waitstatus_to_exitcode(status),
        seconds=usage.ru_utime + usage.ru_stime,
        megabytes=usage.ru_maxrss / 1024,
        out=out,
        err=err,
        touched=touched,
    )


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "backslashreplace") if path.exists() else ""
