"""All inputs of a layer: what no image meets is found in every layer that has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic
from bitbybit.execution import exhaustive
from bitbybit.execution.verdict import EXHAUSTIVE
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel, QuantizedTensor, QuantParams
from bitbybit.model.writer import write
from tests.support import faults
from tests.support.models import small
from tests.support.runtime import on_contract_platform

pytestmark = on_contract_platform
SWEEPS = pytest.mark.parametrize("sweep", [1 << 24, 1], ids=["all accumulators", "all steps"])


def checked(model: QuantizedModel) -> dict[str, int]:
    """Return how many elements of each layer differ."""
    checks = verify(model, images=1).checks
    return {c.name: c.mismatches for c in checks if c.authority == EXHAUSTIVE}


@pytest.fixture(scope="module", params=[np.int8, np.uint8])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    path = tmp_path_factory.mktemp("exhaustive") / "m.onnx"
    write(small(3, request.param, per_channel=request.param is np.int8), path, "qoperator")
    return load(path)


@SWEEPS
def test_nothing_differs(
    model: QuantizedModel, sweep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhaustive, "SWEEP", sweep)
    found = checked(model)
    assert set(found.values()) == {0}
    assert list(found) == [x.name for x in model.layers if x.kind != "reshape"]


@SWEEPS
@pytest.mark.parametrize("fault", ["half-up", "half-away-from-zero", "zero-point-before-rounding"])
def test_a_wrong_rounding_of_ties_is_found_in_every_layer(
    model: QuantizedModel, sweep: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhaustive, "SWEEP", sweep)
    with faults.inject(fault):
        found = checked(model)
    met = {
        layer.name
        for layer in model.layers
        if layer.kind in ("quantize", "conv", "dense")  # the scales of a pool need not make ties
        and (fault != "zero-point-before-rounding" or _has_odd_zero_point(model, layer.name))
    }
    assert met
    assert met <= {name for name, mismatches in found.items() if mismatches}


def _has_odd_zero_point(model: QuantizedModel, name: str) -> bool:
    params = model.edges[name].params
    return params is not None and bool(int(params.zero_point) % 2)


def test_steps_are_where_the_output_changes() -> None:
    scales, zero = (np.float32(0.02), np.float32(0.003), np.float32(0.05)), np.array(5, np.int8)
    every = np.arange(-200_000, 150_000).astype(np.int32)
    codes = arithmetic.requantize(every, arithmetic.conv_multiplier(*scales), zero)
    steps = np.flatnonzero(np.diff(codes))
    expected = np.unique([every[0], every[-1], *every[steps], *every[steps + 1]])
    found = exhaustive._steps(-200_000, 149_999, scales, zero)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("zero", [np.int8(-128), np.int8(5), np.uint8(0), np.uint8(200)])
@pytest.mark.parametrize("w_dtype", [np.int8, np.uint8])
def test_a_product_without_bias_makes_the_same_accumulators(
    zero: np.generic, w_dtype: type
) -> None:
    one = np.array(1, np.float32)
    x, w = QuantParams(one, np.asarray(zero)), QuantParams(one, np.zeros((), w_dtype))
    layer = Dense("dense", ("x",), QuantizedTensor("w", np.zeros((1, 1), w_dtype), w), None)
    acc = np.array([0, 1, -1, 126, 127, -128, 32_385, -99_999, 16_777_217], np.int32)
    made, codes = exhaustive._with_accumulators(layer, x, np.dtype(w_dtype), acc, one)
    weight = made.weight
    assert codes.dtype == x.dtype
    assert weight.params is not None
    sums = arithmetic.accumulate_matmul(
        codes, x.zero_point, weight.values, weight.params.zero_point
    )
    assert np.array_equal(sums.reshape(-1), acc)


def test_a_fault_of_the_fast_form_alone_is_found(
    model: QuantizedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_up(real: Any, low: Any, high: Any, out: Any = None) -> Any:
        return np.floor(np.clip(real, low, high) + np.float32(0.5), out=out)

    monkeypatch.setattr("bitbybit.arithmetic._fast.clip_and_round", half_up)
    found = checked(model)
    convolutions = {layer.name for layer in model.layers if layer.kind == "conv"}
    assert convolutions <= {name for name, count in found.items() if count}


@SWEEPS
def test_every_channel_is_swept(
    model: QuantizedModel, sweep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: dict[str, set[float]] = {}
    right = exhaustive._with_accumulators

    def recorded(layer: Any, x: Any, dtype: Any, acc: Any, scale: Any) -> Any:
        swept.setdefault(layer.name, set()).add(float(scale))
        return right(layer, x, dtype, acc, scale)

    monkeypatch.setattr(exhaustive, "SWEEP", sweep)
    monkeypatch.setattr(exhaustive, "_with_accumulators", recorded)
    checked(model)
    for layer in model.layers:
        if isinstance(layer, (Conv, Dense)) and layer.weight.params is not None:
            assert set(np.ravel(layer.weight.params.scale).tolist()) <= swept[layer.name]
