"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import bitbybit

NEEDS_TORCH = {
    "bitbybit.resnet8.architecture",
    "bitbybit.resnet8.muon",
    "bitbybit.resnet8.pytorch_int8",
    "bitbybit.resnet8.training",
}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bitbybit.__path__, "bitbybit.")
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
