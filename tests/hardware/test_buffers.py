"""Which tensors live together: against a run that really keeps and drops its arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bitbybit
from bitbybit import hardware
from bitbybit.execution.engine import compute
from bitbybit.hardware import Buffer
from bitbybit.model.types import QuantizedModel, Reshape
from tests.support import models

EXAMPLES = ("int8", "int8_qoperator", "int8_per_tensor", "uint8")


def kept_bytes(model: QuantizedModel, image: Any) -> list[int]:
    """Run the network on one image; return the bytes held while each layer runs.

    After a layer everything is dropped that no later layer reads and that is no output.
    """
    held, found = {model.inputs[0]: image}, []
    for step, layer in enumerate(model.layers):
        held[layer.name] = compute(model, layer, [held[name] for name in layer.inputs])
        distinct = {array.__array_interface__["data"]: array.nbytes for array in held.values()}
        found.append(sum(distinct.values()))
        wanted = {name for later in model.layers[step + 1 :] for name in later.inputs}
        held = {name: held[name] for name in held if name in wanted | set(model.outputs)}
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_run_that_drops_what_nobody_reads_holds_as_many_bytes(name: str) -> None:
    model = bitbybit.load(bitbybit.example(name))
    image = bitbybit.samples().images[:1].astype(np.float32)
    assert list(hardware.live_bytes(model)) == kept_bytes(model, image)


def test_the_shortcut_of_a_block_is_kept_until_the_sum() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    order = [layer.name for layer in model.layers]
    found = {buffer.name: buffer for buffer in hardware.buffers(model)}
    assert found["stem"] == Buffer("stem", 16_384, order.index("stem"), order.index("stack1.add"))
    assert "flatten" not in found  # the same bytes as pool, until the dense layer has read them
    assert (found["pool"].first, found["pool"].last) == (order.index("pool"), order.index("dense"))
    assert [found[name].last for name in model.outputs] == [len(order) - 1]
    assert sorted(found) == sorted(
        name
        for name in model.edges
        if not any(isinstance(layer, Reshape) and layer.name == name for layer in model.layers)
    )


def test_a_float_network_counts_as_its_8_bit_twin() -> None:
    integer, real = (bitbybit.load(bitbybit.example(name)) for name in ("int8", "float"))
    live = dict(
        zip((layer.name for layer in integer.layers), hardware.live_bytes(integer), strict=True)
    )
    for layer, found in zip(real.layers, hardware.live_bytes(real), strict=True):
        ends = {"stem": 3_072 + 16_384, "dense": 74}
        assert found == ends.get(layer.name, live[layer.name]), layer.name


def test_a_residual_that_is_forgotten_shows() -> None:
    model = models.small()
    right = hardware.live_bytes(model)
    assert list(right) == kept_bytes(model, np.zeros((1, 3, 8, 8), np.float32))
    layers = [replace(layer, inputs=layer.inputs[:1]) for layer in model.layers]
    wrong = hardware.live_bytes(replace(model, layers=tuple(layers)))
    differ = [step for step, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
    assert [model.layers[step].name for step in differ] == ["add"]


def test_an_open_shape_leaves_its_steps_open() -> None:
    model = models.small()
    edges = dict(model.edges)
    edges["stem"] = replace(edges["stem"], shape=(None, 8, None, None))
    live = hardware.live_bytes(replace(model, edges=edges))
    steps = {layer.name: size for layer, size in zip(model.layers, live, strict=True)}
    assert [name for name, size in steps.items() if size is None] == ["stem", "left", "right"]
