"""The committed models: the bytes on record, made again, with the figures on record."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bitbybit.cpu import cpu_features, is_contract_platform
from bitbybit.errors import BitbybitError, DataError
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.resnet8.examples import models_folder
from workshop.evaluation import describe_file
from workshop.making import SCHEMES, TWINS, make_float, make_models, make_quantized
from workshop.manifest import COMMANDS, EVALUATED, REFERENCE, evaluate_file, versions
from workshop.model_card import render
from workshop.selection import calibration_split, held_out_split, names_sha256

MODELS = models_folder()
MADE = [name for name, command in COMMANDS.items() if command == "make models"]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    value = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def differing(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the names of the files whose bytes are not those on record."""
    return [
        name
        for name, entry in manifest["files"].items()
        if describe_file(folder / name)["sha256"] != entry["sha256"]
        or (folder / name).stat().st_size != entry["bytes"]
    ]


def copy(target: Path) -> Path:
    for path in MODELS.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_file_is_the_one_on_record(manifest: dict[str, Any]) -> None:
    assert differing(MODELS, manifest) == []
    assert list(manifest["files"]) == list(COMMANDS)
    assert {path.name for path in MODELS.iterdir() if path.suffix in {".onnx", ".pt"}} == {
        name for name in COMMANDS if name.endswith((".onnx", ".pt"))
    }


def test_one_changed_bit_is_noticed(manifest: dict[str, Any], tmp_path: Path) -> None:
    path = copy(tmp_path) / "resnet8_int8.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert differing(tmp_path, manifest) == ["resnet8_int8.onnx"]


def test_the_onnx_files_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    make_float(MODELS / "resnet8.pt", tmp_path / "resnet8.onnx")
    make_quantized(tmp_path / "resnet8.onnx", MODELS / "calibration.json", tmp_path)
    made = contents(tmp_path)
    assert sorted(made) == sorted(MADE)
    assert [name for name in MADE if made[name] != (MODELS / name).read_bytes()] == []


def test_the_script_needs_neither_dataset_nor_pytorch(root: Path, tmp_path: Path) -> None:
    copy(tmp_path)
    (tmp_path / "resnet8_int8_qoperator.onnx").unlink()
    command = (
        "import runpy, sys; sys.modules['torch'] = None; "
        f"sys.argv = ['make_models.py', '--models', {str(tmp_path)!r}]; "
        f"runpy.run_path({str(root / 'scripts' / 'make_models.py')!r}, run_name='__main__')"
    )
    environment = {k: v for k, v in os.environ.items() if k != "BITBYBIT_DATA"}
    environment["PYTHONPATH"] = os.pathsep.join((str(root / "src"), str(root / "scripts")))
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of" in done.stdout
    assert contents(tmp_path) == contents(MODELS)


def test_a_failed_run_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)
    copy(tmp_path)
    for name, damage in (
        ("calibration.json", b"{"),
        ("training.json", b"[]"),
        ("resnet8.pt", b"PK"),
    ):
        original = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(damage)
        before = contents(tmp_path)
        with pytest.raises(BitbybitError):
            make_models(tmp_path, report=lambda _: None)
        assert contents(tmp_path) == before
        (tmp_path / name).write_bytes(original)
    (tmp_path / "calibration.json").unlink()
    with pytest.raises(DataError, match=r"calibration\.json.*--recalibrate"):
        make_models(tmp_path, report=lambda _: None)
    with pytest.raises(DataError, match="CIFAR-10 was not found"):
        make_models(tmp_path, recalibrate=True, report=lambda _: None)


def test_the_model_card_says_what_the_records_say(manifest: dict[str, Any]) -> None:
    training = json.loads((MODELS / "training.json").read_text(encoding="utf-8"))
    assert (MODELS / "README.md").read_text(encoding="utf-8") == render(manifest, training)


def test_the_image_lists_agree(manifest: dict[str, Any]) -> None:
    training = json.loads((MODELS / "training.json").read_text(encoding="utf-8"))
    calibration = json.loads((MODELS / "calibration.json").read_text(encoding="utf-8"))
    listed = (MODELS / "held_out_images.txt").read_bytes()
    digest = hashlib.sha256(listed).hexdigest()
    assert manifest["images"]["held_out"]["names_sha256"] == digest
    assert training["held_out_images"] == {"count": 2000, "names_sha256": digest}
    assert listed.count(b"\n") == 2000
    assert (
        calibration["images"]["names_sha256"] == (manifest["images"]["calibration"]["names_sha256"])
    )


