"""fma32 against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from bitbybit import arithmetic
from tests.support.runtime import many

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def nearest_float32(exact: Fraction) -> np.float32:
    """Round a rational number to float32, half to even, by search among the neighbours."""
    with np.errstate(over="ignore", under="ignore"):
        guess = np.float32(float(exact))
        below, above = (np.nextafter(guess, np.float32(end)) for end in (-np.inf, np.inf))
    candidates = (below, guess, above)
    finite = [c for c in candidates if np.isfinite(c)]
    return min(finite, key=lambda c: (abs(Fraction(float(c)) - exact), c.view(np.uint32) % 2))


@many(1000)
@given(FLOATS, FLOATS, FLOATS)
@example(205.0, 5237765 * 2.0**-47, 128.5)
@example(-205.0, 5237765 * 2.0**-47, -128.5)
@example(2.0**-75, 2.0**-75, 2.0**-149)
@example(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-80)
@example(1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-80))
@example(-1 - 2.0**-12, 1 + 2.0**-12, 2.0**-80)
@example(1 + 3 * 2.0**-12, 1 + 2.0**-12, -(2.0**-80))
@example(1.0, -1.0, 1.0)
@example(1.0, float(np.finfo(np.float32).max), 0.0)
@example(1.0, float(np.finfo(np.float32).max), 1e30)
def test_one_rounding(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    largest = Fraction(float(np.finfo(np.float32).max))
    actual = arithmetic.fma32(np.float32(a), np.float32(b), np.float32(c))
    if abs(exact) <= largest:
        assert actual == nearest_float32(exact)
    else:
        assert abs(actual) >= np.finfo(np.float32).max


def test_infinities_and_nan() -> None:
    inf, one, zero = np.float32(np.inf), np.float32(1), np.float32(0)
    assert arithmetic.fma32(inf, one, one) == inf
    assert np.isnan(arithmetic.fma32(inf, zero, one))
    assert np.isnan(arithmetic.fma32(inf, one, -inf))
