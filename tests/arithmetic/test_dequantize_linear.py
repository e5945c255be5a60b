"""DequantizeLinear against ONNX Runtime, every code and every dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import EIGHT_BIT, GENERATORS, SCALE_KINDS, codes, scales
from tests.support.runtime import identical, many

DTYPES = [np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32)]


@many(500)
@given(st.data())
def test_equals_onnx_runtime(data: st.DataObject) -> None:
    rng, dtype = data.draw(GENERATORS), data.draw(st.sampled_from(DTYPES))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    per = () if axis is None else (shape[axis],)
    scale = scales(rng, data.draw(SCALE_KINDS), per)
    zero = np.zeros(per, dtype) if dtype == np.int32 else codes(rng, per, dtype)
    q = codes(rng, shape, dtype)
    inputs = {"x": q, "x_scale": scale, "x_zero_point": zero}
    attributes = {} if axis is None else {"axis": axis}
    expected = one_node.run("DequantizeLinear", inputs, np.float32, attributes)
    assert identical(arithmetic.dequantize_linear(q, scale, zero, axis), expected)


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
def test_every_code_for_many_zero_points(dtype: np.dtype[Any]) -> None:
    info = np.iinfo(dtype)
    q = np.arange(info.min, info.max + 1).astype(dtype)
    for zero in np.linspace(info.min, info.max, 17).astype(dtype):
        inputs = {"x": q, "x_scale": np.float32(0.0173), "x_zero_point": zero}
        expected = one_node.run("DequantizeLinear", inputs, np.float32)
        assert identical(arithmetic.dequantize_linear(q, np.float32(0.0173), zero), expected)


@given(GENERATORS, EIGHT_BIT)
def test_round_trip_keeps_every_code(rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
    info = np.iinfo(dtype)
    q = np.arange(info.min, info.max + 1).astype(dtype)
    scale, zero = scales(rng, "ordinary"), codes(rng, (), dtype)
    real = arithmetic.dequantize_linear(q, scale, zero)
    assert np.array_equal(arithmetic.quantize_linear(real, scale, zero), q)


def test_bias_has_one_scale_per_channel() -> None:
    bias, scale = np.array([100, -7], np.int32), np.array([0.5, 0.25], np.float32)
    assert arithmetic.dequantize_linear(bias, scale, axis=0).tolist() == [50.0, -1.75]
