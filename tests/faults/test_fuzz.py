"""A short run of the fuzzing command; a long one is made by hand: scripts/fuzz.py --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="cases are forked and measured on Linux only"
)


@pytest.mark.parametrize("target", ["inspect", "verify", "scripts", "pt", "npz", "networks"])
def test_a_short_run_finds_nothing(target: str, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "scripts" / "fuzz.py"), target]
    options = ["--seed", "11", "--cases", "120", "--keep", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{target}: 120 cases" in done.stdout
