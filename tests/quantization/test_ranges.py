"""Each way to choose a range against a slow oracle on the raw values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.quantization import Scheme
from bitbybit.quantization.scheme import activation_params
from workshop.calibration import RangeMethod
from workshop.calibration.histogram import Histogram
from workshop.calibration.ranges import (
    FACTORS,
    activation_grid,
    choose_range,
    divergence,
    squared_error,
)

ASYMMETRIC, SYMMETRIC = Scheme(), Scheme(symmetric_activations=True)


def heavy_tailed(seed: int = 0, *, relu: bool = False) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_t(3, 4000).astype(np.float32) + np.float32(0.3)
    return np.maximum(values, 0) if relu else values


def histogram_of(values: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def raw_error(values: NDArray[np.float32], ends: tuple[float, float], bits: int) -> float:
    """The sum of squared errors of the values themselves, by the definition of the codes."""
    params = activation_params(*ends, ASYMMETRIC, bits)
    qmin, qmax = ASYMMETRIC.activation_rails(bits)
    exact = values.astype(np.float64)
    zero = int(params.zero_point)
    codes = np.clip(np.rint(exact / float(params.scale)) + zero, qmin, qmax)
    return float(np.square((codes - zero) * float(params.scale) - exact).sum())


def test_minmax_is_the_range_with_zero() -> None:
    assert choose_range(
        histogram_of(np.array([1, 5], np.float32)), RangeMethod("minmax"), ASYMMETRIC, 8
    ) == (0.0, 5.0)
    values = heavy_tailed()
    assert choose_range(histogram_of(values), RangeMethod("minmax"), ASYMMETRIC, 8) == (
        float(values.min()),
        float(values.max()),
    )


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("percentile", [60.0, 99.0, 99.9])
def test_percentile_leaves_out_no_more_than_it_says(percentile: float, relu: bool) -> None:
    values = heavy_tailed(relu=relu)
    histogram = histogram_of(values)
    low, high = choose_range(histogram, RangeMethod("percentile", percentile), ASYMMETRIC, 8)
    width = 2.0**histogram.exponent
    share = (100 - percentile) / 100
    assert (values > high + width).mean() <= share
    assert (values < low - width).mean() <= share
    # and one bin less would leave out too much, unless 0 has been reached
    assert high == 0 or (values > high - width).mean() > share
    assert low == 0 or (values < low + width).mean() > share


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_is_as_good_as_trying_every_pair_of_ends(bits: int, relu: bool) -> None:
    """Brute force over all pairs of ends, on the values and not on the histogram."""
    values = heavy_tailed(1, relu=relu)
    found = choose_range(histogram_of(values), RangeMethod("mse"), ASYMMETRIC, bits)
    lows = [min(float(values.min()), 0.0) * f for f in FACTORS[::4]] if not relu else [0.0]
    highs = [float(values.max()) * f for f in FACTORS]
    least = min(raw_error(values, (low, high), bits) for low in lows for high in highs)
    assert raw_error(values, found, bits) <= 1.02 * least


def test_the_cost_of_a_histogram_is_that_of_its_values() -> None:
    values = heavy_tailed(2)
    histogram = histogram_of(values)
    for ends in ((-3.0, 4.0), (-20.0, 20.0)):
        binned = squared_error(*histogram.occupied(), activation_grid(*ends, ASYMMETRIC, 6))
        assert binned == pytest.approx(raw_error(values, ends, 6), rel=0.01)


def slow_divergence(
    values: NDArray[np.float32], ends: tuple[float, float], width: float, bits: int
) -> float:
    """KL(P || Q) from the values, bin by bin and code by code, in plain Python."""
    params = activation_params(*ends, ASYMMETRIC, bits)
    qmin, qmax = ASYMMETRIC.activation_rails(bits)
    scale, zero = float(params.scale), int(params.zero_point)
    smallest, largest = float(values.min()), float(values.max())
    counts: dict[int, int] = {}
    for value in values[values != 0]:
        index = math.floor(float(value) / width)
        counts[index] = counts.get(index, 0) + 1
    codes = {}
    for index in counts:
        centre = min(max((index + 0.5) * width, smallest), largest)
        codes[index] = round(centre / scale) + zero  # Python rounds half to even
    inside = sorted(index for index in counts if qmin <= codes[index] <= qmax)
    p = {index: counts[index] for index in inside}
    q = {}
    for index in inside:
        members = [other for other in inside if codes[other] == codes[index]]
        q[index] = sum(counts[other] for other in members) / len(members)
    for index, count in counts.items():
        if index < inside[0]:
            p[inside[0]] += count
        elif index > inside[-1]:
            p[inside[-1]] += count
    all_p, all_q = sum(p.values()), sum(q.values())
    return sum(p[i] / all_p * math.log((p[i] / all_p) / (q[i] / all_q)) for i in inside)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("ends", [(-2.0, 3.0), (-0.5, 9.0), (-30.0, 30.0)])
def test_entropy_cost_equals_a_slow_one(ends: tuple[float, float], relu: bool) -> None:
    values = heavy_tailed(3, relu=relu)[:700]
    histogram = histogram_of(values)
    fast = divergence(*histogram.occupied(), activation_grid(*ends, ASYMMETRIC, 4))
    assert fast == pytest.approx(
        slow_divergence(values, ends, 2.0**histogram.exponent, 4), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("method", ["mse", "entropy"])
@pytest.mark.parametrize("scheme", [ASYMMETRIC, SYMMETRIC], ids=str)
def test_a_searched_range_beats_the_full_one(method: str, scheme: Scheme) -> None:
    histogram = histogram_of(heavy_tailed(4))
    cost = squared_error if method == "mse" else divergence
    chosen = choose_range(histogram, RangeMethod(method), scheme, 4)  # type: ignore[arg-type]
    full = (histogram.minimum, histogram.maximum)
    assert full[0] <= chosen[0] < 0 < chosen[1] <= full[1]
    bins = histogram.occupied()
    costs = [cost(*bins, activation_grid(*ends, scheme, 4)) for ends in (chosen, full)]
    assert costs[0] < costs[1]


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("values", [[0, 0], [3, 3], [-3, -3], [1e-40, 0], [1e30, -1e30]])
def test_degenerate_activations_have_a_range(method: str, values: list[float]) -> None:
    array = np.array([0, *values], np.float32)
    histogram = histogram_of(array[1:])
    low, high = choose_range(
        histogram, RangeMethod(method), ASYMMETRIC, 8  # type: ignore[arg-type]
    )  # fmt: skip
    assert array.min() <= low <= 0 <= high <= array.max()


@pytest.mark.parametrize(
    "arguments", [("median", 99.0), ("", 99.0), ("percentile", 100.0), ("percentile", 50.0)]
)
def test_an_unknown_way_is_refused(arguments: tuple[str, float]) -> None:
    with pytest.raises(DataError, match="ranges"):
        RangeMethod(*arguments)  # type: ignore[arg-type]
