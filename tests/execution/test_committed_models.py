"""The committed models: every integer of every layer, against ONNX Runtime and the goldens."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import DataError, EnvironmentProblem
from bitbybit.execution import goldens
from bitbybit.execution.engine import trace
from bitbybit.execution.goldens import check_goldens, make_goldens
from bitbybit.execution.verdict import (
    ACCUMULATOR,
    COMMITTED_WITH,
    DEFINITION,
    EXHAUSTIVE,
    RUNTIME,
    WHOLE,
)  # fmt: skip
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.types import Add, QuantizedModel
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import EXAMPLES, example, models_folder, samples
from tests.support.faults import FAULTS, inject
from tests.support.runtime import on_contract_platform

QUANTIZED = [name for name in EXAMPLES if name != "float"]
EACH = pytest.mark.parametrize("name", QUANTIZED)


def golden(name: str) -> dict[str, Any]:
    path = models_folder() / "goldens" / f"{example(name).stem}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def models() -> dict[str, QuantizedModel]:
    return {name: load(example(name)) for name in QUANTIZED}


@EACH
class TestGoldens:
    def test_the_engine_equals_them(self, models: dict[str, QuantizedModel], name: str) -> None:
        assert check_goldens(models[name], golden(name), samples().images) == []

    def test_they_were_made_by_onnx_runtime_on_the_contract_platform(self, name: str) -> None:
        made_by = golden(name)["made_by"]
        assert made_by["architecture"] == "x86-64"
        assert {"AVX2", "FMA"} <= set(made_by["cpu_features"])
        assert made_by["onnxruntime"] == COMMITTED_WITH

    @on_contract_platform
    def test_onnx_runtime_here_makes_the_same(
        self, models: dict[str, QuantizedModel], name: str
    ) -> None:
        live, recorded = make_goldens(models[name], samples().images), golden(name)
        assert live["layers"] == recorded["layers"]


def test_one_integer_that_differs_is_found(models: dict[str, QuantizedModel]) -> None:
    record, images = golden("int8"), samples().images
    entry = next(x for x in record["layers"] if x["name"] == "stem")
    index, value = next(iter(entry["output"]["samples"].items()))
    entry["output"]["samples"][index] = value + 1
    (found,) = check_goldens(models["int8"], record, images)
    assert (found.layer, found.tensor) == ("stem", "output")
    assert ",".join(map(str, found.mismatch.index)) == index
    assert (found.mismatch.expected, found.mismatch.found) == (value + 1, value)


def test_a_hash_that_differs_is_found(models: dict[str, QuantizedModel]) -> None:
    record = golden("int8")
    record["layers"][-2]["accumulator"]["sha256"] = "0" * 64
    (found,) = check_goldens(models["int8"], record, samples().images)
    assert (found.layer, found.tensor, found.mismatch.index) == ("dense", "accumulator", ())


@pytest.mark.parametrize("fault", ["truncate", "bias-missing", "all-zeros"])
def test_a_fault_in_the_arithmetic_is_found(fault: str) -> None:
    with inject(fault):
        assert check_goldens(load(example("int8")), golden("int8"), samples().images)


def test_goldens_of_another_model_or_of_other_images_are_refused(
    models: dict[str, QuantizedModel],
) -> None:
    images = samples().images
    with pytest.raises(DataError, match="of another model"):
        check_goldens(models["uint8"], golden("int8"), images)
    with pytest.raises(DataError, match="of another image"):
        check_goldens(models["int8"], golden("int8"), images[:3])


def test_they_are_made_on_the_contract_platform_only(
    models: dict[str, QuantizedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goldens, "platform_problem", lambda _: "this is a toaster")
    with pytest.raises(EnvironmentProblem, match=r"contract platform only .*toaster"):
        make_goldens(models["int8"], samples().images)


@on_contract_platform
def test_goldens_whose_integers_are_the_same_keep_their_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stamp says who made them, and another CPU makes the same."""
    shutil.copytree(models_folder(), tmp_path / "models")
    folder = tmp_path / "models" / "goldens"
    changed = json.loads((folder / "resnet8_uint8.json").read_text(encoding="utf-8"))
    changed["layers"][3]["output"]["sha256"] = "0" * 64
    (folder / "resnet8_uint8.json").write_text(json.dumps(changed), encoding="utf-8")
    main = runpy.run_path(str(root / "scripts" / "make_goldens.py"))["main"]
    monkeypatch.setattr(sys, "argv", ["make_goldens.py", "--models", str(tmp_path / "models")])
    assert main() == 0
    for file in folder.iterdir():
        same = file.read_bytes() == (models_folder() / "goldens" / file.name).read_bytes()
        assert same or file.name == "resnet8_uint8.json"
    renewed = json.loads((folder / "resnet8_uint8.json").read_text(encoding="utf-8"))
    assert renewed["layers"] == golden("uint8")["layers"]


