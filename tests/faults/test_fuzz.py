"""Short runs of the fuzzing command; a long one is made by hand: scripts/fuzz.py --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="cases are forked and measured on Linux only"
)


TARGETS = ("inspect", "verify", "scripts", "pt", "npz", "networks")


@pytest.mark.parametrize("cases", [25, pytest.param(120, marks=pytest.mark.slow)])
def test_a_short_run_finds_nothing(cases: int, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "scripts" / "fuzz.py"), *TARGETS]
    options = ["--seed", "11", "--cases", str(cases), "--keep", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in TARGETS:
        assert f"{target}: {cases} cases" in done.stdout
