"""The fused multiply-add of float32 hardware, bit for bit, in NumPy."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ._operands import Codes, Float32

Number: TypeAlias = np.float32 | Float32 | Codes


def fma32(a: Number, b: Number, c: Number) -> Float32:
    """Compute ``a * b + c`` with a single rounding to float32, as an FMA instruction does.

    The product of two float32 is exact in float64. The sum may not be; rounding it to float64
    and again to float32 can then differ from one rounding. So an inexact sum is rounded to odd
    first, which makes the second rounding right (Boldo and Melquiond, 2008).

    Parameters
    ----------
    a, b, c : float32 or 8-bit integers, broadcastable
        Infinities and NaN behave as in IEEE 754.

    Returns
    -------
    float32, broadcast shape
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product = np.multiply(a, b, dtype=np.float64)
        total = np.asarray(product + c)
        part = total - product
        error = (product - (total - part)) + (c - part)
        inexact = np.isfinite(total) & (error != 0)
        is_even = total.view(np.int64) % 2 == 0
        towards = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
        return np.where(inexact & is_even, towards, total).astype(np.float32)
