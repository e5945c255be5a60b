"""What every test shares: hypothesis profiles, and skips where an optional part is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Before NumPy is loaded: more threads for small products, in each of the processes that test beside
# each other, wait for each other and take several times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support import browser, pages
from tests.support.compilers import COMPILERS

ROOT = Path(__file__).resolve().parent.parent

# No deadline: a time limit would fail on a busy machine. CI is derandomized: the same commit
# gives the same verdict; developers search new examples in every run.
settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
settings.register_profile(
    "thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
# A mutation run asks each test thousands of times: few examples, the same ones, and no shrinking.
settings.register_profile(
    "mutants", deadline=None, max_examples=10, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


def _missing_file(variable: str, name: str) -> str | None:
    folder = os.environ.get(variable)
    if not folder:
        return f"{variable} is not set"
    return None if (Path(folder) / name).exists() else f"{variable} names no folder with {name}"


def _missing_torch() -> str | None:
    return None if importlib.util.find_spec("torch") else "torch is not installed"


_MISSING: dict[str, Callable[[], str | None]] = {
    "dataset": lambda: _missing_file("BITBYBIT_DATA", "cifar-10-batches-py/test_batch"),
    "mlperf": lambda: _missing_file("BITBYBIT_MLPERF", "pretrainedResnet.h5"),
    "torch": _missing_torch,
    "litert": lambda: (
        None if importlib.util.find_spec("ai_edge_litert") else "ai-edge-litert is not installed"
    ),
    "browser": lambda: None if browser.program() else "no Chromium found",
    "pages": pages.missing,
    "c": lambda: None if COMPILERS else "no C compiler found",
    "verilog": lambda: None if shutil.which("iverilog") else "no Icarus Verilog found",
}
"""Marker to a function that says why tests with it cannot run here, or None."""


def missing_part(marker: str) -> str | None:
    """Say why tests with this marker cannot run here, or return None."""
    return _MISSING[marker]() if marker in _MISSING else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names a part that is missing, with the reason."""
    for marker in item.iter_markers():
        reason = missing_part(marker.name)
        if reason:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def dataset() -> Path:
    """The folder that holds ``cifar-10-batches-py``; for tests marked ``dataset``."""
    return Path(os.environ["BITBYBIT_DATA"])


@pytest.fixture(scope="session")
def mlperf() -> Path:
    """The folder that holds the official weights; for tests marked ``mlperf``."""
    return Path(os.environ["BITBYBIT_MLPERF"])
