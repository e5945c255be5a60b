"""The archive of vectors that a page offers: what the page's command writes, and nothing else."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bitbybit import example, load, samples, trace
from bitbybit.hardware import read_pack
from tests.support.chapters import BOOK

sys.path.insert(0, str(BOOK / "_ext"))

from bitbybit_book import packs  # type: ignore[import-not-found]


@pytest.fixture(scope="module")
def archive(root: Path) -> bytes:
    return bytes(packs.archive(root))


def test_the_archive_is_light_and_a_whole_pack(archive: bytes, tmp_path: Path) -> None:
    assert len(archive) < 300_000
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        file.extractall(tmp_path)
    model = load(example("int8"))
    pack = read_pack(tmp_path / "resnet8-vectors", model)
    kinds = [model.layer(name).kind for name in pack.layers]
    assert kinds == ["conv", "conv", "add", "global_pool", "dense"]
    strided, symmetric = (pack.layer(name)["attributes"] for name in pack.layers[:2])
    assert (strided["strides"], strided["pads"]) == ([2, 2], [0, 0, 1, 1])
    assert (symmetric["strides"], symmetric["pads"]) == ([1, 1], [1, 1, 1, 1])
    ship = trace(model, samples().images[[8]].astype(np.float32))
    for name in pack.layers:
        assert np.array_equal(pack.tensor(name, "y", "real"), ship[name])
        assert "hazard" in pack.layer(name)["vectors"]


def test_the_archive_is_the_same_each_time(archive: bytes, root: Path) -> None:
    assert packs.archive(root) == archive


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_commands_of_the_page_compare_c_with_vectors(root: Path, tmp_path: Path) -> None:
    text = (BOOK / "verify_hardware.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "\ncc " in block)
    program = f"{sys.executable} -m bitbybit"
    block = block.replace("bitbybit ", f"{program} ").replace("models/", f"{root}/models/")
    done = subprocess.run(
        [str(shutil.which("bash")), "-ec", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 runs, \d+ tensors compared, 0 mismatches", done.stdout), done.stdout
    # A vector that is edited is found.
    path = tmp_path / "vectors" / "real" / "stem" / "y.NCHW.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    again = ["./network", "../real", "--compare", "../real"]
    assert subprocess.run(again, cwd=tmp_path / "vectors" / "c", check=False).returncode == 1
