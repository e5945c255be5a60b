"""The record of converters: it belongs to the committed model, and runs again on the samples."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitbybit
from bitbybit.hardware import Converter, analog_trace, full_scale
from bitbybit.resnet8.cifar10 import Split
from workshop import analog_converters as record_of
from workshop.evaluation import describe_file


@pytest.fixture(scope="module")
def record(root: Path) -> dict[str, Any]:
    text = (root / "models" / "analog_converters.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_committed_record_is_that_of_the_committed_model(
    record: dict[str, Any], root: Path
) -> None:
    assert record["model"] == describe_file(root / "models" / "resnet8_int8.onnx")
    assert (record["data"]["images"], record["data"]["split"]) == (1000, "test")
    assert record["calibration"]["split"] == "train"
    assert record["exact"] > 900
    kinds = [(e["rows"], e["bits"], e["reach"]) for e in record["network"]]
    assert len(set(kinds)) == len(kinds) == 23
    model = bitbybit.load(bitbybit.example("int8"))
    for rows, reaches in record["reaches"].items():
        scales = {name: full_scale(model, model.layer(name), int(rows)) for name in reaches}
        assert all(0 < reaches[name] < scales[name] for name in reaches)


def test_every_kind_of_converter_gives_the_recorded_codes_again(record: dict[str, Any]) -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    images = bitbybit.samples().images.astype(np.float32)
    for e in record["network"][::5]:
        chosen = record["reaches"][str(e["rows"])]
        if e["reach"] == "full scale":
            chosen = record_of.full_scales(model, e["rows"])
        converters = {name: Converter(e["bits"], size) for name, size in chosen.items()}
        found = analog_trace(model, images, e["rows"], converters)
        assert record_of.sample(model, found) == e["bundled"]
        other = {name: Converter(e["bits"] - 1, size) for name, size in chosen.items()}
        coarser = analog_trace(model, images, e["rows"], other)
        assert record_of.sample(model, coarser)["codes"] != e["bundled"]["codes"]


def test_counts_are_those_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ROWS", (128,)), ("BITS", (4,)), ("FULL_SCALE", ()), ("BATCH", 4)):
        monkeypatch.setattr(record_of, name, value)
    images = bitbybit.samples().images
    few = Split(images, np.arange(10), tuple(f"{i}.png" for i in range(10)))
    found = record_of.analog_record(bitbybit.example("int8"), few, few, images)
    model = bitbybit.load(bitbybit.example("int8"))
    exact = bitbybit.trace(model, images.astype(np.float32))
    (kind,) = found["network"]
    reaches = found["reaches"]["128"]
    converters = {name: Converter(4, size) for name, size in reaches.items()}
    run = partial(analog_trace, rows=128, converters=converters)
    classes = run(model, images.astype(np.float32))["logits"].argmax(axis=1)
    assert kind["correct"] == (classes == np.arange(10)).sum()
    assert kind["same"] == (classes == exact["logits"].argmax(axis=1)).sum()
    assert kind["bundled"]["predictions"] == classes.tolist()
    assert found["exact"] == 10
    (stem,) = [e for e in found["alone"] if e["layer"] == "stem"]
    part = analog_trace(model, images.astype(np.float32), 128, {"stem": converters["stem"]})
    assert stem["changed"] == (part["stem"] != exact["stem"]).sum()
    assert stem["codes"] == exact["stem"].size
