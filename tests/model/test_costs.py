"""MACs, parameters, bytes and accumulator widths: against hand counts, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bitbybit.arithmetic import signed_width
from bitbybit.model.costs import accumulator, centred_rows, costs
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense
from bitbybit.model.writer import write
from tests.support import models
from tests.support.graphs import GraphMaker
from workshop.export import float_model
from workshop.layers import state_shapes


def test_resnet8_in_every_form(tmp_path: Path) -> None:
    state = {name: np.ones(shape, np.float32) for name, shape in state_shapes().items()}
    onnx.save(float_model(state), tmp_path / "float.onnx")
    model = models.resnet8()
    found = {"float": costs(load(tmp_path / "float.onnx")), "memory": costs(model)}
    for form, standard in (("qdq", False), ("qoperator", False), ("qoperator", True)):
        write(model, tmp_path / "m.onnx", form, standard)  # type: ignore[arg-type]
        found[f"{form} {standard}"] = costs(load(tmp_path / "m.onnx"))
        assert found[f"{form} {standard}"] == found["memory"]
    for each in found.values():
        assert sum(c.macs or 0 for c in each) == 12_501_632
        assert sum(c.weights for c in each) == 77_360
        assert sum(c.biases for c in each) == 346
        assert sum(c.weight_bytes for c in each) == 77_360 + 4 * 346
    integer = {c.name: c for c in found["memory"]}
    assert len(found["float"]) == len(integer) - 2  # no layers input and logits
    for real in found["float"]:
        twin = integer[real.name]
        assert real.accumulator is None
        assert (real.kind, real.output_shape, real.macs, real.parameters, real.weight_bytes) == (
            twin.kind,
            twin.output_shape,
            twin.macs,
            twin.parameters,
            twin.weight_bytes,
        )
        assert real.activation_bytes == twin.activation_bytes


@pytest.mark.parametrize(("dtype", "per_channel"), [(np.int8, True), (np.uint8, False)])
def test_accumulator_bounds_are_reached_by_some_input(dtype: type, per_channel: bool) -> None:
    """The exact interval is attained: feed each weight the code that pushes the sum outwards."""
    model = models.small(11, dtype, per_channel=per_channel)
    for layer in model.layers:
        if not isinstance(layer, (Conv, Dense)):
            assert accumulator(model, layer) is None or layer.kind == "global_pool"
            continue
        found = accumulator(model, layer)
        x = model.edges[layer.inputs[0]].params
        assert found is not None
        assert x is not None
        w, zero = centred_rows(layer), int(x.zero_point)
        bias = 0 if layer.bias is None else layer.bias.values.astype(np.int64)
        codes = np.where(w > 0, x.qmax, x.qmin) - zero
        high = (w * codes).sum(axis=1) + bias
        low = (w * (np.where(w > 0, x.qmin, x.qmax) - zero)).sum(axis=1) + bias
        assert (found.low, found.high) == (low.min(), high.max())
        assert found.bits == signed_width(found.low, found.high)
        assert found.bits <= found.weight_bits <= found.type_bits


def test_widths_of_the_data_type_bound() -> None:
    """The bound K * 128 * 255 of int8 codes, for each K of ResNet8."""
    model = models.resnet8()
    widths = {c.name: c.accumulator.type_bits for c in costs(model) if c.accumulator}
    assert widths == {
        "stem": 21,
        "stack1.conv1": 24,
        "stack1.conv2": 24,
        "stack2.conv1": 24,
        "stack2.conv2": 25,
        "stack2.shortcut": 21,
        "stack3.conv1": 25,
        "stack3.conv2": 26,
        "stack3.shortcut": 21,
        "pool": 15,
        "dense": 22,
    }


def test_grouped_convolutions_count_their_own_channels_only() -> None:
    net = models.Network((None, 8, 5, 5))
    model = net.finish(net.conv("depthwise", "input", 8, group=8))
    found = {c.name: c for c in costs(model)}["depthwise"]
    assert (found.macs, found.weights, found.biases) == (8 * 9 * 25, 72, 8)
    assert found.weight_bytes == 72 + 4 * 8


def test_an_open_image_size_leaves_costs_open() -> None:
    net = models.Network((None, 3, None, None))
    model = net.finish("input")
    assert [c.activation_bytes for c in costs(model)] == [None, None]


def test_islands_count_their_own_multiplications(tmp_path: Path) -> None:
    g = GraphMaker(("N", 4, 5, 5))
    w = g.constant("w", np.ones((4, 2, 3, 3), np.float32))
    x = g.node("ConvTranspose", "up", ["image", w], group=2, strides=[2, 2])
    v = g.constant("v", np.ones((11, 7), np.float32))
    model = load(g.save(tmp_path / "m.onnx", g.node("MatMul", "rows", [x, v])))
    found = {c.name: (c.macs, c.weights, c.output_shape) for c in costs(model)}
    assert found == {
        "up": (4 * 25 * 2 * 9, 72, (None, 4, 11, 11)),  # each input element is spread
        "rows": (4 * 11 * 7 * 11, 77, (None, 4, 11, 7)),
    }


def test_factors_of_a_batch_norm_and_sizes_are_no_weights(tmp_path: Path) -> None:
    g = GraphMaker(("N", 4, 5, 5))
    factors = [g.constant(name, np.ones(4, np.float32)) for name in ("s", "b", "m", "v")]
    x = g.node("BatchNormalization", "norm", ["image", *factors])
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    x = g.node("Resize", "larger", [x, "", scales])
    w = g.constant("w", np.ones((4, 3, 1, 1), np.float32))
    model = load(g.save(tmp_path / "m.onnx", g.node("ConvTranspose", "up", [x, w])))
    assert [(c.name, c.weights) for c in costs(model)] == [("norm", 0), ("larger", 0), ("up", 12)]
