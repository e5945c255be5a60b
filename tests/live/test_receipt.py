"""Receipts, their copies, addresses and switches, held to the library in Node and in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bitbybit
from bitbybit import arithmetic
from bitbybit.execution.engine import Trace, has_accumulator
from bitbybit.model.types import Conv, Dense, QuantizedModel
from tests.support import live

pytest.importorskip("sphinx")
MODELS = ("int8", "uint8")
needs_node = pytest.mark.skipif(live.NODE is None, reason="Node is not installed")
PROGRAMS = [
    pytest.param("node", marks=needs_node),
    pytest.param("chromium", marks=pytest.mark.browser),
]


@pytest.fixture(scope="module")
def models() -> dict[str, QuantizedModel]:
    return {name: bitbybit.load(bitbybit.example(name)) for name in MODELS}


@pytest.fixture(scope="module")
def ship() -> NDArray[np.float32]:
    return bitbybit.samples().images[8:9].astype(np.float32)


@pytest.fixture(scope="module", params=PROGRAMS)
def run(
    request: pytest.FixtureRequest,
    models: dict[str, QuantizedModel],
    ship: NDArray[np.float32],
) -> Iterator[live.Run]:
    start = live.node if request.param == "node" else live.chromium
    with start(live.script(), live.assigned(models)) as running:
        for name in MODELS:
            running(
                f"globalThis.made_{name} = bitbybit.trace(network({name!r}),"
                f" floats({live.base64_of(ship)!r})); 0"
            )
        yield running


def places(model: QuantizedModel, layer: str, count: int) -> list[list[int]]:
    """Corners and some places inside of a layer's output: channel, row, column."""
    sizes = [int(size or 1) for size in (*model.edges[layer].shape[1:], 1, 1)[:3]]
    rng = np.random.default_rng(3)
    some = [[int(rng.integers(size)) for size in sizes] for _ in range(count)]
    return [[0, 0, 0], [size - 1 for size in sizes], *some]


@pytest.mark.parametrize("name", MODELS)
def test_every_step_of_receipts_of_every_layer(
    run: live.Run, models: dict[str, QuantizedModel], ship: NDArray[np.float32], name: str
) -> None:
    model = models[name]
    trace = bitbybit.trace(model, ship)
    for layer in model.layers:
        for at in places(model, layer.name, 6):
            told = run(f"bitbybit.receipt(network({name!r}), made_{name}, {layer.name!r}, {at})")
            index = (0, *at[: trace[layer.name].ndim - 1])
            assert told["code"] == told["traced"] == trace[layer.name][index].item()
            if has_accumulator(layer):
                check_sum(trace, layer, at, told)


def check_sum(trace: Trace, layer: Any, at: list[int], told: dict[str, Any]) -> None:
    """Hold the products, the accumulator and the multiplier to the library's."""
    source = trace[layer.inputs[0]][0]
    index = (0, *at[: trace[layer.name].ndim - 1])
    assert told["accumulator"] == trace.accumulator(layer.name)[index]
    assert told["terms"][-1]["sum"] + told["bias"] == told["accumulator"]
    params = trace.model.edges[layer.inputs[0]].params
    assert params is not None
    zero = int(params.zero_point)
    for term in told["terms"]:
        place = (term["channel"], term["row"], term["column"])
        inside = all(0 <= p < size for p, size in zip(place, source.shape, strict=False))
        assert term["padded"] == (not inside)
        assert term["code"] == (source[place[: source.ndim]] if inside else zero)
        assert term["centred"] == term["code"] - zero
    if isinstance(layer, Conv | Dense):
        weight = (
            layer.weight.values[at[0]] if isinstance(layer, Conv) else layer.weight.values[:, at[0]]
        )
        assert layer.weight.params is not None
        zeros = np.broadcast_to(layer.weight.params.zero_point, trace[layer.name].shape[1])
        expected = weight.astype(int).ravel() - int(zeros[at[0]])
        assert [term["weight"] for term in told["terms"]] == expected.tolist()
        assert all(t["product"] == t["centred"] * t["weight"] for t in told["terms"])
    y = trace.model.edges[layer.name].params
    assert y is not None
    code = arithmetic.requantize(
        np.array([told["accumulator"]], np.int32), np.float32(told["multiplier"]), y.zero_point
    )
    assert code[0] == told["code"]


def test_a_receipt_of_a_broken_network_names_its_own_numbers(run: live.Run) -> None:
    told = run(
        "((rules) => bitbybit.receipt(network('int8'), bitbybit.trace(network('int8'), "
        "new Float32Array(3072).fill(200), rules), 'stem', [3, 0, 0], rules))"
        "(bitbybit.rulesOf(['pad-0', 'wrap-16']))"
    )
    assert told["code"] == told["traced"]
    assert {term["centred"] for term in told["terms"] if term["padded"]} == {128}
    assert -(2**15) <= told["accumulator"] < 2**15


