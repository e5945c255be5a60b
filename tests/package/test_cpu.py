"""CPU features, as the systems report them, and what follows for the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bitbybit import cpu as module

X86 = {"AVX2", "FMA"}


class CPU:
    """Pretends to be another machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def becomes(self, machine: str, features: set[str]) -> None:
        self._patch.setattr(module, "machine", lambda: machine)
        self._patch.setattr(module, "cpu_features", lambda: frozenset(features))


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> CPU:
    return CPU(monkeypatch)


@pytest.mark.parametrize(
    ("machine", "features", "s8s8", "u8u8", "u8s8"),
    [
        ("x86-64", X86, True, True, False),
        ("x86-64", X86 | {"AVX-512", "AVX-512-VNNI"}, True, True, True),
        ("x86-64", X86 | {"AVX-VNNI"}, True, True, True),
        ("x86-64", X86 | {"AVX-512"}, True, True, False),
        ("x86-64", {"AVX2"}, False, False, False),
        ("ARM64", {"dotprod"}, False, False, False),
    ],
)
def test_the_contract_platform(
    cpu: CPU, machine: str, features: set[str], s8s8: bool, u8u8: bool, u8s8: bool
) -> None:
    cpu.becomes(machine, features)
    assert module.is_contract_platform() is s8s8
    assert module.is_contract_platform("uint8") is u8u8
    assert module.is_contract_platform("uint8", "int8") is u8s8


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("processor\t: 0\nflags\t\t: fpu fma avx2 avx512f avx512_vnni avx_vnni\nflags\t: none\n",
         {"AVX2", "FMA", "AVX-512", "AVX-512-VNNI", "AVX-VNNI"}),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", {"dotprod"}),
        ("no such line\n", set()),
    ],
)  # fmt: skip
def test_linux(
    text: str, features: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "Path", lambda _: cpuinfo)
    assert module.cpu_features.__wrapped__() == features


def test_linux_without_proc(tmp_path: Path) -> None:
    assert module._linux_flags(tmp_path / "missing") == set()


@pytest.mark.parametrize(
    ("output", "features"),
    [
        ("machdep.cpu.features: FPU FMA\nmachdep.cpu.leaf7_features: AVX2 AVX512F\n",
         {"FMA", "AVX2", "AVX-512"}),
        ("hw.optional.arm.FEAT_DotProd: 1\nhw.optional.avx2_0: 0\n", {"dotprod"}),
        ("hw.optional.arm.FEAT_DotProd: 0\n", set()),
    ],
)  # fmt: skip
def test_macos(output: str, features: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def sysctl(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, stdout=output)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", sysctl)
    assert module.cpu_features.__wrapped__() == features
