"""The accuracy map: every cell a network of its own; the committed one belongs to the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bitbybit.quantization.scheme import BITS
from bitbybit.resnet8.cifar10 import CLASSES, Split
from tests.support.resnet8_state import random_state
from workshop import accuracy_map as module
from workshop.evaluation import describe_file
from workshop.export import float_model


def random_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(count) % len(CLASSES)
    return Split(images, labels, tuple(f"{seed}_{i:03d}.png" for i in range(count)))


def test_every_pair_of_bits_appears_in_every_treatment() -> None:
    schemes = module.map_schemes()
    assert len(set(schemes)) == len(schemes) == 3 * len(BITS) ** 2
    assert {scheme.per_channel for scheme in schemes} == {True}
    assert {(s.weights, s.bias_correction) for s in schemes} == {
        ("mse", False), ("mse", True), ("gptq", True),
    }  # fmt: skip


def test_more_bits_come_closer_to_the_float_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resnet8.onnx"
    path.write_bytes(float_model(random_state()).SerializeToString())
    corners = [
        s for s in module.map_schemes()
        if s.weights == "mse" and s.bias_correction and {s.weight_bits, s.activation_bits} <= {4, 8}
    ]  # fmt: skip
    monkeypatch.setattr(module, "map_schemes", lambda: tuple(corners))
    record = module.accuracy_map(path, random_split(10, 1), random_split(20, 2), "random")
    distance = {
        (c["weight_bits"], c["activation_bits"]): c["logit_sqnr_db"] for c in record["cells"]
    }
    best = distance.pop((8, 8))
    assert len(distance) == 3
    assert max(distance.values()) < best - 5
    assert record["model"] == describe_file(path)
    assert all(0 <= cell["correct"] <= 20 for cell in record["cells"])
    json.dumps(record, allow_nan=False)


def test_the_committed_map_is_that_of_the_committed_model(root: Path) -> None:
    record = json.loads((root / "models" / "accuracy_map.json").read_text())
    assert record["model"] == describe_file(root / "models" / "resnet8.onnx")
    cells = {
        (c["weight_bits"], c["activation_bits"], c["weights"], c["bias_correction"])
        for c in record["cells"]
    }
    assert cells == {
        (s.weight_bits, s.activation_bits, s.weights, s.bias_correction)
        for s in module.map_schemes()
    }