def test_floats_are_written_as_python_writes_them(run: live.Run) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 3000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate(
        [values[np.isfinite(values)], np.array([0, 1, 0.5, 2**-149, -3], np.float32)]
    )
    found = run(f"[...floats({live.base64_of(values)!r})].map(bitbybit.hexFloat)")
    assert [float.fromhex(text) for text in found] == values.tolist()
    normal = np.abs(values) >= np.finfo(np.float32).tiny
    expected = [float(value).hex() for value in values[normal]]
    trimmed = [
        f"{head.rstrip('0').rstrip('.')}p{tail}" for head, tail in (e.split("p") for e in expected)
    ]
    assert np.array(found)[normal].tolist() == trimmed
    shortest = run(f"[...floats({live.base64_of(values)!r})].map(bitbybit.decimal)")
    assert np.array_equal(np.array(list(map(float, shortest)), np.float32), values)


PROGRAM = """
#include <math.h>
#include <stdio.h>
{vector}
int main(void) {{
    int32_t sum = bias;
    for (unsigned i = 0; i < sizeof x / sizeof *x; i++) sum += x[i] * {weight};
    union {{ uint32_t bits; float value; }} m = {{multiplier}};
    float real = (float)sum * m.value;
    long code = lrintf(real) + y_zero_point;
    code = code < y_min ? y_min : code > y_max ? y_max : code;
    printf("%d %d\\n", sum == accumulator, code == y);
}}
"""


def test_copies_hold_the_receipt(run: live.Run, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    for layer, at in (("stem", [3, 12, 20]), ("stack2.conv1", [7, 15, 15]), ("pool", [9, 0, 0]),
                      ("dense", [8, 0, 0])):  # fmt: skip
        run(f"globalThis.told = bitbybit.receipt(network('int8'), made_int8, {layer!r}, {at}); 0")
        told = run("told")
        text = run("bitbybit.asText(told, network('int8'), 'ship')")
        assert text.startswith(f"ship, {layer}, channel {at[0]}, row {at[1]}")
        assert text.count("sum") >= len(told["terms"])
        product = "" if layer == "pool" else " * weight = product"
        assert f"\n[channel, row, column] code -> code - zero point{product}; sum\n[" in text
        assert f"code          {told['code']}" in text
        written = json.loads(run("bitbybit.asJSON(told, network('int8'), 'ship', {})"))
        assert written["terms"] == told["terms"]
        m = np.uint32(int(written["bits"]["multiplier"], 16)).view(np.float32)
        assert m == np.float32(told["multiplier"])
        vector = run("bitbybit.asC(told, network('int8'), 'ship')")
        assert f"x[{len(told['terms'])}]" in vector
        if compiler:
            weight = "1" if layer == "pool" else "w[i]"
            source, program = tmp_path / "t.c", tmp_path / "t"
            source.write_text(PROGRAM.format(vector=vector, weight=weight), encoding="utf-8")
            subprocess.run(
                [compiler, "-std=c99", str(source), "-o", str(program), "-lm"], check=True
            )
            made = subprocess.run([str(program)], capture_output=True, text=True, check=True)
            assert made.stdout == "1 1\n", (layer, vector)
    for layer, at in (("stack1.add", [0, 0, 0]), ("input", [2, 31, 31]), ("logits", [1, 0, 0]),
                      ("flatten", [63, 0, 0])):  # fmt: skip
        run(f"globalThis.told = bitbybit.receipt(network('int8'), made_int8, {layer!r}, {at}); 0")
        for form in ("asText", "asC"):
            assert layer in run(f"bitbybit.{form}(told, network('int8'), 'ship')")


@pytest.mark.parametrize(
    ("fragment", "layer", "at", "problem"),
    [
        ("#ship/stem/3/12/20", "stem", [3, 12, 20], ""),
        ("#ship/stem/3/12/20?break=pad-0,half-up&model=uint8", "stem", [3, 12, 20], ""),
        ("#ship", "stem", [0, 0, 0], ""),
        ("#ship/nowhere/1/2/3", "stem", [1, 2, 3], "no layer “nowhere”"),
        ("#ship/dense/99/1/-4", "dense", [9, 0, 0], "dense has 10 × 1 × 1"),
        ("#ship/stem/x/1e9/NaN", "stem", [0, 0, 0], "nearest"),
        ("#ship/stem/1/1/1?break=magic", "stem", [1, 1, 1], "switch that is not there"),
        ("#ship/stem/1/1/1?model=__proto__", "stem", [1, 1, 1], "no model"),
        ("#ship/__proto__/1/1/1?break=constructor", "stem", [1, 1, 1], "no layer"),
    ],
)
def test_an_address_leads_to_a_place_that_exists(
    run: live.Run, fragment: str, layer: str, at: list[int], problem: str
) -> None:
    parsed = f"bitbybit.parse({fragment!r}, ['ship'], ['int8', 'uint8'])"
    state = run(f"bitbybit.inside({parsed}, network('int8'), 'stem')")
    assert (state["layer"], problem in state["problem"]) == (layer, True)
    assert bool(state["problem"]) == bool(problem)
    if not problem or layer == "dense":
        assert state["at"] == at
    if not problem and "/" in fragment:
        written = run(f"bitbybit.format({json.dumps(state)}, ['int8', 'uint8'])")
        assert run(f"bitbybit.parse({written!r}, ['ship'], ['int8', 'uint8'])") == {
            **state, "at": at
        }  # fmt: skip


@pytest.mark.parametrize("fragment", ["", "#", "#run-it", "#%E0%A4%A", "#shipping/stem"])
def test_other_fragments_are_left_alone(run: live.Run, fragment: str) -> None:
    assert run(f"bitbybit.parse({fragment!r}, ['ship'], ['int8'])") is None
