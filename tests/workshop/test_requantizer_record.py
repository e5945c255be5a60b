"""The record of requantizers: of the committed model, found again on a sample, and resumable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bitbybit
from bitbybit import hardware
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.files import atomic_write_json
from bitbybit.resnet8.cifar10 import Split
from workshop import requantizer_record
from workshop.evaluation import describe_file
from workshop.requantizer_record import figures, variants


def test_the_committed_record_is_that_of_the_committed_model(root: Path) -> None:
    record = json.loads((root / "models" / "requantizers.json").read_text())
    assert record["model"] == describe_file(root / "models" / "resnet8_int8.onnx")
    assert record["float"] == describe_file(root / "models" / "resnet8.onnx")
    assert record["images"]["images"] == record["data"]["images"]
    measured = {*variants(), "power-of-two-weights"}
    assert set(record["images"]["variants"]) == set(record["bundled"]["variants"]) == measured


def test_figures_are_those_of_the_traces_and_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: variants()[name] for name in ("floor", "8-bit-multiplier", "integers-only")}
    monkeypatch.setattr(requantizer_record, "variants", lambda: few)
    monkeypatch.setattr(requantizer_record, "BATCH", 2)
    model, floats = (bitbybit.load(bitbybit.example(name)) for name in ("int8", "float"))
    samples = bitbybit.samples()
    split = Split(samples.images[:5], samples.labels[:5], samples.names[:5])
    found = figures(model, floats, split)
    pixels = split.images.astype(np.float32)
    exact = bitbybit.trace(model, pixels)
    coded = [name for name in exact if model.edges[name].params is not None]
    assert found["codes"] == sum(exact[name].size for name in coded)
    said = exact["logits"].argmax(axis=1)
    assert found["correct"] == int((said == split.labels).sum())
    shifting = hardware.power_of_two_scales(model, floats)
    runs = {name: hardware.trace_with(model, pixels, **parts) for name, parts in few.items()}
    shift = REQUANTIZERS["power-of-two"]
    runs["power-of-two-weights"] = hardware.trace_with(shifting, pixels, requantize=shift)
    assert set(found["variants"]) == set(runs)
    for name, run in runs.items():
        wrong = {edge: int((run[edge] != exact[edge]).sum()) for edge in coded}
        says = run["logits"].argmax(axis=1)
        assert found["variants"][name] == {
            "codes": {edge: count for edge, count in wrong.items() if count},
            "changed": int((says != said).sum()),
            "correct": int((says == split.labels).sum()),
        }
    kept = tmp_path / "kept.json"
    first = Split(split.images[:2], split.labels[:2], split.names[:2])
    figures(model, floats, first, kept)
    held = json.loads(kept.read_text())
    assert held["done"] == 2
    atomic_write_json(kept, held)
    assert figures(model, floats, split, kept) == found
