"""One network, three forms: what is written is read back, and ONNX Runtime agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitbybit.errors import BitbybitError, ModelError, UnsupportedError
from bitbybit.model.load import load
from bitbybit.model.types import Conv, FloatIsland, QuantizedModel
from bitbybit.model.writer import Form, build, write
from bitbybit.resnet8.examples import models_folder
from tests.support import models
from tests.support.equality import equivalent
from tests.support.graphs import run_onnx

FORMS: tuple[tuple[Form, bool], ...] = (("qdq", False), ("qoperator", False), ("qoperator", True))
VARIANTS = [
    pytest.param(np.int8, True, id="int8-per-channel"),
    pytest.param(np.int8, False, id="int8-per-tensor"),
    pytest.param(np.uint8, False, id="uint8-per-tensor"),
]
NAMES = [
    *("input", "stem", "stack1.conv1", "stack1.conv2", "stack1.add"),
    *(f"stack{i}.{part}" for i in (2, 3) for part in ("conv1", "conv2", "shortcut", "add")),
    *("pool", "flatten", "dense", "logits"),
]


@pytest.mark.parametrize(("dtype", "per_channel"), VARIANTS)
@pytest.mark.parametrize("make", [models.small, models.resnet8])
def test_every_form_is_read_back_as_the_same_network(
    make: Callable[..., QuantizedModel], dtype: type, per_channel: bool, tmp_path: Path
) -> None:
    model = make(3, dtype, per_channel=per_channel)
    size = 8 if make is models.small else 32
    images = np.random.default_rng(1).integers(0, 256, (2, 3, size, size))
    outputs = []
    for form, standard in FORMS:
        path = tmp_path / f"{form}{standard}.onnx"
        write(model, path, form, standard)
        assert equivalent(model, load(path)) == ""
        onnx.checker.check_model(onnx.load(path), full_check=standard or form == "qdq")
        outputs.append(run_onnx(path, images.astype(np.float32))[0])
    assert len(np.unique(outputs[0])) > 3
    for other in outputs[1:]:
        assert np.array_equal(outputs[0], other)


def test_names_are_canonical_and_the_reader_finds_the_form(tmp_path: Path) -> None:
    model = models.resnet8()
    found = []
    for form, standard in FORMS:
        write(model, tmp_path / "m.onnx", form, standard)
        again = load(tmp_path / "m.onnx")
        assert [layer.name for layer in again.layers] == NAMES
        assert (again.inputs, again.outputs) == (("image",), ("logits",))
        assert again.edges["stem"].onnx_name == "stem"
        assert again.edges["flatten"].onnx_name == "flatten"
        found.append(again.form)
    assert found == ["qdq", "qoperator", "mixed"]


def test_node_counts_of_resnet8() -> None:
    def counts(form: Form, *, standard_only: bool = False) -> Counter[str]:
        proto = build(models.resnet8(), form, standard_only=standard_only)
        return Counter(node.op_type for node in proto.graph.node)

    assert counts("qoperator") == {
        "QuantizeLinear": 1, "QLinearConv": 9, "QLinearAdd": 3, "QLinearGlobalAveragePool": 1,
        "Flatten": 1, "QGemm": 1, "DequantizeLinear": 1,
    }  # fmt: skip
    assert counts("qdq") == {
        "QuantizeLinear": 16, "DequantizeLinear": 36, "Conv": 9, "Add": 3,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    standard = build(models.resnet8(), "qoperator", standard_only=True)
    assert {node.domain for node in standard.graph.node} == {""}
    assert counts("qoperator", standard_only=True)["QLinearConv"] == 10


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for form, standard in FORMS:
        files = []
        for i in range(2):
            write(models.small(7), tmp_path / f"{i}.onnx", form, standard)
            files.append((tmp_path / f"{i}.onnx").read_bytes())
        assert files[0] == files[1]
        assert str(tmp_path).encode() not in files[0]
        write(load(tmp_path / "0.onnx"), tmp_path / "again.onnx", form, standard)
        assert (tmp_path / "again.onnx").read_bytes() == files[0]


def test_a_float_file_gives_the_same_layers_without_parameters(tmp_path: Path) -> None:
    onnx.save(models.float_small(), tmp_path / "float.onnx")
    model = load(tmp_path / "float.onnx")
    assert model.form == "float"
    twin = models.small()
    core = [x for x in twin.layers if x.kind not in ("quantize", "dequantize")]
    assert [(x.name, x.kind) for x in model.layers] == [(x.name, x.kind) for x in core]
    for mine, other in zip(model.layers, core, strict=True):
        assert model.edges[mine.name].shape == twin.edges[other.name].shape
        assert model.edges[mine.name].params is None
        assert getattr(mine, "relu", None) == getattr(other, "relu", None)
        if isinstance(mine, Conv) and isinstance(other, Conv):
            assert mine.weight.params is None
            assert mine.weight.values.shape == other.weight.values.shape
            assert (mine.strides, mine.pads) == (other.strides, other.pads)


def test_equivalent_names_the_first_difference() -> None:
    model = models.small()
    assert equivalent(model, models.small()) == ""
    for field, part in (("weight", "values"), ("bias", "values")):
        other = models.small()
        array = getattr(getattr(other.layer("left"), field), part)
        array.reshape(-1)[0] ^= 1
        assert equivalent(model, other) == f"layer left: {field} holds other values"
    other = models.small()
    params = other.edges["pool"].params
    assert params is not None
    params.zero_point[...] += 1
    assert equivalent(model, other).startswith("edge pool: scale")


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write(models.small(), path)
    before = path.read_bytes()
    broken = models.small()
    del broken.edges["stem"]
    with pytest.raises(ModelError, match="nothing makes"):
        write(broken, path)
    onnx.save(models.float_small(), tmp_path / "float.onnx")
    with pytest.raises(UnsupportedError, match="no integers"):
        write(load(tmp_path / "float.onnx"), path)
    with pytest.raises(BitbybitError, match="form"):
        write(models.small(), path, "other")  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [tmp_path / "float.onnx", path]


def test_a_bias_at_another_scale_is_not_written(tmp_path: Path) -> None:
    model = models.small(per_channel=False)
    layer = model.layer("stem")
    assert isinstance(layer, Conv)
    assert layer.bias is not None
    assert layer.bias.params is not None
    layer.bias.params.scale[...] *= 2
    for form, standard in FORMS:
        with pytest.raises(ModelError, match="bias scale"):
            write(model, tmp_path / "m.onnx", form, standard)


def test_nothing_is_a_float_island_in_resnet8(tmp_path: Path) -> None:
    for form, standard in FORMS:
        write(models.resnet8(), tmp_path / "m.onnx", form, standard)
        assert not any(isinstance(x, FloatIsland) for x in load(tmp_path / "m.onnx").layers)


@pytest.mark.parametrize("name", ["int8", "int8_per_tensor", "uint8"])
def test_the_committed_models_are_what_the_writer_writes(name: str) -> None:
    folder = models_folder()
    qdq, qoperator = (folder / f"resnet8_{name}{suffix}.onnx" for suffix in ("", "_qoperator"))
    model = load(qdq)
    forms: list[tuple[Path, Form]] = [(qdq, "qdq"), (qoperator, "qoperator")]
    for path, form in forms:
        if path.exists():  # uint8 has no twin
            assert build(model, form).SerializeToString(deterministic=True) == path.read_bytes()
            assert equivalent(model, load(path)) == ""
