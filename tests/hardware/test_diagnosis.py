"""Every injected bug is found, every explanation reproduces the dump, and nothing else is said.

The bugs of :mod:`tests.support.hardware_bugs` are made by ONNX Runtime on edited operands and by
plain loops; what they leave out is injected by the datapath itself.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit.errors import BitbybitError
from bitbybit.execution.engine import Trace, trace
from bitbybit.execution.feed import batches, stimuli
from bitbybit.hardware.datapath import Products, datapath
from bitbybit.hardware.diagnosis import Diagnosis, diagnose
from bitbybit.hardware.hypotheses import Hypothesis, hypotheses, of_output
from bitbybit.model.load import load
from bitbybit.model.types import (
    Conv,
    Edge,
    FloatIsland,
    Layer,
    MaxPool,
    QuantizedModel,
    QuantParams,
)
from bitbybit.resnet8.examples import default_images, example
from tests.support import one_node
from tests.support.hardware_bugs import BUGS, node
from tests.support.random_networks import RandomNetwork
from tests.support.runtime import on_contract_platform

MODELS = ("int8", "uint8", "int8_per_tensor")
QUICK = {"conv": "stack3.conv2", "dense": "dense", "add": "stack3.add", "global_pool": "pool"}
"""The layer of a kind on which the fast suite injects one bug of four."""

HIDDEN = {
    ("conv", "requantization: the scheme float64: "),
    ("conv", "requantization: the scheme single-rounding: "),
    ("dense", "rails: it wraps instead of saturating"),
    ("dense", "requantization: the scheme double-rounding: "),
    ("dense", "requantization: the scheme float64: "),
    ("dense", "requantization: the scheme shift-for-division: "),
    ("dense", "requantization: the scheme single-rounding: "),
}
"""What no committed model shows on two images: there the bug changes nothing."""


@cache
def traced(name: str) -> Trace:
    """Return all integers of two images."""
    model = load(example(name))
    images, _ = default_images(model, 2)
    assert images is not None
    return trace(model, images)


def inputs_of(name: str, layer: Layer) -> list[Any]:
    return [traced(name)[edge] for edge in layer.inputs]


def others_of(name: str, layer: Layer) -> dict[str, Any]:
    """Return the edges that the layer neither reads nor makes."""
    return {k: v for k, v in traced(name).items() if k not in (*layer.inputs, layer.name)}


def diagnosed(name: str, layer: Layer, got: Any, tensor: str = "y") -> Diagnosis:
    inputs, others = inputs_of(name, layer), others_of(name, layer)
    return diagnose(traced(name).model, layer.name, inputs, got, tensor=tensor, others=others)


def names(found: Diagnosis) -> list[str]:
    return [str(explanation) for explanation in found.explanations]


def output(path: Any, like: Any) -> Any:
    """Return the whole output of a datapath."""
    if not isinstance(path, Products):
        return path.output()
    values = path.run(path.places()).reshape(len(path.x), *path.out, -1)
    return values.transpose(0, 3, 1, 2).reshape(like.shape)


def changed(row: Hypothesis, path: Any, like: Any) -> Any:
    """Return what a hypothesis makes of a layer, None where it cannot."""
    try:
        new = row.change(path)
        return None if new is None else output(new, like)
    except (ValueError, IndexError, BitbybitError):
        return None


def cases(*, quick: bool) -> list[Any]:
    found = []
    for name in MODELS:
        for layer in load(example(name)).layers:
            for number, bug in enumerate(BUGS.get(layer.kind, ())):
                chosen = name == "int8" and layer.name == QUICK[layer.kind] and number % 4 == 0
                if chosen == quick:
                    identity = f"{name}-{layer.name}-{bug}"
                    found.append(pytest.param(name, layer.name, bug, id=identity))
    return found


def check(name: str, layer_name: str, bug: str) -> None:
    """Inject a bug and look for it; return without a word where it changes nothing."""
    layer = traced(name).model.layer(layer_name)
    right = traced(name)[layer_name]
    got = BUGS[layer.kind][bug](node(traced(name).model, layer, inputs_of(name, layer)))
    assert got.dtype == right.dtype
    assert got.shape == right.shape
    found = diagnosed(name, layer, got)
    assert found.different == int((got != right).sum())
    if found.different:
        assert any(found_name.startswith(bug) for found_name in names(found)), names(found)


@on_contract_platform
@pytest.mark.parametrize(("name", "layer", "bug"), cases(quick=True))
def test_a_bug_of_somebody_else_is_named(name: str, layer: str, bug: str) -> None:
    check(name, layer, bug)


@pytest.mark.slow
@on_contract_platform
@pytest.mark.parametrize(("name", "layer", "bug"), cases(quick=False))
def test_a_bug_is_named_on_every_layer(name: str, layer: str, bug: str) -> None:
    check(name, layer, bug)


@pytest.mark.slow
@on_contract_platform
def test_every_bug_shows_on_some_layer() -> None:
    """Else the tests above would prove nothing."""
    silent = {(kind, bug) for kind, bugs in BUGS.items() for bug in bugs}
    for name in MODELS:
        for layer in traced(name).model.layers:
            inputs = inputs_of(name, layer)
            for kind, bug in [pair for pair in silent if pair[0] == layer.kind]:
                got = BUGS[kind][bug](node(traced(name).model, layer, inputs))
                if not np.array_equal(got, traced(name)[layer.name]):
                    silent.discard((kind, bug))
    assert silent == HIDDEN


@pytest.mark.parametrize("name", MODELS)
def test_the_datapath_unchanged_is_the_layer(name: str) -> None:
    model, values = traced(name).model, traced(name)
    for layer in model.layers:
        path = datapath(model, layer, inputs_of(name, layer))
        assert np.array_equal(output(path, values[layer.name]), values[layer.name])
        if isinstance(path, Products):
            sums = values.accumulator(layer.name)
            assert np.array_equal(path.sums(path.places()), path.at(sums, path.places()))


@pytest.mark.parametrize("seed", range(12))
def test_any_layer_that_verify_computes_can_be_diagnosed(seed: int, tmp_path: Path) -> None:
    """The unchanged datapath is the layer, and a flipped bit of all codes is named."""
    path = tmp_path / f"{seed}.onnx"
    onnx.save(RandomNetwork(seed).model(), path)
    model = load(path)
    values = trace(model, next(batches(model, stimuli(model, 4), 2)))
    for layer in model.layers:
        inputs, right = [values[edge] for edge in layer.inputs], values[layer.name]
        if isinstance(layer, FloatIsland) or not right.size:
            continue
        assert np.array_equal(output(datapath(model, layer, inputs), right), right, equal_nan=True)
        if right.dtype.itemsize == 1:
            flipped = (right.view(np.uint8) ^ np.uint8(128)).view(right.dtype)
            found = diagnose(model, layer.name, inputs, flipped)
            assert found.different == right.size
            wanted = "output: the sign bit is flipped (unsigned, or offset by 128)"
            assert wanted in names(found)
            assert found.first is not None
            assert found.first.got == int(flipped.reshape(-1)[0])


@on_contract_platform
def test_a_pool_that_pads_with_code_0_is_named() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-128, -20, (2, 3, 6, 6)).astype(np.int8)
    window: dict[str, Any] = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 0, 0)}
    params = QuantParams(np.array(0.1, np.float32), np.array(-128, np.int8))
    layer = MaxPool("pool", ("x",), op="MaxPool", attributes=window)
    edges = {
        name: Edge(name, name, (None, 3, None, None), np.dtype(np.int8), params)
        for name in ("x", "pool")
    }
    model = QuantizedModel(
        path=Path("pool.onnx"), sha256="", form="qdq", opsets={}, inputs=("x",),
        outputs=("pool",), layers=(layer,), edges=edges,
    )  # fmt: skip
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)))
    attributes = {**{k: list(v) for k, v in window.items()}, "pads": [0, 0, 0, 0]}
    got = one_node.run("MaxPool", {"x": padded}, np.int8, attributes)
    assert "window: pads hold code 0" in names(diagnose(model, "pool", [x], got))


EVERY = [("int8", layer.name) for layer in load(example("int8")).layers]
EVERY += [("uint8", name) for name in ("stack2.conv1", "stack3.shortcut", "stack2.add", "dense")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer_name"), EVERY)
def test_what_is_returned_is_all_that_makes_the_dump_and_nothing_else(
    name: str, layer_name: str
) -> None:
    """Each hypothesis is injected; found are exactly those that make the same dump."""
    layer = traced(name).model.layer(layer_name)
    right, inputs = traced(name)[layer_name], inputs_of(name, layer)
    path, others = datapath(traced(name).model, layer, inputs), others_of(name, layer)
    made = {str(row): changed(row, path, right) for row in hypotheses(path, others)}
    made |= {str(row): row.change(right) for row in of_output(right, others) if _fits(row, right)}
    same: dict[bytes, set[str]] = {}
    for row, got in made.items():
        if got is not None and got.shape == right.shape and not np.array_equal(got, right):
            same.setdefault(np.ascontiguousarray(got).tobytes(), set()).add(row)
    for rows in same.values():
        found = names(diagnosed(name, layer, np.ascontiguousarray(made[next(iter(rows))])))
        assert {row for row in found if "not written" not in row} == rows


def _fits(row: Hypothesis, right: Any) -> bool:
    try:
        return row.change(right) is not None
    except (ValueError, IndexError):
        return False


def _odd_bugs(right: Any) -> dict[str, Any]:
    """Return bugs that no hypothesis describes."""
    rng = np.random.default_rng(7)
    flat = right.reshape(-1)
    swapped = right.copy()
    swapped[:, [0, 3]] = right[:, [3, 0]]
    noisy = flat.copy()
    places = rng.choice(flat.size, flat.size // 5 + 2, replace=False)
    noisy[places] ^= rng.integers(1, 256, places.size).astype(np.uint8).view(flat.dtype)
    return {
        "two channels change places": swapped,
        "37 is added": right + right.dtype.type(37),
        "a fifth is noise": noisy.reshape(right.shape),
        "every other element is inverted": np.where(np.arange(flat.size) % 2, flat, ~flat).reshape(
            right.shape
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["stack3.conv1", "stack2.add", "pool", "dense", "stem"])
def test_what_no_hypothesis_describes_is_unexplained(layer: str) -> None:
    what = traced("int8").model.layer(layer)
    for bug, got in _odd_bugs(traced("int8")[layer]).items():
        found = diagnosed("int8", what, got)
        assert found.different, bug
        assert names(found) == [], bug
        assert all(e.share < 1 for e in found.nearest)


ONE_BIT = ["stack2.shortcut", "stack3.add", "dense", "stem"]


@pytest.mark.parametrize(
    "layer", ["pool", "input", *(pytest.param(x, marks=pytest.mark.slow) for x in ONE_BIT)]
)
def test_one_bit_is_found(layer: str) -> None:
    what, right = traced("int8").model.layer(layer), traced("int8")[layer]
    rng = np.random.default_rng(3)
    for bit in (2, 6):
        got = right.copy()
        place = int(rng.integers(right.size))
        got.reshape(-1).view(np.uint8)[place] ^= np.uint8(1 << bit)
        found = diagnosed("int8", what, got)
        assert found.different == 1
        assert found.first is not None
        assert found.first.index == tuple(map(int, np.unravel_index(place, right.shape)))
        assert names(found) == []


def test_two_mistakes_are_found_as_a_pair() -> None:
    name, layer = "int8", traced("int8").model.layer("stack3.conv1")
    n = node(traced(name).model, layer, inputs_of(name, layer))
    n.operands["b"] = n.operands["b"] * 0
    n.operands["y_scale"] = n.operands["y_scale"] * np.float32(2)
    found = diagnosed(name, layer, n.run())
    assert (
        "sum: the bias is missing, and scales: the shift is off by 1: 0.5 times the output"
        in names(found)
    )
    assert all(len(e.mistakes) == 2 for e in found.explanations)


@pytest.mark.parametrize("tensor", ["acc", "sum"])
def test_accumulators_are_diagnosed_too(tensor: str) -> None:
    name, layer = "int8", traced("int8").model.layer("stack3.conv1")
    n = node(traced(name).model, layer, inputs_of(name, layer))
    bias = n.operands["b"].astype(np.int64).reshape(1, -1, 1, 1)
    right = n.sums() - (bias if tensor == "sum" else 0)
    assert diagnosed(name, layer, right.astype(np.int32), tensor).different == 0
    wrapped = right.astype(np.int16).astype(np.int32)
    assert "sum: the sum wraps at 16 bits" in names(diagnosed(name, layer, wrapped, tensor))
    if tensor == "acc":
        without = (right - bias).astype(np.int32)
        assert names(diagnosed(name, layer, without, tensor)) == ["sum: the bias is missing"]


def test_the_first_element_has_its_sum_its_exact_value_and_its_window() -> None:
    name, layer = "int8", traced("int8").model.layer("stack2.conv1")
    assert isinstance(layer, Conv)
    assert layer.bias is not None
    right, (x,) = traced(name)["stack2.conv1"], inputs_of(name, layer)
    got = right.copy()
    got[1, 3, 15, 15] ^= 16
    found = diagnosed(name, layer, got)
    first = found.first
    assert first is not None
    assert first.window is not None
    assert first.index == (1, 3, 15, 15)
    assert (first.expected, first.got) == (right[first.index], got[first.index])
    assert first.expected_hex == f"{int(right[first.index]) & 255:02x}"
    assert first.window.padded == [[False, False, True], [False, False, True], [True, True, True]]
    centred = [
        (code + 128) * int(weight)
        for line, weights in zip(first.window.codes, layer.weight.values[3], strict=True)
        for row, row_weights in zip(line, weights, strict=True)
        for code, weight in zip(row, row_weights, strict=True)
    ]
    assert sum(centred) + int(layer.bias.values[3]) == first.accumulator
    assert first.window.codes[0][0][0] == x[1, 0, 30, 30]
    assert first.scaled is not None
    assert first.tie is not None
    n = node(traced(name).model, layer, [x])
    exact = first.accumulator * float(n.scale().reshape(-1)[3])
    assert float(first.scaled) == pytest.approx(exact, rel=1e-6)
    assert float(first.tie) == pytest.approx(abs(exact - np.floor(exact) - 0.5), abs=1e-4)
    assert (sum(found.by_channel), found.by_row[15], found.by_column[15]) == (1, 1, 1)


def test_what_was_never_written_is_named() -> None:
    name, layer = "int8", traced("int8").model.layer("stack3.conv2")
    right = traced(name)["stack3.conv2"]
    tail = right.copy()
    tail.reshape(-1)[5000:] = 0
    assert any("not written from element 5" in text for text in names(diagnosed(name, layer, tail)))
    last = np.ascontiguousarray(right.transpose(0, 2, 3, 1))
    last.reshape(-1)[6000:] = 17
    found = diagnosed(name, layer, last.transpose(0, 3, 1, 2))
    assert any("on, in the order NHWC: constant 17" in text for text in names(found))
    channels = right.copy()
    channels[:, 7::8] = 0
    wanted = "output: not written in channel 7, 15, 23, 31, 39, 47, 55, 63: constant 0"
    assert wanted in names(diagnosed(name, layer, channels))
    unknown = np.ma.masked_array(right, np.broadcast_to(np.arange(8) == 7, right.shape))
    found = diagnosed(name, layer, unknown)
    assert (found.different, found.unknown) == (right.size // 8, right.size // 8)
    assert "output: not written in column 7: x" in names(found)
    assert found.first is not None
    assert (found.first.got, found.first.got_hex) == (None, "xx")


def test_another_layer_s_output_is_recognized() -> None:
    name, layer = "int8", traced("int8").model.layer("stack3.conv2")
    found = diagnosed(name, layer, traced(name)["stack3.add"])
    assert "output: it is stack3.add" in names(found)


def test_a_right_dump_has_no_diagnosis() -> None:
    layer = traced("int8").model.layer("stem")
    found = diagnosed("int8", layer, traced("int8")["stem"])
    assert (found.different, found.first, found.explanations) == (0, None, ())


def test_a_dump_of_another_shape_is_refused() -> None:
    layer = traced("int8").model.layer("stem")
    with pytest.raises(BitbybitError, match="not of the layer's type and shape"):
        diagnosed("int8", layer, traced("int8")["stem"][:, :8])
