"""The check of tracked files finds each thing it is there for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import check_repository


@pytest.fixture
def pattern(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> re.Pattern[str]:
    """The pattern for a checkout in ``tmp_path/project``."""
    monkeypatch.setattr(check_repository, "ROOT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    return check_repository.pattern()


@pytest.mark.parametrize(
    "line",
    [
        "https://" + "pypi." + "org/project/numpy",
        "--index-" + "url = https://example.org",
        "https://example.org/python/" + "simple/",
        "https://example.org/a/numpy-2.0." + "whl",
        '"resolved": "https://example.org/x.' + 'tgz"',
        "data = '/" + "home/someone/data'",
        "see /" + "Users/someone",
    ],
)
def test_a_host_or_a_machine_path_is_found(line: str, pattern: re.Pattern[str]) -> None:
    path = check_repository.ROOT / "file.txt"
    path.write_text(f"first\n{line}\n")
    (found,) = check_repository.findings("file.txt", pattern)
    assert found.startswith("file.txt:2: ")


def test_the_folder_around_the_checkout_is_found(pattern: re.Pattern[str]) -> None:
    (check_repository.ROOT / "file.txt").write_text(f"{check_repository.ROOT.parent}/data\n")
    assert len(check_repository.findings("file.txt", pattern)) == 1


def test_a_huge_file_is_found(pattern: re.Pattern[str]) -> None:
    (check_repository.ROOT / "file.bin").write_bytes(bytes(check_repository.LARGEST + 1))
    assert len(check_repository.findings("file.bin", pattern)) == 1


def test_plain_text_passes(pattern: re.Pattern[str]) -> None:
    (check_repository.ROOT / "file.txt").write_text("https://onnx.ai and ~/home and /tmp/x\n")
    assert check_repository.findings("file.txt", pattern) == []


def test_outside_a_clone_it_says_so(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "scripts" / "check_repository.py"
    script.parent.mkdir()
    script.write_bytes((root / "scripts" / "check_repository.py").read_bytes())
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True, text=True, check=False, env={"GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "git clone" in done.stderr
