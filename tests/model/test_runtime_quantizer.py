"""Files made by ONNX Runtime's own quantizer: the same layers from QDQ and QOperator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bitbybit.model.costs import costs
from bitbybit.model.load import load
from bitbybit.model.types import FloatIsland
from bitbybit.model.writer import write
from tests.support import models
from tests.support.equality import equivalent
from tests.support.foreign import runtime_quantized
from tests.support.graphs import run_onnx
from tests.support.runtime import on_contract_platform

CASES = [
    (types, per_channel)
    for types in ("S8S8", "U8S8", "U8U8")
    for per_channel in (False, True)
    # Asked for U8U8 per channel, its QOperator form stores int8 weights: another network.
    if (types, per_channel) != ("U8U8", True)
]


@pytest.mark.parametrize(("types", "per_channel"), CASES)
def test_qdq_and_qoperator_are_one_network(types: str, per_channel: bool, tmp_path: Path) -> None:
    found = []
    for form in ("QDQ", "QOperator"):
        path = tmp_path / f"{form}.onnx"
        onnx.save(
            runtime_quantized(
                models.float_small(), form, types, pixels=True, per_channel=per_channel
            ),
            path,
        )
        found.append(load(path))
    qdq, qoperator = found
    assert [m.form for m in found] == ["qdq", "qoperator"]
    assert equivalent(qdq, qoperator) == ""
    assert costs(qdq) == costs(qoperator)
    names = [layer.name for layer in qdq.layers[1:-1]]
    assert names == ["stem", "left", "right", "add", "pool", "flatten", "dense"]
    assert not any(isinstance(layer, FloatIsland) for layer in qdq.layers)


@on_contract_platform
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("types", ["S8S8", "U8U8"])
def test_what_lies_outside_is_kept_and_written_back(types: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    per_channel = types == "S8S8"
    onnx.save(
        runtime_quantized(
            models.float_foreign(), form, types, pixels=True, per_channel=per_channel
        ),
        path,
    )
    model = load(path)
    islands = [x.name for x in model.layers if isinstance(x, FloatIsland)]
    # in QOperator form the quantizer leaves batch-norm, pooling and Flatten float
    assert islands == [{"QDQ": "norm", "QOperator": "flatten"}[form], "dense.add"]
    names = ("gate", "swish", "maxpool", "concat", "average", "softmax")
    kinds = [model.layer(name).kind for name in names]
    assert kinds == ["lookup", "mul", "max_pool", "concat", "average_pool", "softmax"]
    for edge in model.edges.values():
        integer = edge.name not in (*model.inputs, *model.outputs)
        assert (edge.dtype.kind in "iu") is integer
    image = np.random.default_rng(5).integers(0, 256, (3, 3, 16, 16)).astype(np.float32)
    before = run_onnx(path, image)[0]
    for target, standard in (("qdq", False), ("qoperator", False), ("qoperator", True)):
        write(model, tmp_path / "again.onnx", target, standard)  # type: ignore[arg-type]
        assert equivalent(model, load(tmp_path / "again.onnx")) == ""
        assert np.array_equal(before, run_onnx(tmp_path / "again.onnx", image)[0])


def test_costs_do_not_depend_on_form_or_quantization(tmp_path: Path) -> None:
    onnx.save(models.float_foreign(), tmp_path / "float.onnx")
    real = {c.name: c for c in costs(load(tmp_path / "float.onnx"))}
    path = tmp_path / "quantized.onnx"
    onnx.save(
        runtime_quantized(models.float_foreign(), "QDQ", "S8S8", pixels=True, per_channel=True),
        path,
    )
    integer = {c.name: c for c in costs(load(path))}
    shared = [name for name in real if name in integer and name not in ("dense", "softmax")]
    assert len(shared) == 11
    for name in shared:
        a, b = real[name], integer[name]
        assert (a.output_shape, a.macs, a.weights, a.biases) == (
            b.output_shape,
            b.macs,
            b.weights,
            b.biases,
        )
        assert (a.weight_bytes, a.activation_bytes) == (b.weight_bytes, b.activation_bytes)
    assert sum(c.macs or 0 for c in real.values()) == sum(c.macs or 0 for c in integer.values())
