"""Compiling what ``c_source`` writes, and running it on files of tensors."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitbybit.cpu import cpu_features
from bitbybit.hardware import c_source
from bitbybit.model.types import QuantizedModel
from tests.support.compilers import COMPILERS

FMA = ("-mfma",) if "fma" in cpu_features() else ()
"""The option that lets a compiler of x86 fuse products and sums."""


def compiled(
    folder: Path, *options: str, compiler: str = "", sources: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Compile the C files of a folder, or others, to ``folder/network`` as ``COMPILE`` says."""
    words = [word for word in c_source.COMPILE.split() if word not in {"cc", "*.c", "-lm"}]
    files = [str(path) for path in sources or sorted(folder.glob("*.c"))]
    command = [compiler or COMPILERS[0], *words, *options, *files, "-lm"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``folder/network`` in its folder."""
    return subprocess.run(
        [str(folder / "network"), *words], cwd=folder, capture_output=True, text=True, check=False
    )


def write_tensors(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write ``NAME.bin`` of each array, little-endian."""
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        array.astype(array.dtype.newbyteorder("<")).tofile(folder / f"{name}.bin")


def network(folder: Path, model: QuantizedModel, *options: str, **how: Any) -> Path:
    """Write and compile a network; return the folder."""
    c_source.write_c(model, folder)
    done = compiled(folder, *options, **how)
    assert (done.returncode, done.stderr) == (0, "")
    return folder
