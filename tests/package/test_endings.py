"""How a command ends when its streams, its encoding or its time do: as its users meet it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitbybit.files import atomic_write_text
from bitbybit.resnet8.examples import example

COMMAND = f"{shlex.quote(sys.executable)} -m bitbybit"
WRITER = """
import sys, time
from pathlib import Path
from bitbybit.files import atomic_write
from bitbybit.terminal import run

def write(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)

run(lambda: atomic_write(Path(sys.argv[1]), write))
"""


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=False, cwd=folder,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_status(tmp_path: Path, streams: str) -> None:
    table = tmp_path / "table.csv"
    good = shell(f"{COMMAND} inspect {example('int8')} --csv {table} {streams}", tmp_path)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert table.read_text().startswith("layer,")
    bad = shell(f"{COMMAND} inspect absent.onnx {streams}", tmp_path)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert ("absent.onnx" in bad.stderr) is ("2>" not in streams)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_closed_stdout_is_no_mismatch(tmp_path: Path) -> None:
    done = shell(f"{COMMAND} verify {example('int8')} --images 1 --quick >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_is_neither_defect_nor_mismatch() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*shlex.split(COMMAND), "inspect", str(example("int8")), "--json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence(tmp_path: Path) -> None:
    done = shell(f"{COMMAND} doctor > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (2, "No space left on device.\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_name_can_be_printed(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "größe層.onnx").write_bytes(example("int8").read_bytes())
    for line, status in (("inspect größe層.onnx", 0), ("inspect absent層.onnx", 2)):
        done = subprocess.run(
            [*shlex.split(COMMAND), *line.split()], cwd=tmp_path, check=False, capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        shown = (done.stderr if status else done.stdout).decode(encoding)
        assert ("層" if encoding == "utf-8" else "\\u5c64") in shown
        assert "Traceback" not in done.stderr.decode(encoding)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_half_file(tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (128 + number, "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_sigkill_leaves_the_target_whole_and_one_hidden_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate(timeout=30)
    left, kept = sorted(path.name for path in tmp_path.iterdir())
    assert (re.fullmatch(r"\.a\.txt\..+\.partial\.txt", left) is not None, kept) == (True, "a.txt")
    assert target.read_text() == "old"
    atomic_write_text(target, "new")  # and the next run neither reads nor misses it
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [left, kept]


def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    program = "import os, signal; from bitbybit.terminal import run\n"
    program += "run(lambda: os.kill(os.getpid(), signal.SIGHUP))"
    done = shell(f"trap '' HUP; {shlex.quote(sys.executable)} -c {shlex.quote(program)}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_ctrl_c_at_any_time_is_130_without_a_traceback(tmp_path: Path) -> None:
    """Placed every 20 ms; until the package's first lines have set the signal, Python answers."""
    ours = re.compile(r"/(src|site-packages)/bitbybit/(?!__(init|main)__\.py)")
    endings = set()
    for step in range(3, 60):
        process = subprocess.Popen(
            [*shlex.split(COMMAND), "inspect", str(example("int8"))], cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(0.02 * step)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        if ours.search(error) or "Traceback" not in error:
            endings.add((process.returncode, error))
    endings.discard((-signal.SIGINT, ""))  # before the first frame
    assert endings <= {(130, ""), (0, "")}