def test_all_forms_of_one_network_have_one_trace(models: dict[str, QuantizedModel]) -> None:
    for name in ("int8", "int8_per_tensor"):
        a, b = (trace(models[n], samples().images) for n in (name, f"{name}_qoperator"))
        assert list(a) == list(b)
        assert all(np.array_equal(a[edge], b[edge]) for edge in a)


@on_contract_platform
class TestAgainstTheRuntime:
    # The twins hold the same integers, in other nodes: `make test` compares those of two kinds of
    # layers, below, and .ci/run all.
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.slow if name.endswith("_qoperator") else [])
            for name in QUANTIZED
        ],
    )
    def test_every_element_for_the_samples_and_every_input_of_a_layer(
        self, models: dict[str, QuantizedModel], name: str
    ) -> None:
        report = verify(models[name], samples().images)
        assert (report.exit_status, report.mismatches) == (0, 0)
        assert report.images == len(samples())
        layers = [layer for layer in models[name].layers if layer.kind != "reshape"]
        counts = {c.name: c.elements for c in report.checks if c.authority == EXHAUSTIVE}
        assert list(counts) == [layer.name for layer in layers]
        assert {counts[layer.name] for layer in layers if isinstance(layer, Add)} == {65536}
        for authority in (DEFINITION, RUNTIME, ACCUMULATOR, EXHAUSTIVE):
            covered = report.coverage(authority)
            assert covered.macs == covered.macs_of_all_layers
            assert (covered.elements or 0) > 0
        assert report.coverage(WHOLE).macs == 0

    @EACH
    @pytest.mark.dataset
    def test_every_element_for_500_test_images(
        self, models: dict[str, QuantizedModel], name: str
    ) -> None:
        report = verify(models[name], load_split("test").images[:500], quick=True)
        assert (report.exit_status, report.images) == (0, 500)


@on_contract_platform
@pytest.mark.parametrize("fault", [f.name for f in FAULTS.values() if not f.rare])
def test_every_plain_fault_fails_on_a_real_model(fault: str) -> None:
    """Both networks, since each makes some faults invisible: zero points of 0, one scale."""
    images = samples().images[:1]
    with inject(fault):
        ends = [verify(example(name), images, quick=True) for name in ("int8", "uint8")]
    assert any(end.exit_status == 1 for end in ends)


@on_contract_platform
@pytest.mark.parametrize("kind", ["conv", "dense"])
@EACH
def test_one_kind_of_layer(models: dict[str, QuantizedModel], name: str, kind: str) -> None:
    report = verify(models[name], samples().images[:2], quick=True, kind=kind)
    assert report.exit_status == 0
    found = {check.name: check.kind for check in report.checks}
    assert found == {x.name: kind for x in models[name].layers if x.kind == kind}
    assert {check.authority for check in report.checks} == {DEFINITION, RUNTIME, ACCUMULATOR}


@on_contract_platform
@pytest.mark.parametrize("kind", ["conv", "dense"])
@pytest.mark.parametrize("fault", ["truncate", "plus-37", "bias-missing", "int16-accumulator"])
def test_one_kind_of_layer_fails(fault: str, kind: str) -> None:
    with inject(fault):
        report = verify(load(example("int8")), samples().images[:2], quick=True, kind=kind)
    assert report.exit_status == 1
    assert {check.kind for check in report.checks} == {kind}
