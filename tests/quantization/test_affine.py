"""Scale and zero point: 0 has a code, the range is covered, pixels are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit.quantization import Scheme
from bitbybit.quantization.scheme import activation_params

SCHEMES = [
    Scheme(activation_dtype=dtype, symmetric_activations=symmetric)
    for dtype in ("int8", "uint8")
    for symmetric in (False, True)
]
ENDS = st.floats(-(2.0**100), 2.0**100, width=32)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@given(a=ENDS, b=ENDS, bits=st.integers(2, 8))
def test_zero_has_a_code_and_the_range_is_covered(
    scheme: Scheme, a: float, b: float, bits: int
) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    params = activation_params(min(a, b), max(a, b), scheme, bits)
    qmin, qmax = scheme.activation_rails(bits)
    scale, zero = float(params.scale), int(params.zero_point)
    assert params.scale.dtype == np.float32
    assert params.dtype == scheme.activation_dtype
    assert scale > 0
    assert qmin <= zero <= qmax
    # rounding the zero point moves the rails by half a step at most
    slack = 0.5 * scale * (1 + 1e-5)
    assert (qmin - zero) * scale <= low + slack
    assert (qmax - zero) * scale >= high - slack


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -128), ("uint8", 0)])
def test_pixels_are_lossless(dtype: Any, zero: int) -> None:
    scheme = Scheme(activation_dtype=dtype)
    params = activation_params(0.0, 255.0, scheme, 8)
    assert (float(params.scale), int(params.zero_point)) == (1.0, zero)


@pytest.mark.parametrize(("dtype", "zero"), [("int8", 0), ("uint8", 128)])
def test_symmetric_zero_points_are_in_the_middle(dtype: Any, zero: int) -> None:
    scheme = Scheme(activation_dtype=dtype, symmetric_activations=True)
    params = activation_params(-1.0, 12.7, scheme, 8)
    assert int(params.zero_point) == zero
    assert float(params.scale) == float(np.float32(12.7 / 127))


@given(high=st.floats(0, 2.0**100, width=32), bits=st.integers(2, 8))
def test_a_range_from_zero_on_is_a_relu(high: float, bits: int) -> None:
    for scheme in SCHEMES[::2]:
        params = activation_params(0.0, high, scheme, bits)
        assert int(params.zero_point) == scheme.activation_rails(bits)[0]


def test_a_range_of_nothing_has_scale_1() -> None:
    assert float(activation_params(0.0, 0.0, Scheme(), 8).scale) == 1.0


def test_the_smallest_range_keeps_a_normal_scale() -> None:
    assert float(activation_params(0.0, 1e-45, Scheme(), 8).scale) == np.finfo(np.float32).tiny


@pytest.mark.parametrize("bits", range(2, 9))
def test_rails_have_as_many_codes_as_the_bits_say(bits: int) -> None:
    for scheme in SCHEMES:
        low, high = scheme.activation_rails(bits)
        assert high - low + 1 == 2**bits
    narrow = Scheme(weight_bits=bits)
    assert narrow.weight_rails == (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    unsigned = Scheme("uint8", "uint8", per_channel=False, weight_bits=bits)
    assert unsigned.weight_rails == (0, 2**bits - 1)
