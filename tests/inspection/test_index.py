"""The tensor index of ONNX and torch files, and of files that are neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitbybit.inspection.index import tensor_index
from tests.support import foreign, torch_archive, twins


@pytest.mark.parametrize("name", ["int8", "int8_qoperator", "uint8", "float"])
def test_onnx(name: str, tmp_path: Path) -> None:
    index = tensor_index(twins.twin(name, tmp_path).path)
    assert (index.format, index.reason) == ("onnx", "")
    assert index.is_quantized == (name != "float")
    assert len(index.layers) == 10
    weight = index.layers["stem"].tensors["weight"]
    assert weight.shape == (16, 3, 3, 3)
    assert weight.is_quantized == (name != "float")
    if name == "float":
        assert (weight.int_values, weight.scale, weight.scale_values) == (None, None, None)
        return
    assert weight.int_values is not None
    assert weight.scale_values is not None
    assert weight.zero_point_values is not None
    if name == "uint8":
        assert weight.scale == weight.scale_values[0]
        assert weight.zero_point == weight.zero_point_values[0]
    else:
        assert (weight.scale, weight.zero_point, weight.axis) == (None, None, 0)
        assert weight.scale_values.shape == (16,)
    assert index.layers["stem"].output_scale is not None


def test_values_are_dequantized_by_channel(tmp_path: Path) -> None:
    index = tensor_index(twins.twin("int8", tmp_path).path)
    floats = tensor_index(twins.twin("float", tmp_path).path)
    for name, layer in index.layers.items():
        for role, tensor in layer.tensors.items():
            assert tensor.scale_values is not None
            shape = [1] * len(tensor.shape)
            assert tensor.axis is not None
            shape[tensor.axis] = -1
            step = tensor.scale_values.reshape(shape)
            error = np.abs(tensor.values - floats.layers[name].tensors[role].values)
            assert (error <= step * 0.5001).all(), (name, role)
            assert tensor.values.dtype == np.float32


def test_tensors_of_islands_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(foreign.batch_norm_left().SerializeToString())
    layer = tensor_index(path).layers["bn.mul"]
    assert any(t.shape == (1, 4, 1, 1) for t in layer.tensors.values())


def test_a_state_dict_by_hand(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    pickle = torch_archive.dictionary(
        **{"conv.weight": torch_archive.tensor("0", 6, (2, 3), (3, 1)),
           "conv.bias": torch_archive.tensor("0", 6, (2,), (1,))}
    )  # fmt: skip
    path = torch_archive.write(tmp_path / "m.pt", pickle, {"data/0": values.tobytes()})
    index = tensor_index(path)
    assert (index.format, index.is_quantized) == ("pytorch", False)
    assert list(index.layers["conv"].tensors) == ["weight", "bias"]
    assert index.layers["conv"].tensors["weight"].name == "conv.weight"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.onnx", None, "no such file"),
        ("none.pt", None, "no such file"),
        ("none.h5", None, "no such file"),
        ("some.h5", b"x", "extension is unknown"),
        ("noext", b"x", "extension is unknown"),
        ("text.onnx", b"hello", "not an ONNX file"),
        ("text.pt", b"hello", "not a torch file"),
        ("empty.pth", b"", "empty"),
    ],
)
def test_what_is_no_model_is_format_none(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    index = tensor_index(path)
    assert (index.format, index.layers, index.is_quantized) == ("none", {}, False)
    assert reason in index.reason
    assert index.reason.endswith(".")


@pytest.mark.parametrize("suffix", ["onnx", "pt", "h5"])
def test_a_name_too_long_for_the_system_is_format_none(suffix: str) -> None:
    index = tensor_index("x" * 10_000 + "." + suffix)
    assert index.format == "none"
    assert len(index.reason) < 200


def test_code_in_a_file_is_format_none_and_named(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = torch_archive.call(b"os\nsystem", torch_archive.text(f"touch {canary}"))
    index = tensor_index(torch_archive.write(tmp_path / "evil.pt", evil))
    assert index.format == "none"
    assert "os.system" in index.reason
    assert not canary.exists()


@pytest.mark.torch
def test_torch_values_equal_those_of_torch(tmp_path: Path) -> None:
    from tests.support import torch_models

    network = torch_models.quantized(torch_models.network())
    index = tensor_index(torch_models.save_script(network, tmp_path / "q.pt"))
    assert index.is_quantized
    for name in ("conv", "depthwise", "fc"):
        layer, module = index.layers[name], getattr(network, name)
        expected = module.weight().dequantize().numpy()
        assert np.array_equal(layer.tensors["weight"].values, expected)
        assert layer.tensors["weight"].scale_values is not None
        assert layer.tensors["weight"].scale_values.dtype == np.float64
    assert index.layers["conv"].output_scale == network.conv.scale
    assert index.layers["conv"].output_zero_point == network.conv.zero_point
