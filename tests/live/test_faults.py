"""Every switch of "break it" changes exactly the codes that the same fault changes in Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import bitbybit
from bitbybit.model.types import QuantizedModel
from tests.support import live
from tests.support.broken import broken

pytest.importorskip("sphinx")
SWITCHES = (
    "half-up", "half-away", "truncate", "wrap-16", "saturate-16", "wrap-18", "no-zero", "pad-0",
    "same-pads", "one-scale", "no-bias", "add-outside",
)  # fmt: skip
MODELS = ("int8", "int8_per_tensor", "uint8")
PROGRAMS = [
    pytest.param("node", marks=pytest.mark.skipif(live.NODE is None, reason="no Node")),
    pytest.param("chromium", marks=pytest.mark.browser),
]


@pytest.fixture(scope="module")
def models() -> dict[str, QuantizedModel]:
    return {name: bitbybit.load(bitbybit.example(name)) for name in MODELS}


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return bitbybit.samples().images.astype(np.float32)


@pytest.fixture(scope="module", params=PROGRAMS)
def run(request: pytest.FixtureRequest, models: dict[str, QuantizedModel]) -> Iterator[live.Run]:
    start = live.node if request.param == "node" else live.chromium
    with start(live.script(), live.assigned(models)) as running:
        yield running


def test_the_switches_are_these(run: live.Run) -> None:
    assert tuple(run("Object.keys(bitbybit.SWITCHES)")) == SWITCHES


def test_no_switch_is_the_contract(
    models: dict[str, QuantizedModel], images: NDArray[np.float32]
) -> None:
    expected = bitbybit.trace(models["uint8"], images)
    made = broken(models["uint8"], images, "")
    assert all(np.array_equal(made[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fault", SWITCHES)
def test_what_a_switch_changes(
    request: pytest.FixtureRequest,
    run: live.Run,
    models: dict[str, QuantizedModel],
    images: NDArray[np.float32],
    fault: str,
    name: str,
) -> None:
    """Codes and counts by layer: of every bundled image in Chromium, of two in Node, for speed."""
    every = name == "int8" and "chromium" in request.node.callspec.id
    images = images if every else images[7:9]
    model = models[name]
    right, wrong = bitbybit.trace(model, images), broken(model, images, fault)
    made = run(f"traced({name!r}, {live.base64_of(images)!r}, bitbybit.rulesOf([{fault!r}]))")
    for i, image in enumerate(made):
        for layer in model.layers:
            expected = wrong[layer.name][i].ravel()
            found = live.decoded(image[layer.name], expected.dtype)
            assert np.array_equal(found, expected), (layer.name, i)
        codes = {key: wrong[key][i] for key in right}
        counts = run(
            f"((given) => bitbybit.damage(network({name!r}), bitbybit.trace(network({name!r}), "
            f"given).codes, bitbybit.trace(network({name!r}), given, "
            f"bitbybit.rulesOf([{fault!r}])).codes))(floats({live.base64_of(images[i])!r}))"
        ) if i == 0 else {}  # fmt: skip
        for layer_name, told in counts.items():
            changed = codes[layer_name] != right[layer_name][i]
            assert told["count"] == np.count_nonzero(changed), layer_name
    if name == "int8" and fault not in ("half-up", "half-away", "add-outside"):
        assert any((wrong[key] != right[key]).any() for key in right), "a switch that does nothing"
