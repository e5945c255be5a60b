"""The restricted ``.pt`` reader compared with torch, value by value."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.model.torch_file import TorchTensor, read_torch_file
from tests.support import torch_models

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def network() -> Any:
    return torch_models.network()


@pytest.fixture(scope="module")
def quantized(network: Any) -> Any:
    return torch_models.quantized(network)


def assert_float(found: dict[str, TorchTensor], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert not found[name].is_quantized
        assert found[name].values.dtype == value.detach().numpy().dtype
        assert np.array_equal(found[name].values, value.detach().numpy())


def assert_quantized(found: TorchTensor, expected: Any) -> None:
    import torch

    assert np.array_equal(found.values, expected.int_repr().numpy())
    assert found.scale is not None
    assert found.zero_point is not None
    if expected.qscheme() == torch.per_tensor_affine:
        assert found.axis is None
        assert found.scale == expected.q_scale()
        assert found.zero_point == expected.q_zero_point()
    else:
        assert found.axis == expected.q_per_channel_axis()
        assert found.scale.dtype == np.float64
        assert np.array_equal(found.scale, expected.q_per_channel_scales().numpy())
        assert np.array_equal(found.zero_point, expected.q_per_channel_zero_points().numpy())


def test_state_dict(network: Any, tmp_path: Path) -> None:
    file = read_torch_file(torch_models.save(network.state_dict(), tmp_path / "a.pt"))
    assert file.kind == "state_dict"
    assert_float(file.tensors, network.state_dict())


def test_checkpoint_dictionary(network: Any, tmp_path: Path) -> None:
    checkpoint = {"epoch": 3, "state_dict": network.state_dict(), "loss": 0.5}
    file = read_torch_file(torch_models.save(checkpoint, tmp_path / "a.pt"))
    assert_float(file.tensors, network.state_dict())


def test_pickled_module(network: Any, tmp_path: Path) -> None:
    file = read_torch_file(torch_models.save(network, tmp_path / "a.pt"))
    assert file.kind == "module"
    assert file.classes["conv"] == "torch.nn.modules.conv.Conv2d"
    assert file.classes["bn"] == "torch.nn.modules.batchnorm.BatchNorm2d"
    assert set(file.tensors) == set(network.state_dict())
    assert_float({name: file.tensors[name] for name in network.state_dict()}, network.state_dict())


def test_pickled_graph_module_with_functions_and_buffers(network: Any, tmp_path: Path) -> None:
    """Builtin functions are pickled as ``getattr`` calls; constants hide in buffers."""
    import torch
    from torch import fx

    graph = fx.symbolic_trace(network)
    graph.add_module("initializers", torch.nn.Module())
    graph.initializers.register_buffer("onnx_initializer_0", torch.tensor([1.5, 2.5]))
    graph.function = torch.add
    file = read_torch_file(torch_models.save(graph, tmp_path / "a.pt"))
    assert file.kind == "module"
    assert file.classes[""] == "torch.fx.graph_module.GraphModule"
    assert file.tensors["initializers.onnx_initializer_0"].values.tolist() == [1.5, 2.5]
    expected = graph.state_dict()
    assert_float({name: file.tensors[name] for name in expected}, expected)


def test_script(network: Any, tmp_path: Path) -> None:
    file = read_torch_file(torch_models.save_script(network, tmp_path / "a.pt"))
    assert file.kind == "torchscript"
    assert set(file.tensors) == set(network.state_dict())
    assert_float({name: file.tensors[name] for name in network.state_dict()}, network.state_dict())


@pytest.mark.parametrize("form", ["state_dict", "module", "script"])
def test_quantized(quantized: Any, form: str, tmp_path: Path) -> None:
    path = tmp_path / "q.pt"
    if form == "script":
        torch_models.save_script(quantized, path)
    else:
        torch_models.save(quantized.state_dict() if form == "state_dict" else quantized, path)
    file = read_torch_file(path)
    layers = {"conv": quantized.conv, "depthwise": quantized.depthwise, "fc": quantized.fc}
    for name, layer in layers.items():
        assert_quantized(file.tensors[f"{name}.weight"], layer.weight())
        if layer.bias() is None:
            assert f"{name}.bias" not in file.tensors
        else:
            bias = file.tensors[f"{name}.bias"]
            assert np.array_equal(bias.values, layer.bias().detach().numpy())
        scale = file.numbers.get(f"{name}.scale")
        if scale is None:
            scale = file.tensors[f"{name}.scale"].values.item()
            assert np.float32(layer.scale) == np.float32(scale)
        else:
            assert scale == layer.scale


def test_frozen_script_keeps_its_packed_parameters(quantized: Any, tmp_path: Path) -> None:
    file = read_torch_file(torch_models.save_script(quantized, tmp_path / "f.pt", freeze=True))
    found = [t for t in file.tensors.values() if t.is_quantized]
    expected = (quantized.conv.weight(), quantized.depthwise.weight(), quantized.fc.weight())
    assert len(found) == len(expected)
    for tensor, weight in zip(found, expected, strict=True):
        assert_quantized(tensor, weight)


def test_packed_parameters_of_an_operator(tmp_path: Path) -> None:
    """Convolution operators keep their weight in a packed object of their own."""
    import torch

    class Holder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, packed: Any) -> None:
            super().__init__()
            self.packed = packed

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.quantized.conv2d(x, self.packed, 0.5, 3)

    weight = torch.quantize_per_tensor(torch.randn(4, 2, 3, 3), 0.02, 0, torch.qint8)
    bias = torch.randn(4)
    packed = torch.ops.quantized.conv2d_prepack(weight, bias, [1, 1], [0, 0], [1, 1], 1)
    path = torch_models.save_script(Holder(packed), tmp_path / "p.pt")
    tensors = read_torch_file(path).tensors
    assert list(tensors) == ["packed.weight", "packed.bias"]
    assert_quantized(tensors["packed.weight"], torch.ops.quantized.conv2d_unpack(packed)[0])
    assert np.array_equal(tensors["packed.bias"].values, bias.numpy())


def test_views_layouts_and_types(tmp_path: Path) -> None:
    import torch

    base = torch.arange(24, dtype=torch.float32)
    tensors = OrderedDict(
        last=base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        part=base[3:9:2],
        transposed=base.reshape(4, 6).T,
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(5),
        half=base.half(),
        brain=base.bfloat16(),
        flags=base > 3,
        parameter=torch.nn.Parameter(base),
        per_tensor=torch.quantize_per_tensor(base, 0.1, 5, torch.quint8),
        bias=torch.quantize_per_tensor(base, 0.001, 0, torch.qint32),
    )
    file = read_torch_file(torch_models.save(tensors, tmp_path / "a.pt"))
    for name, value in tensors.items():
        found = file.tensors[name]
        if value.is_quantized:
            assert_quantized(found, value)
        else:
            plain = value.detach()
            expected = plain.float() if plain.dtype == torch.bfloat16 else plain
            assert found.values.shape == tuple(expected.shape)
            assert np.array_equal(found.values, expected.numpy())


def test_version_3_tensors(tmp_path: Path) -> None:
    import torch

    value = torch.tensor([1, 65535], dtype=torch.uint16)
    found = read_torch_file(torch_models.save({"a": value}, tmp_path / "a.pt")).tensors["a"]
    assert np.array_equal(found.values, value.numpy())
