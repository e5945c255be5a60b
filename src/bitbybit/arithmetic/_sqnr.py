"""Signal to quantization noise ratio: how far an error lies below what it disturbs."""

from __future__ import annotations

import math


def sqnr_db(signal: float, noise: float) -> float:
    """Return ``10 log10(signal / noise)`` in dB.

    Parameters
    ----------
    signal, noise : float, >= 0
        Sums (or means) of the squares of the same values, and of their errors.

    Returns
    -------
    float, in dB: inf without noise, -inf without signal

    Examples
    --------
    >>> sqnr_db(100.0, 1.0)
    20.0
    """
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
