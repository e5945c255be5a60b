"""The faults that images hardly ever meet: ``verify`` finds each that a committed model can meet.

Where the scales of a model hide a fault, the wrong function equals the right one for every input
of every layer that it is in. That is computed here without what ``verify`` sweeps with; only the
real numbers before a Quantize are too many, where the reason is given instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.engine import params
from bitbybit.execution.exhaustive import reachable
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.types import Add, Conv, Dense, GlobalPool, Layer, Quantize, QuantizedModel
from tests.support import commands, faults
from tests.support.runtime import on_contract_platform

KINDS = {
    faults.QUANTIZE: ("quantize",),
    faults.ADD: ("add",),
    faults.POOL: ("global_pool",),
    faults.GEMM: ("dense",),
    faults.CONV: ("conv",),
}
"""Operators of ResNet8 → the kinds of their layers, those that are checked soonest first."""

HIDDEN = {
    "resnet8_int8": {"add-operands-swapped", "pool-divides-last", "quantize-by-reciprocal"},
    "resnet8_uint8": {
        "input-over-output-first",
        "reciprocal-of-output",
        "pool-divides-last",
        "quantize-by-reciprocal",
    },
}
RARE = [fault.name for fault in faults.FAULTS.values() if fault.rare]
LONG = {
    ("resnet8_int8", "input-over-output-first"),
    ("resnet8_int8", "reciprocal-of-output"),
    ("resnet8_uint8", "input-over-output-first"),
    ("resnet8_uint8", "reciprocal-of-output"),
}
"""Sweeps of a convolution's accumulators that take seconds: `make test` has one for each model."""


def _with_models(names: Iterable[str]) -> pytest.MarkDecorator:
    """Return the parameters "model" and "name" of a test, all pairs; the long ones are slow."""
    pairs = [
        pytest.param(stem, name, marks=pytest.mark.slow if (stem, name) in LONG else [])
        for stem in HIDDEN
        for name in names
    ]
    return pytest.mark.parametrize(("model", "name"), pairs, indirect=["model"])


@pytest.fixture(scope="module", params=HIDDEN)
def model(request: pytest.FixtureRequest, root: Path) -> QuantizedModel:
    return load(root / "models" / f"{request.param}.onnx")


@on_contract_platform
@_with_models(RARE)
def test_verify_finds_every_rare_fault_that_the_model_can_meet(
    model: QuantizedModel, name: str
) -> None:
    if name in HIDDEN[model.path.stem]:
        pytest.skip("its scales hide this fault, as the next test proves")
    with faults.inject(name) as fault:
        kinds = [k for operator in KINDS for k in KINDS[operator] if operator in fault.breaks]
        assert any(verify(model, images=1, kind=kind).exit_status == 1 for kind in kinds)


@_with_models(sorted(set[str]().union(*HIDDEN.values()) - {"quantize-by-reciprocal"}))
def test_what_verify_does_not_find_makes_no_difference(model: QuantizedModel, name: str) -> None:
    if name not in HIDDEN[model.path.stem]:
        pytest.skip("verify finds this fault in this model")
    kinds = {kind for operator in faults.FAULTS[name].breaks for kind in KINDS.get(operator, ())}
    _prove_equal(model, name, kinds)


VALIDATORS = {
    "validate_qlinearconv.py": ("conv", faults.CONV),
    "validate_qlinearmatmul.py": ("dense", faults.GEMM),
}
"""Script → the layers that it checks, and their operator."""


def _faults(*, rare: bool) -> list[Any]:
    """Return script and fault of its operator; only one each is not slow."""
    return [
        pytest.param(script, fault.name, marks=[] if fault.name == "half-up" else pytest.mark.slow)
        for script, (_, operator) in VALIDATORS.items()
        for fault in faults.FAULTS.values()
        if operator in fault.breaks and fault.rare is rare
    ]


@on_contract_platform
@pytest.mark.parametrize(("script", "name"), _faults(rare=True))
def test_a_validator_finds_every_rare_fault_that_its_layers_can_meet(
    model: QuantizedModel, script: str, name: str
) -> None:
    with faults.inject(name):
        done = commands.script(script, model.path, "--images", "1")
    assert done.status in {0, 1}, done.text
    if done.status == 0:
        _prove_equal(model, name, {VALIDATORS[script][0]})


