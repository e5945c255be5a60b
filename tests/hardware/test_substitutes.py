"""Networks with other parts: the contract's parts change nothing, others act layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bitbybit
from bitbybit import arithmetic, hardware
from bitbybit.arithmetic.alternatives import ADDERS, AVERAGES
from bitbybit.arithmetic.requantizers import REQUANTIZERS, single_rounding
from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.execution import engine
from bitbybit.model.types import Add, Conv, Dense, GlobalPool, Layer, QuantizedModel
from tests.support.random_networks import RandomNetwork

CONTRACT: hardware.Parts = {
    "accumulator": lambda _, acc: acc,
    "requantize": REQUANTIZERS["contract"],
    "add": ADDERS["contract"],
    "average": AVERAGES["contract"],
}


def images(count: int) -> Any:
    rng = np.random.default_rng(8)
    return rng.integers(0, 256, (count, 3, 32, 32)).astype(np.float32)


def equal(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[k], other[k]) for k in one)


def wrapped(bits: int) -> Any:
    """Return a register of so many bits that wraps."""
    half = 1 << (bits - 1)
    return lambda _, acc: ((acc + half) % (2 * half) - half).astype(np.int32)


def test_all_parts_of_the_contract_change_nothing(
    models: dict[str, QuantizedModel],
) -> None:
    for model in models.values():
        x = images(3)
        expected = bitbybit.trace(model, x)
        assert equal(hardware.trace_with(model, x, **CONTRACT), expected)
        assert equal(hardware.trace_with(model, x), expected)
        for name in CONTRACT:
            alone: Any = {name: CONTRACT[name]}  # type: ignore[literal-required]
            assert equal(hardware.trace_with(model, x, **alone), expected)
        thresholds = REQUANTIZERS["thresholds"]
        assert equal(hardware.trace_with(model, x, requantize=thresholds), expected)


@pytest.fixture(scope="module")
def models() -> dict[str, QuantizedModel]:
    """Return the committed networks: signed, unsigned, and one scale for each weight."""
    names = ("int8", "uint8", "int8_per_tensor")
    return {name: bitbybit.load(bitbybit.example(name)) for name in names}


OTHER: list[hardware.Parts] = [
    {"requantize": REQUANTIZERS["floor"]},
    {"requantize": REQUANTIZERS["double-rounding"], "accumulator": wrapped(14)},
    {"requantize": single_rounding(4), "add": ADDERS["each-operand-rounded"]},
    {"average": AVERAGES["truncate"], "accumulator": wrapped(12)},
]


@pytest.mark.parametrize("parts", OTHER)
@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_each_layer_is_made_of_its_inputs_by_the_parts(
    models: dict[str, QuantizedModel], name: str, parts: hardware.Parts
) -> None:
    """Layer by layer, of the codes that the layer before gave, wrong as they may be."""
    model, x = models[name], images(2)
    trace = hardware.trace_with(model, x, **parts)
    assert not np.array_equal(trace["pool"], bitbybit.trace(model, x)["pool"])
    for layer in model.layers:
        assert np.array_equal(trace[layer.name], by_the_parts(model, layer, trace, parts))


def by_the_parts(model: QuantizedModel, layer: Layer, trace: Any, parts: hardware.Parts) -> Any:
    inputs = [trace[name] for name in layer.inputs]
    (*x, y) = (model.edges[name].params for name in (*layer.inputs, layer.name))
    if isinstance(layer, Add) and "add" in parts:
        a, b = x
        given = inputs[0], a.scale, a.zero_point, inputs[1], b.scale, b.zero_point  # type: ignore[union-attr]
        return parts["add"](*given, y.scale, y.zero_point)  # type: ignore[misc,union-attr]
    if not isinstance(layer, (Conv, Dense, GlobalPool)):
        return engine.compute(model, layer, inputs)
    acc = engine.accumulate(model, layer, inputs)
    acc = (parts.get("accumulator") or (lambda _, same: same))(layer, acc)
    if isinstance(layer, GlobalPool):
        scheme, w_scale = parts.get("average") or AVERAGES["contract"], np.float32(64)
    else:
        scheme = parts.get("requantize") or REQUANTIZERS["contract"]
        assert layer.weight.params is not None
        w_scale = layer.weight.params.scale  # type: ignore[assignment]
    return scheme(acc, x[0].scale, w_scale, y.scale, y.zero_point, 1)  # type: ignore[union-attr]


def test_batches_are_traces_of_their_images(models: dict[str, QuantizedModel]) -> None:
    model, x = models["int8"], images(5)
    whole = hardware.trace_with(model, x, **OTHER[1])
    parts = list(hardware.stream_with(model, x, 2, **OTHER[1]))
    assert [len(part["logits"]) for part in parts] == [2, 2, 1]
    for name in whole:
        if name not in model.inputs:
            assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_the_register_is_told_its_layer(models: dict[str, QuantizedModel]) -> None:
    """A register too short for one layer leaves the layers before as they are."""
    model, x = models["int8"], images(2)
    right = bitbybit.trace(model, x)

    def register(layer: Layer, acc: Any) -> Any:
        return wrapped(9)(layer, acc) if layer.name == "stack2.conv1" else acc

    wrong = hardware.trace_with(model, x, accumulator=register)
    changed = [name for name in right if not np.array_equal(right[name], wrong[name])]
    assert changed[0] == "stack2.conv1"
    assert "stack2.shortcut" not in changed


def test_random_networks_are_the_same_with_the_parts_of_the_contract(tmp_path: Path) -> None:
    """Groups, dilations, broadcast additions, real outputs, float islands: as exporters write."""
    traced = 0
    for seed in range(60):
        path = tmp_path / f"{seed}.onnx"
        onnx.save(RandomNetwork(seed).model(), path)
        model = bitbybit.load(path)
        rng = np.random.default_rng(seed)
        shapes = {name: model.edges[name].shape for name in model.inputs}
        x = {
            name: rng.normal(0, 2, [2 if size is None else size for size in shape]).astype(
                model.edges[name].dtype
            )
            for name, shape in shapes.items()
        }
        try:
            expected = bitbybit.trace(model, x)
        except BitbybitError:
            continue
        traced += 1
        assert equal(hardware.trace_with(model, x, **CONTRACT), expected), f"seed {seed}"
    assert traced > 40


def test_accumulators_of_the_fast_form_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (17, 3, 6, 5), dtype=np.int8)
    w = rng.integers(-128, 128, (4, 3, 3, 2), dtype=np.int8)
    bias = rng.integers(-9000, 9000, 4).astype(np.int32)
    zero, none, one = np.array(7, np.int8), np.array(0, np.int8), np.float32(1)
    window: dict[str, Any] = {"strides": (2, 1), "pads": (1, 0, 0, 2)}
    fast = arithmetic.fast_conv(one, zero, w, one, none, one, zero, bias, **window)
    assert fast is not None
    sums = fast.accumulators(arithmetic.Interleaved.of(x, zero))
    assert sums is not None
    found = np.concatenate([part.transpose(3, 1, 0, 2) for part in sums])
    assert found.dtype == np.int32
    expected = arithmetic.accumulate_conv(x, zero, w, none, bias, **window)
    assert np.array_equal(found, expected)
    assert fast.accumulators(arithmetic.Interleaved.of(x[:, :2], zero)) is None


def test_bad_inputs_are_refused_as_everywhere(models: dict[str, QuantizedModel]) -> None:
    with pytest.raises(DataError):
        hardware.trace_with(models["int8"], images(1)[:, :2], **CONTRACT)
    floats = bitbybit.load(bitbybit.example("float"))
    with pytest.raises(UnsupportedError):
        hardware.trace_with(floats, images(1), **CONTRACT)
