"""Setting up the environment: each known failure is one sentence, each interruption is mended.

A stand-in for Python plays the parts: it answers the questions of ``scripts/setup_env.sh``, and
its pip says and does what a test tells it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit ${OLD:-0} ;;
    --version) echo "Python 3.9.9" ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *pip*)
        echo "$*" >>calls
        [ -z "${PIP_SAYS:-}" ] || { echo "$PIP_SAYS"; exit 1; } ;;
esac
"""
TOOLS = ("awk", "cat", "chmod", "cksum", "cp", "df", "dirname", "grep", "head", "mkdir", "rm", "sh")


class Checkout:
    """A folder with a space in its name that holds what the script reads."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder / "a clone"
        self.tools = folder / "bin"
        self.tools.mkdir(parents=True)
        for tool in (*TOOLS, "tail"):
            (self.tools / tool).symlink_to(str(shutil.which(tool)))
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy(root / "scripts" / "setup_env.sh", self.folder / "scripts")
        (self.folder / "requirements.lock").write_text("x==1\n")
        (self.folder / "pyproject.toml").write_text("")
        self.add("python3", FAKE_PYTHON)

    def add(self, name: str, script: str) -> None:
        path = self.tools / name
        path.write_text(script)
        path.chmod(0o755)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "scripts/setup_env.sh"],
            cwd=self.folder, env={"PATH": str(self.tools), **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def fails(self, **environment: str) -> str:
        """Run the script, which must fail, and return the last line that it prints."""
        done = self.setup(**environment)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr.splitlines()[-1]

    def calls(self) -> int:
        """How often pip was called."""
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    return Checkout(tmp_path, root)


def test_it_installs_by_hash_and_then_has_nothing_to_do(checkout: Checkout) -> None:
    assert checkout.setup().returncode == 0
    packages, project = (checkout.folder / "calls").read_text().splitlines()
    assert "--require-hashes --only-binary :all: -r requirements.lock" in packages
    assert "--no-deps --no-build-isolation --editable ." in project
    again = checkout.setup()
    assert (again.returncode, again.stderr, checkout.calls()) == (0, "", 2)


def test_a_new_lock_file_is_installed(checkout: Checkout) -> None:
    checkout.setup()
    (checkout.folder / ".venv" / "kept").touch()
    (checkout.folder / "requirements.lock").write_text("x==2\n")
    assert checkout.setup().returncode == 0
    assert checkout.calls() == 4
    assert (checkout.folder / ".venv" / "kept").exists()


def test_a_moved_checkout_starts_anew(checkout: Checkout) -> None:
    checkout.setup()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert "starting anew" in checkout.setup().stderr
    assert checkout.calls() == 4


def test_python_too_old(checkout: Checkout) -> None:
    sentence = checkout.fails(OLD="1")
    assert "Python 3.11 to 3.14 is needed, but only this was found: Python 3.9.9." in sentence
    assert not (checkout.folder / ".venv").exists()


def test_no_python_at_all(checkout: Checkout) -> None:
    (checkout.tools / "python3").unlink()
    assert "Python 3.11 to 3.14 is needed" in checkout.fails()


def test_a_later_python_on_the_path_is_found(checkout: Checkout) -> None:
    checkout.add("python3", "#!/bin/sh\nexit 1\n")
    checkout.add("python3.12", FAKE_PYTHON)
    assert checkout.setup().returncode == 0


def test_a_named_python_must_fit(checkout: Checkout) -> None:
    assert checkout.fails(PYTHON="/no/python").startswith("PYTHON=/no/python is not a working")


def test_no_venv_module(checkout: Checkout) -> None:
    assert "has no venv module" in checkout.fails(NO_VENV="1")
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", "check the network"),
        ("ReadTimeoutError: Read timed out.", "check the network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE", "is not the one"),
        ("ERROR: something else", "could not be installed: ERROR: something else See"),
    ],
)
def test_pip_fails(checkout: Checkout, said: str, sentence: str) -> None:
    assert sentence in checkout.fails(PIP_SAYS=said)


def test_the_next_run_recovers_from_a_failure(checkout: Checkout) -> None:
    checkout.fails(PIP_SAYS="ERROR: interrupted")
    (checkout.folder / ".venv" / "half").touch()
    done = checkout.setup()
    assert done.returncode == 0
    assert "starting anew" in done.stderr
    assert not (checkout.folder / ".venv" / "half").exists()


def test_a_full_disk_is_seen_before_anything_is_made(checkout: Checkout) -> None:
    (checkout.tools / "df").unlink()
    checkout.add("df", "#!/bin/sh\necho header\necho disk 9 9 102400 9% /\n")
    assert checkout.fails().startswith("There are 100 MB free here")
    assert not (checkout.folder / ".venv").exists()


def test_a_foreign_environment_is_not_touched(checkout: Checkout) -> None:
    foreign = checkout.folder / ".venv" / "file"
    foreign.parent.mkdir()
    foreign.touch()
    assert "was not made by make setup" in checkout.fails()
    assert foreign.exists()
