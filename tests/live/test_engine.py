"""The script that computes in the page, in Node and in Chromium: every integer is the library's."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import bitbybit
from bitbybit import arithmetic
from bitbybit.errors import BitbybitError, UnsupportedError
from bitbybit.execution.engine import Trace
from tests.support import live
from tests.support.random_networks import RandomNetwork

pytest.importorskip("sphinx")
needs_node = pytest.mark.skipif(live.NODE is None, reason="Node is not installed")
PROGRAMS = [
    pytest.param("node", marks=needs_node),
    pytest.param("chromium", marks=pytest.mark.browser),
]
MODELS = ("int8", "int8_per_tensor", "uint8")


@pytest.fixture(scope="module")
def models() -> dict[str, bitbybit.QuantizedModel]:
    return {name: bitbybit.load(bitbybit.example(name)) for name in MODELS}


@pytest.fixture(scope="module", params=PROGRAMS)
def run(
    request: pytest.FixtureRequest, models: dict[str, bitbybit.QuantizedModel]
) -> Iterator[live.Run]:
    start = live.node if request.param == "node" else live.chromium
    with start(live.script(), live.assigned(models)) as running:
        yield running


def bundled() -> NDArray[np.float32]:
    return bitbybit.samples().images.astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_every_accumulator_and_code_of_every_bundled_image(
    run: live.Run, models: dict[str, bitbybit.QuantizedModel], name: str
) -> None:
    expected = bitbybit.trace(models[name], bundled())
    assert live.differences(run, name, expected, bundled()) == {}


@pytest.mark.dataset
def test_a_thousand_test_images(
    request: pytest.FixtureRequest, run: live.Run, models: dict[str, bitbybit.QuantizedModel]
) -> None:
    """In Chromium, whose arithmetic readers use; Node computes the first hundred."""
    count = 1000 if "chromium" in request.node.callspec.id else 100
    split = bitbybit.samples("test")
    assert split is not None
    for begin in range(0, count, 20):
        images = split.images[begin : begin + 20].astype(np.float32)
        expected = bitbybit.trace(models["int8"], images)
        assert live.differences(run, "int8", expected, images) == {}


def test_the_checksum_is_that_of_the_build(
    run: live.Run, models: dict[str, bitbybit.QuantizedModel]
) -> None:
    image = bundled()[:1]
    made = live.extension().checksums(bitbybit.trace(models["int8"], image), ["airplane"])
    codes = f"bitbybit.trace(network('int8'), floats({live.base64_of(image)!r})).codes"
    assert run(f"bitbybit.checksum(network('int8'), {codes})") == made["airplane"]


@needs_node
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("real + MAGIC - MAGIC", "Math.ceil(real - 0.49999)"),
        ("Math.fround(acc) * multiplier", "Math.fround(acc) * multiplier * (1 + 1e-5)"),
        ("Math.imul(code, w[k + 2])", "Math.imul(code, w[k + 1])"),
        ("rules.padCode ? zero : 0", "0"),
    ],
)
def test_a_fault_of_the_script_is_seen(
    models: dict[str, bitbybit.QuantizedModel], before: str, after: str
) -> None:
    text = live.script()
    assert before in text
    with live.node(text.replace(before, after), live.assigned({"int8": models["int8"]})) as faulty:
        expected = bitbybit.trace(models["int8"], bundled()[:3])
        wrong = live.differences(faulty, "int8", expected, bundled()[:3])
        assert wrong


@needs_node
def test_a_wrong_bit_of_the_export_is_seen(models: dict[str, bitbybit.QuantizedModel]) -> None:
    exporter, expected = live.extension(), bitbybit.trace(models["int8"], bundled()[:1])

    def wrong(layer: str, key: str, value: object) -> dict[str, int]:
        exported = exporter.exported(models["int8"])
        next(one for one in exported["layers"] if one["name"] == layer)[key] = value
        with live.node(live.script(), exporter.assigned("int8", exported)) as faulty:
            return live.differences(faulty, "int8", expected, bundled()[:1])

    layers = exporter.exported(models["int8"])["layers"]
    kept = next(one for one in layers if one["name"] == "stack2.conv1")["multiplier"]
    bits = np.frombuffer(base64.b64decode(kept["data"]), "<u4").copy()
    bits[5] ^= 1 << 18
    found = wrong("stack2.conv1", "multiplier", exporter.packed(bits.view(np.float32)))
    assert "stack2.conv1" in found
    assert not any("stack1" in name or name == "stem" for name in found)
    assert "stack2.conv1 acc" in wrong("stack2.conv1", "pads", [1, 1, 0, 0])
    assert "stem acc" in wrong("stem", "weightZero", exporter.packed(np.ones(1, np.int8)))


@needs_node
def test_random_networks_are_exact(tmp_path: Path) -> None:
    """Groups, dilations, any pads, uint8 weights with zero points, sums of a tensor with itself."""
    rng, kinds = np.random.default_rng(5), set()
    taken: dict[str, tuple[bitbybit.QuantizedModel, NDArray[np.float32], Trace]] = {}
    for seed in range(160):
        path = tmp_path / f"{seed}.onnx"
        onnx.save(RandomNetwork(seed).model(), path)
        try:
            model = bitbybit.load(path)
            live.extension().exported(model)
            size = [2 if d is None else d for d in model.edges[model.inputs[0]].shape]
            images = rng.uniform(-300, 300, size).astype(np.float32)
            taken[str(seed)] = model, images, bitbybit.trace(model, images)
        except BitbybitError:
            continue
        kinds |= {layer.kind for layer in model.layers}
    assert len(taken) > 20
    assert kinds >= {"conv", "dense", "add", "global_pool", "reshape"}
    scripts = live.assigned({name: model for name, (model, *_) in taken.items()})
    with live.node(live.script(), scripts) as run:
        for name, (_, images, expected) in taken.items():
            assert live.differences(run, name, expected, images) == {}, name


def test_ties_go_to_even(run: live.Run) -> None:
    """The bundled images have no tie, so that half-up would pass with them alone."""
    halves = np.arange(-1024, 1025).astype(np.float32) / 2
    near = np.concatenate([halves, np.nextafter(halves, np.inf), np.nextafter(halves, -np.inf)])
    made = run(f"base64(floats({live.base64_of(near)!r}).map(bitbybit.halfEven))")
    assert np.array_equal(live.decoded(made, near.dtype), np.rint(near))


def test_fused_multiply_add_rounds_once(run: live.Run) -> None:
    """Operands of all sizes, and sums whose second rounding would go wrong."""
    rng = np.random.default_rng(0)
    a = rng.integers(-255, 256, 20_000).astype(np.float32)
    b, c = (rng.standard_normal(20_000).astype(np.float32) for _ in "bc")
    b *= np.float32(2.0) ** rng.integers(-60, 20, 20_000)
    hard = [
        (205.0, 5237765 * 2.0**-47, 128.5), (-205.0, 5237765 * 2.0**-47, -128.5),
        (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-80), (1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-80)),
        (-1 - 2.0**-12, 1 + 2.0**-12, 2.0**-80), (1.0, -1.0, 1.0),
    ]  # fmt: skip
    columns = np.asarray(hard, np.float32).T
    a, b, c = (np.concatenate(pair) for pair in zip((a, b, c), columns, strict=True))
    given = [f"floats({live.base64_of(x)!r})" for x in (a, b, c)]
    made = run(
        f"((a, b, c) => base64(a.map((x, i) => bitbybit.fma32(x, b[i], c[i]))))({', '.join(given)})"
    )
    expected = arithmetic.fma32(a, b, c)
    assert np.array_equal(live.decoded(made, expected.dtype), expected)
    assert (expected != a * b + c).any()


def test_the_engine_is_small() -> None:
    assert len(live.script("engine").encode()) < 12_000


def test_what_the_script_cannot_compute_is_refused() -> None:
    exporter = live.extension()
    with pytest.raises(UnsupportedError, match="quantized"):
        exporter.exported(bitbybit.load(bitbybit.example("float")))


def test_modules_may_not_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nconst twice = 1;\n')
    (tmp_path / "b.js").write_text("export const b = 1;\nconst twice = 2;\n")
    with pytest.raises(ValueError, match="twice"):
        live.extension().script(tmp_path, "a")
