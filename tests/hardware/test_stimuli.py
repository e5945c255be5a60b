"""Stimuli for a layer alone: what they reach, counted again in another way."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bitbybit import example, load, samples
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.exhaustive import reachable
from bitbybit.hardware import Choice, Pack, write_pack
from bitbybit.hardware.stimuli import PATTERNS, directed
from bitbybit.model.types import Add, Conv, Dense, FloatIsland, QuantizedModel, QuantParams, Reshape
from tests.support.foreign import runtime_quantized
from tests.support.models import float_foreign
from tests.support.random_networks import RandomNetwork
from tests.support.runtime import on_contract_platform

LAYERS = ("stem", "stack2.shortcut", "stack1.add", "pool", "dense")


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return load(example("int8"))


@pytest.fixture(scope="module")
def pack(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    choice = Choice(layers=LAYERS, stimuli=("real", "directed", "hazard"))
    folder = tmp_path_factory.mktemp("packs") / "pack"
    return write_pack(model, folder, samples().images[:1], choice)


def targets(pack: Pack, name: str) -> list[dict[str, str]]:
    """Return the rows of a layer's targets."""
    path = pack.folder / pack.layer(name)["vectors"]["hazard"]["targets"]["file"]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@on_contract_platform
@pytest.mark.parametrize("kind", ["directed", "hazard"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_outputs_are_those_of_the_runtime(
    pack: Pack, model: QuantizedModel, name: str, kind: str
) -> None:
    layer = model.layer(name)
    inputs = [pack.tensor(name, "x", kind, place) for place in range(len(layer.inputs))]
    theirs = LayerRuntime(model).output(layer, dict(zip(layer.inputs, inputs, strict=True)))
    assert np.array_equal(pack.tensor(name, "y", kind), theirs)


@pytest.mark.parametrize("name", ["stem", "stack2.shortcut", "dense"])
def test_what_is_said_to_be_reached_is(pack: Pack, model: QuantizedModel, name: str) -> None:
    layer = model.layer(name)
    assert isinstance(layer, (Conv, Dense))
    acc = pack.tensor(name, "acc", "hazard")
    flat = acc.reshape(*acc.shape[:2], -1).tolist()
    wanted, reached = Counter[str](), Counter[str]()
    for row in targets(pack, name):
        image, pixel, total = int(row["image"]), int(row["pixel"]), int(row["acc"])
        wanted[row["hazard"]] += 1
        reached[row["hazard"]] += image >= 0 and flat[image][int(row["channel"])][pixel] == total
    said = pack.layer(name)["vectors"]["hazard"]["coverage"]["hazards"]
    assert said == {hazard: [wanted[hazard], reached[hazard]] for hazard in wanted}
    assert sum(reached.values()) >= 0.97 * sum(wanted.values())
    # Every channel's whole range was asked for, and both ends were reached where no pad is needed.
    x = model.edges[layer.inputs[0]].params
    assert x is not None
    low, high = reachable(layer, x)
    assert acc.min(axis=(0, *range(2, acc.ndim))).tolist() == low.tolist()
    assert acc.max(axis=(0, *range(2, acc.ndim))).tolist() == high.tolist()


@pytest.mark.parametrize("name", ["stem", "dense"])
def test_hazards_tell_schemes_apart_that_an_image_does_not(
    pack: Pack, model: QuantizedModel, name: str
) -> None:
    layer = model.layer(name)
    assert isinstance(layer, (Conv, Dense))
    x, w, y = model.edges[layer.inputs[0]].params, layer.weight.params, model.edges[name].params
    assert x is not None
    assert w is not None
    assert y is not None
    told = {}
    for kind in ("real", "hazard"):
        acc, codes = (pack.tensor(name, tensor, kind) for tensor in ("acc", "y"))
        apart = {
            scheme: int(np.sum(rule(acc, x.scale, w.scale, y.scale, y.zero_point, 1) != codes))
            for scheme, rule in REQUANTIZERS.items()
        }
        said = pack.layer(name)["vectors"][kind]["coverage"]["schemes_apart"]
        assert said == apart
        told[kind] = {scheme for scheme, count in apart.items() if count}
    same = {"contract", "thresholds", "xnnpack-fp32"}
    wanted = {row["hazard"] for row in targets(pack, name)} & set(REQUANTIZERS)
    assert wanted <= told["hazard"]
    assert not told["hazard"] & same
    assert len(told["hazard"]) >= len(told["real"]) + 7


def test_an_image_meets_no_tie_and_the_hazards_do(pack: Pack) -> None:
    for name in ("stem", "stack2.shortcut", "dense"):
        vectors = pack.layer(name)["vectors"]
        acc, m = pack.tensor(name, "acc", "hazard"), pack.tensor(name, "m")
        shape = (-1, *(1 for _ in acc.shape[2:]))
        real = acc.astype(np.float32) * m.reshape(shape)
        halves = (real * 2 == np.rint(real * 2)) & (real != np.rint(real))
        zero = pack.layer(name)["quantization"]["y"]["zero_point"][0]
        inside = (real > -129 - zero) & (real < 128 - zero)
        assert vectors["hazard"]["coverage"]["ties"] == int((halves & inside).sum()) > 10
        assert vectors["real"]["coverage"]["ties"] == 0


def test_the_border_tells_a_pad_of_zero(pack: Pack) -> None:
    said = pack.layer("stem")["vectors"]["real"]["coverage"]
    assert said["border_outputs"] == 16 * (32 * 32 - 30 * 30)
    x, w = pack.tensor("stem", "x", "real").astype(int), pack.tensor("stem", "w").astype(int)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0) + 128
    b, m = pack.tensor("stem", "b"), pack.tensor("stem", "m")
    acc = (
        sum(
            np.einsum("nchw,mc->nmhw", padded[:, :, p : p + 32, q : q + 32], w[:, :, p, q])
            for p in range(3)
            for q in range(3)
        )
        + b[:, None, None]
    )
    y = np.clip(np.rint(acc.astype(np.float32) * m[:, None, None]), 0, 255) - 128
    other = int((y != pack.tensor("stem", "y", "real")).sum())
    assert said["border_outputs_unlike_pad_0"] == other > 500
    assert "border_outputs" not in pack.layer("stack2.shortcut")["vectors"]["real"]["coverage"]


def test_the_hazards_of_an_addition_are_all_pairs(pack: Pack, model: QuantizedModel) -> None:
    assert isinstance(model.layer("stack1.add"), Add)
    a, b = (pack.tensor("stack1.add", "x", "hazard", place).reshape(-1) for place in (0, 1))
    assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == 65536
    said = pack.layer("stack1.add")["vectors"]
    assert said["hazard"]["coverage"]["pairs"] == 65536
    assert said["real"]["coverage"]["pairs"] < 6000


def test_the_hazards_of_a_pool_are_all_sums(pack: Pack) -> None:
    acc = pack.tensor("pool", "acc", "hazard")
    assert len(np.unique(acc)) == 255 * 64 + 1


def test_directed_codes() -> None:
    p = QuantParams(np.array(1, np.float32), np.array(-5, np.int8))
    codes = dict(zip(PATTERNS, directed(p, (2, 3, 4)), strict=True))
    assert {name: set(values.reshape(-1).tolist()) for name, values in codes.items()} | {
        "ramp": None, "noise": None,
    } == {
        "all-qmin": {-128}, "all-qmax": {127}, "all-zero-point": {-5},
        "checkerboard": {-128, 127}, "inverse-checkerboard": {-128, 127},
        "one-hot-first": {-5, 127}, "one-hot-middle": {-5, 127}, "one-hot-last": {-5, 127},
        "ramp": None, "noise": None,
    }  # fmt: skip
    assert codes["one-hot-last"][1, 2, 3] == 127 == codes["one-hot-middle"][1, 1, 2]
    assert codes["ramp"].reshape(-1)[:3].tolist() == [-128, -127, -126]
    assert directed(p, ()).shape == (10,)


def test_a_foreign_network_has_stimuli_for_each_integer_layer(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(runtime_quantized(float_foreign(), "QDQ", "U8S8"), path)
    model = load(path)
    choice = Choice(stimuli=("directed", "hazard"), formats=("c",))
    pack = write_pack(model, tmp_path / "pack", None, choice)
    for layer in model.layers:
        kinds = set(pack.layer(layer.name)["vectors"])
        if isinstance(layer, (FloatIsland, Reshape)):
            assert kinds == set()
        elif isinstance(layer, Conv):
            assert kinds == {"directed", "hazard"}
    program: dict[str, Any] = pack.manifest["program"]
    assert (program["files"] == []) == bool(program["reason"])


def test_the_worked_example_is_true(tmp_path: Path, model: QuantizedModel) -> None:
    for formats in (("npy",), ("hex", "c")):
        choice = Choice(layers=("stem",), formats=formats, layouts=("NHWC",))
        pack = write_pack(model, tmp_path / formats[0], samples().images[:1], choice)
        told, y = pack.manifest["example"], pack.tensor("stem", "y", "real")
        assert [int(y[tuple(index)]) for index in told["indices"]] == told["values"]
        content = (pack.folder / told["file"]).read_bytes()[told["offset"] :]
        if formats == ("npy",):
            lanes = [int(byte, 16) for byte in told["text"].split()]
            assert content.startswith(bytes(lanes))
        else:
            assert content.startswith(told["text"].encode() + b"\n")
            lanes = [int(told["text"][k - 2 : k or None], 16) for k in (16, 14, 12, 10)]
        assert [lane - 256 if lane > 127 else lane for lane in lanes] == told["values"]
        assert len(pack.manifest.get("program", {}).get("files", [])) == 5 * ("c" in formats)


@on_contract_platform
@pytest.mark.parametrize("seed", [0, 3, pytest.param(range(5, 25), marks=pytest.mark.slow)])
def test_every_operator_of_random_networks_under_every_set(
    seed: int | range, tmp_path: Path
) -> None:
    for number in [seed] if isinstance(seed, int) else seed:
        path = tmp_path / f"{number}.onnx"
        onnx.save(RandomNetwork(number).model(), path)
        model = load(path)
        choice = Choice(stimuli=("real", "directed", "hazard"), hazard_images=6)
        pack, runtime = write_pack(model, None, None, choice), LayerRuntime(model)
        for layer in model.layers:
            for kind in pack.layer(layer.name)["vectors"]:
                tensors = {
                    n: pack.tensor(layer.name, "x", kind, i) for i, n in enumerate(layer.inputs)
                }
                y = pack.tensor(layer.name, "y", kind)
                theirs = runtime.output(layer, tensors)
                assert np.array_equal(theirs, y, equal_nan=y.dtype.kind == "f"), (
                    number,
                    layer.name,
                )
