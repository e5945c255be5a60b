"""Statistics, value ranges and histograms on arrays whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit.digits import shortest
from bitbybit.errors import DataError
from bitbybit.inspection.statistics import bin_edges, code_edges, histogram, statistics, value_range
from bitbybit.inspection.weights import dequantize
from bitbybit.model.types import QuantParams
from tests.support.arrays import f32, i8, u8

ODD = f32([np.nan, -1, 0, 3, np.inf, -np.inf])


def test_statistics_leave_out_what_is_no_number() -> None:
    s = statistics(ODD)
    assert (s.count, s.invalid, s.minimum, s.maximum) == (6, 3, -1.0, 3.0)
    assert s.mean == np.float64(2) / 3
    assert s.width == 4.0


def test_statistics_without_values() -> None:
    for values in (np.zeros((0, 3), np.float32), f32([np.nan])):
        s = statistics(values)
        assert s.minimum is s.maximum is s.mean is s.std is s.width is None


def test_value_range_defaults_to_one_standard_deviation() -> None:
    values = np.arange(-50, 51, dtype=np.float32)
    found = value_range(values)
    assert (found.low, found.high) == (-values.std(dtype=np.float64), values.std(dtype=np.float64))
    assert found.count == int((np.abs(values) <= values.std(dtype=np.float64)).sum())
    assert found.share == found.count / 101


def test_value_range_holds_both_ends_and_counts_numbers_only() -> None:
    found = value_range(ODD, -1, 0)
    assert (found.count, found.total) == (2, 3)
    with pytest.raises(DataError, match="low <= high"):
        value_range(ODD, 1, 0)
    with pytest.raises(DataError, match="low <= high"):
        value_range(ODD, np.nan, 0)


def test_edges_span_all_tensors_and_counts_lose_nothing() -> None:
    a, b = f32([-1, 0.5, np.nan]), f32([2, 3])
    edges = bin_edges([a, b], 10)
    assert edges.shape == (11,)
    assert (edges[0], edges[-1]) == (-1, 3)
    first, second = histogram(a, edges), histogram(b, edges)
    assert (first.total, int(first.counts.sum())) == (2, 2)
    assert second.percent.sum() == 100
    assert first.edges is second.edges


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [np.nan]])
def test_edges_of_equal_or_absent_values(values: list[float]) -> None:
    edges = bin_edges([f32(values)])
    assert (np.diff(edges) > 0).all()
    counted = histogram(f32(values), edges)
    assert counted.counts.sum() == np.isfinite(f32(values)).sum()


@pytest.mark.parametrize("bins", [9, 201, 0, -1])
def test_the_number_of_bins_is_bounded(bins: int) -> None:
    with pytest.raises(DataError, match="10 to 200"):
        bin_edges([ODD], bins)
    with pytest.raises(DataError, match="10 to 200"):
        code_edges(-128, 127, bins)


@given(st.integers(10, 200), st.sampled_from([(-128, 127), (0, 255), (-32768, 32767)]))
def test_code_bins_hold_equally_many_codes(bins: int, ends: tuple[int, int]) -> None:
    low, high = ends
    edges = code_edges(low, high, bins)
    assert len(edges) - 1 <= bins
    counts = histogram(np.arange(low, high + 1), edges).counts
    assert counts.sum() == high - low + 1
    assert len(set(counts[:-1].tolist())) == 1


def test_each_channel_is_dequantized_with_its_own_scale() -> None:
    codes = i8([[1, 2], [1, 2]])
    scale = f32([0.5, 4])
    for axis, expected in ((0, [[0.5, 1], [4, 8]]), (1, [[0.5, 8], [0.5, 8]])):
        params = QuantParams(scale, i8([0, 0]), axis)
        assert dequantize(codes, params).tolist() == expected
    one = QuantParams(np.array(0.5, np.float32), np.array(200, np.uint8))
    assert dequantize(u8([0, 200, 255]), one).tolist() == [-100, 0, 27.5]


def test_dequantization_equals_onnx_runtime_bit_for_bit() -> None:
    from onnx import TensorProto, helper

    from tests.support import one_node

    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (6, 50)).astype(np.int8)
    scale = rng.uniform(1e-4, 3, 6).astype(np.float32)
    zero = rng.integers(-128, 128, 6).astype(np.int8)
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0)
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("q", TensorProto.INT8, [6, 50]),
         helper.make_tensor_value_info("s", TensorProto.FLOAT, [6]),
         helper.make_tensor_value_info("z", TensorProto.INT8, [6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6, 50])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    expected = one_node.session(model).run(None, {"q": codes, "s": scale, "z": zero})[0]
    assert np.array_equal(dequantize(codes, QuantParams(scale, zero, 0)), expected)


@given(st.floats(width=32))
def test_plain_numbers_are_the_float32_they_came_from(value: float) -> None:
    found = shortest(value)
    if np.isfinite(value):
        assert found is not None
        assert np.float32(found) == np.float32(value)
    else:
        assert found is None
