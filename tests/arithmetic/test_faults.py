"""Mutation: every named fault fails the check of every operator that it breaks, and no other."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic
from tests.support import faults, operator_checks
from tests.support.runtime import on_contract_platform

OPERATORS = sorted({operator for fault in faults.FAULTS.values() for operator in fault.breaks})


@on_contract_platform
@pytest.mark.parametrize("operator", OPERATORS)
def test_without_a_fault_every_check_passes(operator: str) -> None:
    assert operator_checks.mismatches(operator) == 0


@on_contract_platform
@pytest.mark.parametrize("name", faults.FAULTS)
def test_fault_fails_the_checks_of_what_it_breaks(name: str) -> None:
    with faults.inject(name) as fault:
        broken = {operator for operator in OPERATORS if operator_checks.mismatches(operator)}
    assert broken == set(fault.breaks)


def test_every_wrong_formula_of_requantization_is_a_fault() -> None:
    """Those of integers are other engines, not faults."""
    floats = {name for name, r in arithmetic.requantizers.REQUANTIZERS.items() if not r.integers}
    assert floats - {"contract", "xnnpack-fp32"} <= set(faults.FAULTS)


def test_fault_reaches_every_importer_and_is_undone() -> None:
    right = arithmetic.requantize
    importer = ModuleType("importer")
    vars(importer)["renamed"] = right
    chapter: dict[str, Any] = {"requantize": right, "other": 1}
    inside = sys.modules["bitbybit.arithmetic._qlinear_conv"]
    sys.modules["importer"] = importer
    try:
        with faults.inject("plus-37", chapter):
            for wrong in (
                arithmetic.requantize,
                inside.requantize,
                importer.renamed,
                chapter["requantize"],
            ):
                assert wrong is not right
                assert wrong(np.array([1], np.int32), 1.0, np.int8(0)).tolist() == [38]
        assert arithmetic.requantize is inside.requantize is importer.renamed is right
        assert chapter == {"requantize": right, "other": 1}
    finally:
        del sys.modules["importer"]


def test_fault_is_undone_after_an_error() -> None:
    right = arithmetic.conv_multiplier
    with pytest.raises(ZeroDivisionError), faults.inject("float64"):
        raise ZeroDivisionError
    assert arithmetic.conv_multiplier is right
