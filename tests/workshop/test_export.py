"""The float export: structure, padding, folding, stable bytes, and refused state dicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bitbybit.errors import ModelError
from bitbybit.execution.sessions import Session
from bitbybit.resnet8.examples import samples
from tests.support.resnet8_state import random_state
from workshop.export import float_model, fold_batch_norm
from workshop.layers import convolutions, state_shapes

ORDER = [
    "stem", "stack1.conv1", "stack1.conv2", "stack1.add",
    "stack2.conv1", "stack2.conv2", "stack2.shortcut", "stack2.add",
    "stack3.conv1", "stack3.conv2", "stack3.shortcut", "stack3.add",
    "pool", "flatten", "dense",
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return float_model(random_state())


def test_nodes_carry_the_layer_names_in_graph_order(model: onnx.ModelProto) -> None:
    names = [node.name for node in model.graph.node if not node.name.endswith("/relu")]
    assert names == ORDER
    relus = [node.name for node in model.graph.node if node.op_type == "Relu"]
    assert relus == [
        f"{name}/relu" for name in ORDER if name == "stem" or name.endswith((".conv1", ".add"))
    ]


def test_inputs_outputs_and_sizes(model: onnx.ModelProto) -> None:
    def signature(values: Any) -> list[tuple[str, list[Any]]]:
        return [
            (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
            for v in values
        ]

    assert signature(model.graph.input) == [("image", ["N", 3, 32, 32])]
    assert signature(model.graph.output) == [("logits", ["N", 10])]
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert sum(a.size for n, a in arrays.items() if n.endswith(".weight")) == 77360
    assert sum(a.size for n, a in arrays.items() if n.endswith(".bias")) == 346
    assert all(array.dtype == np.float32 for array in arrays.values())


def test_padding_is_that_of_keras(model: onnx.ModelProto) -> None:
    pads = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            values = {a.name: list(a.ints) for a in node.attribute}
            pads[node.name] = (values["kernel_shape"][0], values["strides"][0], values["pads"])
    assert pads["stem"] == (3, 1, [1, 1, 1, 1])
    assert pads["stack2.conv1"] == pads["stack3.conv1"] == (3, 2, [0, 0, 1, 1])
    assert pads["stack2.shortcut"] == pads["stack3.shortcut"] == (1, 2, [0, 0, 0, 0])


def test_the_bytes_depend_on_the_weights_alone(model: onnx.ModelProto) -> None:
    data = model.SerializeToString(deterministic=True)
    assert float_model(random_state()).SerializeToString(deterministic=True) == data
    assert float_model(random_state(1)).SerializeToString(deterministic=True) != data


def test_folding_is_rounded_once() -> None:
    state = random_state(3)
    conv = next(convolutions())
    weight, bias = fold_batch_norm(state, conv)
    for m in range(16):
        gamma, beta, mean, variance = (
            float(state[f"stem_bn.{part}"][m])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / float(np.sqrt(variance + 1e-3))
        assert weight[m, 2, 1, 0] == np.float32(float(state["stem.weight"][m, 2, 1, 0]) * factor)
        assert bias[m] == np.float32((float(state["stem.bias"][m]) - mean) * factor + beta)


@pytest.mark.torch
def test_onnx_runtime_agrees_with_the_module() -> None:
    """Folding and another order of summation move a logit by no more than 1e-5 of the largest."""
    import torch

    from workshop.architecture import ResNet8

    state = random_state(5)
    module = ResNet8().eval()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    x = samples().images.astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    (found,) = Session(float_model(state).SerializeToString()).run({"image": x})
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.torch
def test_the_state_dict_of_the_module_is_the_one_described() -> None:
    from workshop.architecture import ResNet8

    shapes = {k: tuple(v.shape) for k, v in ResNet8().state_dict().items() if v.ndim}
    assert shapes == state_shapes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stem.weight": np.zeros((16, 1, 3, 3), np.float32)}, r"stem\.weight of shape \(16, 3"),
        ({"fc.weight": np.zeros(3, np.float32)}, r"expected no fc\.weight, found shape \(3,\)"),
        ({"dense.bias": np.full(10, np.nan, np.float32)}, "not a finite float"),
        ({"dense.bias": np.zeros(10, np.int64)}, "not a finite float.*found int64"),
        ({"stem_bn.running_var": np.full(16, -1, np.float32)}, "a variance is negative"),
    ],
)
def test_other_state_dicts_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        float_model({**random_state(), **change}, "weights.pt")


def test_an_incomplete_state_dict_is_refused() -> None:
    state = random_state()
    del state["stack3.shortcut.bias"]
    with pytest.raises(ModelError, match=r"stack3\.shortcut\.bias of shape \(64,\), found none"):
        float_model(state)
