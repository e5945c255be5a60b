"""The record of narrow registers: of the committed model, and found again on a sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import bitbybit
from bitbybit import arithmetic
from bitbybit.model.types import Conv
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import describe_file
from workshop.register_damage import REGISTERS, figures, observed


def test_the_committed_record_is_that_of_the_committed_model(root: Path) -> None:
    record = json.loads((root / "models" / "register_damage.json").read_text())
    assert record["model"] == describe_file(root / "models" / "resnet8_int8.onnx")
    bits = max(arithmetic.signed_width(*ends) for ends in record["observed"].values())
    assert record["data"]["images"] == 10_000
    for part in (record["images"], record["bundled"]):
        for kind in ("wrap", "saturate"):
            for row in part[kind]:
                assert row["overflows"] == 0 or row["bits"] < bits
                assert row["changed_codes"] == 0 or row["overflows"] > 0
    whole = next(e for e in bitbybit.manifest()["files"].items() if e[0] == record["model"]["file"])
    assert record["images"]["images"] == record["chosen"]["images"] <= record["data"]["images"]
    assert whole[1]["sha256"] == record["model"]["sha256"]


def test_figures_against_a_slow_walk() -> None:
    """The register of one layer at a time, by hand: the first overflow is in the layer it is in."""
    model, split = bitbybit.load(bitbybit.example("int8")), bitbybit.samples()
    few = Split(split.images[:2], split.labels[:2], split.names[:2])
    found = figures(model, few)
    exact = bitbybit.trace(model, few.images.astype(np.float32))
    assert found["codes"] == sum(
        exact[name].size for name, edge in model.edges.items() if edge.params is not None
    )
    assert found["correct"] == int((exact["logits"].argmax(axis=1) == few.labels).sum())
    for name, (low, high) in observed(model, few).items():
        sums = exact.accumulator(name)
        assert (low, high) == (min(0, sums.min()), max(0, sums.max()))
    stem, layer = exact.accumulator("stem").astype(np.int64), model.layer("stem")
    x, y = model.edges["input"].params, model.edges["stem"].params
    assert isinstance(layer, Conv)
    assert x is not None and y is not None and layer.weight.params is not None  # noqa: PT018
    for kind, hold in (("wrap", arithmetic.wrapped), ("saturate", arithmetic.saturated)):
        run = REGISTERS[kind][1]
        codes, overflows = run(model, few.images.astype(np.float32), 16)
        held = hold(stem, 16).astype(np.int32)
        multiplier = arithmetic.conv_multiplier(x.scale, layer.weight.params.scale, y.scale)
        assert np.array_equal(
            codes["stem"], arithmetic.requantize(held, multiplier, y.zero_point, axis=1)
        )
        assert overflows >= (held != stem).sum() > 0


def test_a_register_that_is_wide_enough_changes_nothing() -> None:
    model, split = bitbybit.load(bitbybit.example("int8")), bitbybit.samples()
    images = split.images[:2].astype(np.float32)
    exact = bitbybit.trace(model, images)
    for _, run in REGISTERS.values():
        codes, overflows = run(model, images, 23)
        assert overflows == 0
        assert all(np.array_equal(codes[layer.name], exact[layer.name]) for layer in model.layers)
