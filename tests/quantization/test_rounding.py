"""Rounding of weights against brute force and against the textbook's slow form."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitbybit.quantization import Scheme
from bitbybit.quantization.conversion import nearest_codes
from workshop.calibration.rounding import (
    FACTORS,
    LARGEST_BIAS,
    OutputError,
    RoundedWeights,
    gptq,
    round_weights,
    weight_scales,
    with_room_for_bias,
)

UNSIGNED: dict[str, Any] = {
    "weight_dtype": "uint8",
    "activation_dtype": "uint8",
    "per_channel": False,
}


def correlated(seed: int, size: int) -> NDArray[np.float64]:
    """A second moment of correlated inputs."""
    vectors = np.random.default_rng(seed).normal(size=(4 * size, size))
    mixed = vectors @ np.random.default_rng(seed + 1).normal(size=(size, size))
    return mixed.T @ mixed / len(mixed)


def slow_gptq(
    weights: NDArray[np.float64],
    hessian: NDArray[np.float64],
    order: NDArray[np.int64],
    scale: float,
    rails: tuple[int, int],
) -> NDArray[np.int64]:
    """Optimal Brain Quantization in a fixed order: a fresh inverse for what is left each time."""
    rest, codes = weights.copy(), np.zeros(len(weights), np.int64)
    for position, k in enumerate(order):
        left = order[position:]
        inverse = np.linalg.inv(hessian[np.ix_(left, left)])
        codes[k] = int(np.clip(round(rest[k] / scale), *rails))
        rest[left] -= (rest[k] - codes[k] * scale) / inverse[0, 0] * inverse[0]
    return codes


@pytest.mark.parametrize("seed", range(6))
def test_gptq_equals_its_slow_form(seed: int) -> None:
    size = 7
    error = OutputError(correlated(seed, size))
    weights = np.random.default_rng(seed + 50).normal(size=(3, size))
    scale, rails = np.array([0.05, 0.2, 0.5]), (-7, 7)
    fast = gptq(weights, error, scale, rails)
    for row, codes, step in zip(weights, fast, scale, strict=True):
        slow = slow_gptq(row, error.matrix, error.order, float(step), rails)
        assert codes.tolist() == slow.tolist()


def test_gptq_comes_close_to_the_best_of_all_codes() -> None:
    """Three weights of two bits: all 27 choices tried, for 40 channels."""
    error = OutputError(correlated(7, 3))
    weights = np.random.default_rng(8).uniform(-0.6, 0.6, (40, 3))
    scale = np.full(40, 0.4)
    every = np.array(list(product((-1, 0, 1), repeat=3)))
    best = np.array([error.of(every * 0.4 - row).min() for row in weights])
    greedy = error.of(gptq(weights, error, scale, (-1, 1)) * 0.4 - weights)
    nearest = error.of(np.clip(np.rint(weights / 0.4), -1, 1) * 0.4 - weights)
    assert (greedy >= best - 1e-12).all()
    assert greedy.sum() < 1.3 * best.sum()
    assert greedy.sum() < nearest.sum()


def test_without_correlation_gptq_rounds_to_nearest() -> None:
    error = OutputError(np.diag([3.0, 1.0, 2.0]))
    weights = np.random.default_rng(9).normal(size=(5, 3))
    codes = gptq(weights, error, np.full(5, 0.1), (-127, 127))
    assert np.array_equal(codes, np.rint(weights / 0.1))


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    """Dead input channels give a singular second moment."""
    for second_moment in (np.diag([1.0, 0.0, 0.0]), np.zeros((3, 3))):
        codes = gptq(np.full((1, 3), 0.26), OutputError(second_moment), np.array([0.1]), (-9, 9))
        assert codes.tolist() == [[3, 3, 3]]


@given(
    bits=st.integers(2, 8),
    kind=st.sampled_from(["minmax", "mse", "gptq"]),
    fields=st.sampled_from([{}, {"per_channel": False}, UNSIGNED]),
    seed=st.integers(0, 99),
)
def test_codes_stay_inside_their_bits(
    bits: int, kind: Any, fields: dict[str, Any], seed: int
) -> None:
    scheme = Scheme(weight_bits=bits, weights=kind, **fields)
    rows = np.random.default_rng(seed).standard_t(2, (2, 3, 5))
    rows[0, 1] = 0
    errors = [OutputError(correlated(g, 5)) for g in range(2)] if kind == "gptq" else None
    found = round_weights(rows, errors, scheme)
    low, high = scheme.weight_rails
    assert found.codes.shape == (6, 5)
    assert low <= found.codes.min()
    assert found.codes.max() <= high
    assert low <= found.zero_point <= high
    assert (found.codes[1] == found.zero_point).all(), "a channel of zeros is exactly zero"
    if not scheme.per_channel:
        assert len(set(found.scale.tolist())) == 1


def test_minmax_uses_the_whole_range() -> None:
    rows = np.random.default_rng(1).normal(size=(1, 4, 9))
    found = round_weights(rows, None, Scheme(weights="minmax"))
    assert np.abs(found.codes).max(axis=1).tolist() == [127] * 4
    assert found.scale.tolist() == (np.abs(rows[0]).max(axis=1) / 127).astype(np.float32).tolist()


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_mse_scales_are_the_best_of_their_grid(bits: int) -> None:
    """Each channel on its own, in plain loops."""
    rows = np.random.default_rng(2).standard_t(3, (1, 4, 30))
    scheme = Scheme(weights="mse", weight_bits=bits)
    found = round_weights(rows, None, scheme)
    high = scheme.weight_rails[1]
    for row, scale in zip(rows[0], found.scale, strict=True):
        tried = {}
        for factor in FACTORS:
            step = float(np.float32(factor * np.abs(row).max() / high))
            codes = [max(-high, min(high, round(w / step))) for w in row]
            tried[step] = sum((c * step - w) ** 2 for c, w in zip(codes, row, strict=True))
        assert tried[float(scale)] == pytest.approx(min(tried.values()), rel=1e-12)


def test_unsigned_weights_hold_zero_and_both_ends() -> None:
    rows = np.array([[[-1.0, 0.0, 2.0, 0.6]]])
    found = round_weights(rows, None, Scheme(weights="minmax", **UNSIGNED))
    assert (found.zero_point, found.codes.tolist()) == (85, [[0, 85, 255, 136]])


def test_all_weights_zero() -> None:
    scale, zero = weight_scales(np.zeros((1, 2, 3)), Scheme(), 1.0)
    assert (scale.tolist(), zero) == ([1.0, 1.0], 0)


def test_ties_go_to_even() -> None:
    weights = np.array([[0.5, 1.5, 2.5, -0.5, -1.5]])
    codes = nearest_codes(weights, np.array([1], np.float32), 0, (-127, 127))
    assert codes.tolist() == [[0, 2, 2, 0, -2]]


def test_a_scale_grows_until_the_bias_fits() -> None:
    rows = np.array([[1e-12, 0.0], [1.0, 0.5]])
    scale = np.array([1e-14, 0.01], np.float32)
    rounded = RoundedWeights(scale, 0, nearest_codes(rows, scale, 0, (-127, 127)))
    bias = np.array([2.0, 2.0])
    found = with_room_for_bias(rounded, rows, bias, Scheme())
    assert (np.abs(bias / found.scale) <= LARGEST_BIAS * 1.001).all()
    assert found.scale[1] == scale[1]
    assert found.codes.tolist() == [[0, 0], [100, 50]]
