"""Every script explains itself and refuses a wrong call with status 2."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted(
    path.name for path in (Path(__file__).resolve().parents[2] / "scripts").glob("*.py")
)
NEEDS_TORCH = {"train.py"}
EACH = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.torch] if n in NEEDS_TORCH else []) for n in SCRIPTS],
)


def run_script(root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts" / name), *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@EACH
def test_help(name: str, root: Path) -> None:
    done = run_script(root, name, "--help")
    assert done.returncode == 0
    assert done.stdout.lower().startswith("usage:")
    assert done.stderr == ""


@EACH
def test_an_unknown_option_ends_with_status_2(name: str, root: Path) -> None:
    done = run_script(root, name, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.fixture
def pages(root: Path, tmp_path: Path) -> Path:
    """A copy of the server's script beside a built book of one page; returns the root."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "serve_book.py"
    script.write_bytes((root / "scripts" / "serve_book.py").read_bytes())
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("<p>page</p>")
    return tmp_path


def test_a_taken_port_is_one_sentence(pages: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_script(pages, "serve_book.py", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"port {port} cannot be used: ")


def test_an_impossible_port_is_one_sentence(pages: Path) -> None:
    done = run_script(pages, "serve_book.py", "--port", "70000")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_without_a_book_it_says_how_to_build_it(pages: Path) -> None:
    (pages / "_build" / "html" / "index.html").unlink()
    done = run_script(pages, "serve_book.py")
    assert done.returncode == 2
    assert done.stderr == "the book is not built yet. Run: make book\n"
