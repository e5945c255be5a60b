"""Every injected fault makes ``verify`` fail; each validator script fails with one of them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit.execution.verification import verify
from bitbybit.model.operators import OPERATORS as TABLE
from tests.support import operator_checks
from tests.support.faults import CONV, FAULTS, GEMM, MATMUL, inject
from tests.support.one_node import one_node_model
from tests.support.runtime import on_contract_platform

pytestmark = on_contract_platform

SCRIPTS = {
    CONV: "validate_qlinearconv.py",
    MATMUL: "validate_qlinearmatmul.py",
    GEMM: "validate_qlinearmatmul.py",
}
Files = list[tuple[Path, dict[str, Any]]]
Validator = Callable[[str, Files], bool]
PAIRS = [(fault.name, operator) for fault in FAULTS.values() for operator in fault.breaks]
OPERATORS = sorted({operator for _, operator in PAIRS})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make, once per operator, models of one node with adversarial operands, and their inputs."""

    @cache
    def made(operator: str) -> list[tuple[Path, dict[str, Any]]]:
        folder = tmp_path_factory.mktemp(operator)
        cases = list(operator_checks._CASES[operator](np.random.default_rng(2024)))
        chosen = cases[:: max(1, len(cases) // 40)]
        return [_file(folder / f"{i}.onnx", operator, case) for i, case in enumerate(chosen)]

    return made


def _file(path: Path, operator: str, case: operator_checks.Case) -> tuple[Path, dict[str, Any]]:
    operands, attributes = case
    names = list(operands)
    data = [names[position] for position in TABLE[operator].data]
    dtype = np.float32
    if operator != "DequantizeLinear":
        dtype = operands[next(n for n in names if n in operator_checks._OUTPUT_ZERO_POINTS)].dtype
    constants = frozenset(names) - frozenset(data)
    onnx.save(one_node_model(operator, operands, dtype, attributes, constants), path)
    inputs = {name: operands[name] for name in data}
    np.savez(path.with_suffix(".npz"), **inputs)
    return path, inputs


def verify_fails(files: Files) -> bool:
    return any(verify(path, inputs, quick=True).exit_status == 1 for path, inputs in files)


@pytest.fixture
def validator_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> Validator:
    """Run the validator script of an operator in this process."""
    run = {op: runpy.run_path(str(root / "scripts" / name))["main"] for op, name in SCRIPTS.items()}

    def fails(operator: str, files: Files) -> bool:
        ends = set()
        for path, _ in files:
            arguments = [str(path), "--quick", "--inputs", str(path.with_suffix(".npz"))]
            monkeypatch.setattr(sys, "argv", [SCRIPTS[operator], *arguments])
            ends.add(run[operator]())
        assert ends <= {0, 1}
        return 1 in ends

    return fails


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_a_fault_nothing_fails(
    files: Any, validator_fails: Validator, operator: str
) -> None:
    assert not verify_fails(files(operator))
    assert operator not in SCRIPTS or not validator_fails(operator, files(operator))


@pytest.mark.parametrize(("fault", "operator"), PAIRS)
def test_verify_fails(files: Any, fault: str, operator: str) -> None:
    with inject(fault):
        assert verify_fails(files(operator))


@pytest.mark.parametrize("operator", SCRIPTS)
def test_the_validator_fails(files: Any, validator_fails: Validator, operator: str) -> None:
    """It is ``verify`` for one kind of layer, which fails with every fault."""
    with inject("input-zero-point-missing"):
        assert validator_fails(operator, files(operator))
