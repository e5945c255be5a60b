"""A network of 500 layers and 20 million weights: its report stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.large import BLOCKS, large

pytestmark = pytest.mark.slow

PROGRAM = """
import resource, sys
from pathlib import Path
from bitbybit.inspection import examine
from bitbybit.pictures.inspection_page import page
found = examine(sys.argv[1])
Path(sys.argv[2]).write_text(page(found))
print(len(found.layers), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_report_of_a_large_network(tmp_path: Path) -> None:
    model, page = large(tmp_path), tmp_path / "out.html"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(page)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    layers, used = map(int, done.stdout.split())
    kibibytes = used // 1024 if sys.platform == "darwin" else used
    assert layers == 3 * BLOCKS + 6
    assert kibibytes < 1 << 20  # half of the two gigabytes that are allowed
    text = page.read_text(encoding="utf-8")
    assert len(text) < 15_000_000
    assert text.count("<section ") == layers
    assert "inputs</bdi></th><td><bdi>none" in text