@pytest.mark.dataset
def test_the_image_lists_are_those_of_the_dataset(manifest: dict[str, Any], dataset: Path) -> None:
    train = load_split("train", dataset)
    _, held = held_out_split(train)
    chosen = calibration_split(train)
    images = manifest["images"]
    assert names_sha256(held.names) == images["held_out"]["names_sha256"]
    assert names_sha256(chosen.names) == images["calibration"]["names_sha256"]
    assert not set(held.names) & set(chosen.names)


def test_the_figures_on_record_reach_the_goals(manifest: dict[str, Any]) -> None:
    """MLPerf's float accuracy; int8 within 0.3, per-tensor and uint8 within 1.0 points of float."""
    figures = {name: manifest["files"][name]["evaluation"] for name in EVALUATED}
    correct = {name: entry["overall"]["correct"] for name, entry in figures.items()}
    assert all(entry["overall"]["total"] == 10000 for entry in figures.values())
    assert correct["resnet8.pt"] == correct["resnet8.onnx"] >= 8719
    int8 = figures["resnet8_int8.onnx"]
    assert abs(correct["resnet8_int8.onnx"] - correct["resnet8.onnx"]) <= 30
    assert int8["changed_predictions"] <= 100
    assert int8["logit_sqnr_db"] >= 34.0
    for name in ("resnet8_int8_per_tensor.onnx", "resnet8_uint8.onnx", "resnet8_int8.pt"):
        assert correct[name] >= correct["resnet8.onnx"] - 100
    for entry in figures.values():
        assert sum(entry["per_class"].values()) == entry["overall"]["correct"]


def test_twins_have_the_same_figures(manifest: dict[str, Any]) -> None:
    assert set(TWINS) < set(SCHEMES)
    for qdq, qoperator in TWINS.items():
        first = manifest["files"][f"{qdq}.onnx"]["evaluation"]
        assert manifest["files"][f"{qoperator}.onnx"]["evaluation"] == first


def test_the_peer_saw_the_same_network_and_images(manifest: dict[str, Any]) -> None:
    """It is on record beside ours; ours changes fewer predictions and is nearer to float."""
    peer = manifest["peer"]["evaluation"]
    ours = manifest["files"]["resnet8_int8.onnx"]["evaluation"]
    assert peer["overall"]["total"] == 10000
    assert ours["changed_predictions"] < peer["changed_predictions"]
    assert ours["logit_sqnr_db"] > peer["logit_sqnr_db"]


def check_figures(manifest: dict[str, Any], dataset: Path, name: str) -> None:
    """Measure again.

    The same CPU and versions give the same figures. The integer graph gives the same classes on
    every CPU of the contract platform. Float sums, and so a few classes, differ elsewhere.
    """
    found = evaluate_file(MODELS, name, load_split("test", dataset))
    recorded, setting = manifest["files"][name]["evaluation"], manifest["evaluation"]
    if (setting["cpu_features"], setting["versions"]) == (sorted(cpu_features()), versions()):
        assert found == recorded
    if is_contract_platform() and name.endswith(".onnx") and name != REFERENCE:
        assert found["per_class"] == recorded["per_class"]
    assert abs(found["overall"]["correct"] - recorded["overall"]["correct"]) <= 5


@pytest.mark.dataset
@pytest.mark.parametrize("name", ["resnet8.onnx", "resnet8_int8.onnx"])
def test_the_figures_are_measured_again(manifest: dict[str, Any], dataset: Path, name: str) -> None:
    check_figures(manifest, dataset, name)


@pytest.mark.slow
@pytest.mark.dataset
@pytest.mark.parametrize("name", [n for n in EVALUATED if n.endswith(".onnx")][2:])
def test_the_other_figures_are_measured_again(
    manifest: dict[str, Any], dataset: Path, name: str
) -> None:
    check_figures(manifest, dataset, name)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.dataset
@pytest.mark.parametrize("name", ["resnet8.pt", "resnet8_int8.pt"])
def test_the_figures_of_pytorch_are_measured_again(
    manifest: dict[str, Any], dataset: Path, name: str
) -> None:
    check_figures(manifest, dataset, name)
