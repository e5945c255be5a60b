"""QuantizeLinear against ONNX Runtime and against hand-made values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import GENERATORS, SCALE_KINDS, codes, scales
from tests.support.runtime import identical, many, on_contract_platform

DTYPES = [np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16)]
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -3e38, 3e38], np.float32)


def real_values(rng: np.random.Generator, scale: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Return numbers within a few times the range of 8 or 16 bits, many of them ties."""
    width = float(rng.choice([3, 150, 40000]))
    steps = rng.uniform(-width, width, count)
    steps = np.where(rng.random(count) < 0.5, np.rint(2 * steps) / 2, steps)
    with np.errstate(over="ignore", under="ignore"):
        values = steps.astype(np.float32) * scale.reshape(-1)[rng.integers(0, scale.size, count)]
    return np.where(rng.random(count) < 0.1, rng.choice(SPECIAL, count), values)


@on_contract_platform
@many(500)
@given(st.data())
def test_equals_onnx_runtime(data: st.DataObject) -> None:
    rng, dtype = data.draw(GENERATORS), data.draw(st.sampled_from(DTYPES))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    per = () if axis is None else (shape[axis],)
    scale, zero = scales(rng, data.draw(SCALE_KINDS), per), codes(rng, per, dtype)
    x = real_values(rng, scale, int(np.prod(shape))).reshape(shape)
    inputs = {"x": x, "y_scale": scale, "y_zero_point": zero}
    attributes = {} if axis is None else {"axis": axis}
    expected = one_node.run("QuantizeLinear", inputs, dtype, attributes)
    assert identical(arithmetic.quantize_linear(x, scale, zero, axis), expected)


@on_contract_platform
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("zero", [0, 1, 77])
def test_every_tie_and_its_neighbours(dtype: np.dtype[Any], zero: int) -> None:
    ties = np.arange(-70000, 70000, dtype=np.float32) + np.float32(0.5)
    x = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, 2 * ties)])
    zero_point = np.asarray(zero, dtype)
    for scale in np.array([0.25, 1.0, 0.1], np.float32):
        inputs = {"x": x * scale, "y_scale": scale, "y_zero_point": zero_point}
        expected = one_node.run("QuantizeLinear", inputs, dtype)
        assert identical(arithmetic.quantize_linear(x * scale, scale, zero_point), expected)


def test_divides_rounds_half_to_even_and_then_adds_the_zero_point() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, 1000, -1000], np.float32)
    assert arithmetic.quantize_linear(x, 1.0, np.int8(1)).tolist() == [1, 3, 3, 1, 127, -128]


def test_special_values_go_to_the_rails() -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert arithmetic.quantize_linear(x, 1.0, np.uint8(3)).tolist() == [0, 255, 0, 3]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_input_of_raw_pixels_is_quantized_without_loss(dtype: type) -> None:
    """Scale 1 and zero point qmin: every 8-bit pixel has its own code, and comes back."""
    pixels = np.arange(256, dtype=np.float32)
    zero: NDArray[Any] = np.asarray(np.iinfo(dtype).min, dtype)
    codes_of_pixels = arithmetic.quantize_linear(pixels, 1.0, zero)
    assert codes_of_pixels.tolist() == list(range(int(zero), int(zero) + 256))
    assert np.array_equal(arithmetic.dequantize_linear(codes_of_pixels, 1.0, zero), pixels)
