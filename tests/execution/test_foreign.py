"""Networks as other tools write them, verified from end to end."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bitbybit.execution import runtime
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from tests.support import fault_files, foreign
from tests.support.models import float_foreign
from tests.support.runtime import on_contract_platform, without_vnni

pytestmark = on_contract_platform

HABITS = {
    "batch_norm_left": 3,
    "channels_last": 0,
    "grouped_and_pooled": 0,
    "nameless": 0,
    "shared": 0,
    "unfolded": 0,
}
"""Network → exit status: 3 with layers outside the contract."""


@pytest.mark.parametrize("name", HABITS)
def test_habits_of_other_tools(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(getattr(foreign, name)(), path)
    report = verify(path)
    assert (report.exit_status, report.mismatches) == (HABITS[name], 0)


@pytest.mark.parametrize("types", ["S8S8", "U8U8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_onnx_runtimes_own_quantizer(tmp_path: Path, form: str, types: str) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(foreign.runtime_quantized(float_foreign(), form, types), path)
    report = verify(path)
    assert (report.exit_status, report.mismatches) == (3, 0)
    assert report.platform_problem == ""


@without_vnni
def test_u8s8_saturates_without_vnni_and_the_cpu_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(foreign.runtime_quantized(float_foreign(), "QOperator", "U8S8"), path)
    report = verify(path)
    assert report.exit_status == 1
    assert report.platform_problem.startswith("uint8 activations with int8 weights: ONNX Runtime")


def test_a_cpu_is_named_for_products_inside_an_island_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "is_contract_platform", lambda *types: types != ("uint8", "int8"))
    for name, mixed in (("uint8_in_int8_out", True), ("reduce_mean_pool", False)):
        problem = runtime.platform_problem(load(fault_files.GRAPHS / f"{name}.onnx"))
        assert problem.startswith("uint8 activations with int8 weights") is mixed