@on_contract_platform
@pytest.mark.parametrize(("script", "name"), _faults(rare=False))
def test_a_validator_finds_every_plain_fault_in_one_model_or_the_other(
    root: Path, script: str, name: str
) -> None:
    """Each network makes some faults invisible: zero points of 0, one scale."""
    paths = [root / "models" / f"{stem}.onnx" for stem in HIDDEN]
    with faults.inject(name):
        ends = {commands.script(script, path, "--images", "1").status for path in paths}
    assert 1 in ends
    assert ends <= {0, 1}


def _prove_equal(model: QuantizedModel, name: str, kinds: set[str]) -> None:
    """Compute every output of the layers with and without a fault."""
    layers = [layer for layer in model.layers if layer.kind in kinds]
    assert layers
    for layer in layers:
        compared = 0
        rights, wrongs = _outputs(model, layer), _outputs(model, layer)
        while (right := next(rights, None)) is not None:
            with faults.inject(name):
                wrong = next(wrongs)
            assert np.array_equal(right, wrong), layer.name
            compared += right.size
        assert compared >= 256


def _outputs(model: QuantizedModel, layer: Layer) -> Iterator[NDArray[Any]]:
    """Yield a layer's codes for all of its inputs, by the operator's function in the arithmetic."""
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    codes = np.arange(x.qmin, x.qmax + 1)
    if isinstance(layer, (Conv, Dense)):
        yield from _of_all_accumulators(layer, x, y)
    elif isinstance(layer, Add):
        a, b = (params(model.edges[name], layer) for name in layer.inputs)
        pairs = codes.astype(a.dtype)[:, None], codes.astype(b.dtype)[None, :]
        yield arithmetic.qlinear_add(
            pairs[0], a.scale, a.zero_point, pairs[1], b.scale, b.zero_point, y.scale, y.zero_point
        )
    elif isinstance(layer, GlobalPool):
        height, width = (size or 1 for size in model.edges[layer.inputs[0]].shape[2:])
        pixels = height * width
        sums = np.arange(x.qmin * pixels, x.qmax * pixels + 1)[:, None]
        images = sums // pixels + (np.arange(pixels) < sums % pixels)
        yield arithmetic.qlinear_global_average_pool(
            images.astype(x.dtype).reshape(-1, 1, height, width),
            x.scale, x.zero_point, y.scale, y.zero_point,
        )  # fmt: skip


def _of_all_accumulators(layer: Conv | Dense, x: Any, y: Any) -> Iterator[NDArray[Any]]:
    """Yield the codes of each scale's channels: accumulators are the biases of zero weights."""
    w = params(layer.weight, layer)
    zero = np.zeros((), w.dtype)
    lows, highs = reachable(layer, x)
    scales = np.broadcast_to(w.scale, lows.shape)
    for scale in np.unique(scales):
        first, last = int(lows[scales == scale].min()), int(highs[scales == scale].max())
        for begin in range(first, last + 1, 1 << 16):
            acc = np.arange(begin, min(begin + (1 << 16), last + 1)).astype(np.int32)
            weight = np.zeros((len(acc), 1, 1, 1), w.dtype)
            left = x.zero_point.reshape(1, 1, 1, 1), x.scale, x.zero_point
            if isinstance(layer, Conv):
                yield arithmetic.qlinear_conv(
                    *left, weight, scale, zero, y.scale, y.zero_point, acc
                )
            else:
                yield arithmetic.qgemm(
                    left[0].reshape(1, 1), *left[1:], weight.reshape(1, -1), scale,
                    zero, acc, y.scale, y.zero_point,
                )  # fmt: skip


def test_quantize_by_reciprocal_makes_no_difference(model: QuantizedModel) -> None:
    """Division by a power of two is multiplication by its reciprocal, for every real number."""
    scales = [
        params(model.edges[layer.name], layer).scale
        for layer in model.layers
        if isinstance(layer, Quantize)
    ]
    assert scales
    assert all(np.frexp(scale)[0] == 0.5 for scale in scales)
