"""The record of the error: it belongs to the committed models and says what the book concludes."""

from __future__ import annotations

import json
from pathlib import Path

import bitbybit
from workshop.evaluation import describe_file
from workshop.measured_error import partly_quantized


def test_the_committed_record_is_that_of_the_committed_models(root: Path) -> None:
    record = json.loads((root / "models" / "measured_error.json").read_text())
    assert record["model"] == describe_file(root / "models" / "resnet8_int8.onnx")
    assert record["float"] == describe_file(root / "models" / "resnet8.onnx")
    assert record["data"]["images"] >= 300
    steps = record["images"]["steps"]
    assert steps["weights_and_biases"] > steps["everything"] + 10


def test_one_layer_alone_changes_its_weights_or_its_output_and_nothing_else() -> None:
    model, floats = (bitbybit.load(bitbybit.example(name)) for name in ("int8", "float"))
    plain = partly_quantized(model, floats, frozenset(), frozenset())
    weights = partly_quantized(model, floats, frozenset(["stem"]), frozenset())
    pairs = zip(plain.graph.initializer, weights.graph.initializer, strict=True)
    changed = sorted(ours.name for ours, theirs in pairs if ours != theirs)
    assert changed == ["stem.bias", "stem.weight"]
    output = partly_quantized(model, floats, frozenset(), frozenset(["stem"]))
    added = [node.op_type for node in output.graph.node if node not in plain.graph.node]
    assert added[:2] == ["QuantizeLinear", "DequantizeLinear"]
