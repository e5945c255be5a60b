"""Fixed-point multiplication in Python integers, as others write it: slow, and obviously theirs."""

from __future__ import annotations

import math
from fractions import Fraction


def multiplier(real: float | Fraction, bits: int = 31) -> tuple[int, int]:
    """Return ``q`` and ``e`` with ``real`` nearly ``q * 2^(e - bits)``, in exact arithmetic."""
    exact, exponent = Fraction(real), 0
    while exact >= 1:
        exact, exponent = exact / 2, exponent + 1
    while exact < Fraction(1, 2):
        exact, exponent = exact * 2, exponent - 1
    q = math.floor(exact * 2**bits + Fraction(1, 2))
    return (q // 2, exponent + 1) if q == 2**bits else (q, exponent)


def half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves upwards."""
    return math.floor(value + Fraction(1, 2))


def half_away(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero."""
    return half_up(value) if value >= 0 else -half_up(-value)


def tflite(acc: int, real: float, mode: str = "double") -> int:
    """Multiply by TensorFlow Lite's integers: double, single, upward, or with the frequent slip."""
    q, exponent = multiplier(real)
    if mode == "single":
        return half_up(Fraction(acc * q) * Fraction(2) ** (exponent - 31))
    product = (acc << max(exponent, 0)) * q
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    towards_zero = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # as C divides
    high = nudged >> 31 if mode == "slip" else towards_zero
    places = max(-exponent, 0)
    if mode == "upward":
        return half_up(Fraction(high, 2**places))
    mask = (1 << places) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> places) + (1 if high & mask > threshold else 0)
