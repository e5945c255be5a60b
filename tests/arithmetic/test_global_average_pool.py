"""QLinearGlobalAveragePool against ONNX Runtime, both layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from tests.support import one_node
from tests.support.operands import EIGHT_BIT, GENERATORS, codes, scales
from tests.support.runtime import identical, many, on_contract_platform


@on_contract_platform
@many(500)
@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=4),
    EIGHT_BIT,
    st.sampled_from(["ordinary", "powers of two"]),
    st.booleans(),
    GENERATORS,
)
def test_equals_onnx_runtime(
    shape: list[int], dtype: np.dtype[Any], kind: str, channels_last: bool, rng: np.random.Generator
) -> None:
    operands = {
        "x": codes(rng, tuple(shape), dtype),
        "x_scale": scales(rng, kind),
        "x_zero_point": codes(rng, (), dtype),
        "y_scale": scales(rng, kind),
        "y_zero_point": codes(rng, (), dtype),
    }
    pixels = np.float32(np.prod(shape[1:-1] if channels_last else shape[2:]))
    assume(operands["x_scale"] / (operands["y_scale"] * pixels) < 256)
    attributes = {"channels_last": int(channels_last)}
    expected = one_node.run("QLinearGlobalAveragePool", operands, dtype, attributes)
    actual = arithmetic.qlinear_global_average_pool(**operands, channels_last=channels_last)
    assert identical(actual, expected)


@pytest.mark.parametrize(
    ("multiplier", "accepted"),
    [
        (2.0**-32, True),
        (np.nextafter(np.float32(256), np.float32(0)), True),
        (np.nextafter(np.float32(2.0**-32), np.float32(0)), False),
        (256.0, False),
    ],
)
def test_refuses_the_multipliers_that_onnx_runtime_refuses(
    multiplier: float, accepted: bool
) -> None:
    x, zero = np.ones((1, 1, 2, 2), np.int8), np.int8(0)
    operands = (x, np.float32(multiplier) * np.float32(4), zero, np.float32(1), zero)
    names = ("x", "x_scale", "x_zero_point", "y_scale", "y_zero_point")
    inputs = dict(zip(names, operands, strict=True))
    if accepted:
        expected = one_node.run("QLinearGlobalAveragePool", inputs, np.int8)
        assert identical(arithmetic.qlinear_global_average_pool(*operands), expected)
        return
    with pytest.raises(UnsupportedError, match="multiplier"):
        arithmetic.qlinear_global_average_pool(*operands)
    with pytest.raises(Exception, match="out of computation range"):
        one_node.run("QLinearGlobalAveragePool", inputs, np.int8)
