"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import bitbybit
import workshop

NEEDS_TORCH = {
    "workshop.architecture",
    "workshop.muon",
    "workshop.pytorch_int8",
    "workshop.training",
}
MODULES = sorted(
    module.name
    for package in (bitbybit, workshop)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name != "bitbybit.__main__"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.torch] if name in NEEDS_TORCH else [])
        for name in MODULES
    ],
)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
