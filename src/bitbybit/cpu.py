"""Which CPU this is, as far as it changes integer results of ONNX Runtime.

The contract platform is x86-64 with AVX2 and FMA. There ONNX Runtime computes QLinearAdd with
fused multiply-adds and keeps 8-bit products of S8S8 and U8U8 whole. U8S8 (uint8 activations,
int8 weights) needs VNNI as well: without it ``vpmaddubsw`` saturates the sum of two products
to int16.
"""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from pathlib import Path

_FEATURE_OF_FLAG = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "asimddp": "dotprod",
    # macOS: `sysctl -a` names
    "avx512vnni": "AVX-512-VNNI",
    "feat_dotprod": "dotprod",
}
_ARCHITECTURE = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "ARM64", "arm64": "ARM64"}


def machine() -> str:
    """Return the architecture under one name everywhere: "x86-64", "ARM64" or the system's own."""
    name = platform.machine()
    return _ARCHITECTURE.get(name.lower(), name)


@functools.cache
def cpu_features() -> frozenset[str]:
    """Return the CPU features that change integer results.

    Returns
    -------
    frozenset of str
        Those present among "AVX2", "FMA", "AVX-512", "AVX-512-VNNI", "AVX-VNNI" (x86-64) and
        "dotprod" (ARM64), as the operating system reports them.
    """
    flags = _macos_flags() if sys.platform == "darwin" else _linux_flags(Path("/proc/cpuinfo"))
    return frozenset(_FEATURE_OF_FLAG[flag] for flag in flags if flag in _FEATURE_OF_FLAG)


def is_contract_platform(activation: str = "int8", weight: str | None = None) -> bool:
    """Return whether ONNX Runtime on this CPU must equal the engine bit for bit.

    Parameters
    ----------
    activation, weight
        Integer types, "int8" or "uint8"; ``weight`` is by default the type of the activations.
        Only uint8 activations with int8 weights need more than AVX2 and FMA.
    """
    features = cpu_features()
    if machine() != "x86-64" or not {"AVX2", "FMA"} <= features:
        return False
    mixed = activation == "uint8" and weight == "int8"
    return not mixed or bool(features & {"AVX-512-VNNI", "AVX-VNNI"})


def _linux_flags(cpuinfo: Path) -> set[str]:
    """Read the flags of the first CPU: the line is called "flags" on x86, "Features" on ARM."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def _macos_flags() -> set[str]:
    """Ask ``sysctl``: names of x86 features, and of ARM features whose value is 1."""
    try:
        names = ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]
        output = subprocess.run(names, capture_output=True, text=True, check=False).stdout  # noqa: S603 (a fixed command)
    except OSError:
        return set()
    flags: set[str] = set()
    for line in output.lower().splitlines():
        key, _, value = line.partition(":")
        if key.startswith("machdep.cpu.") and key.endswith("features"):
            flags.update(value.split())
        elif value.strip() == "1":
            flags.add(key.rpartition(".")[2])
    return flags
