"""How numbers are written, everywhere alike: shortest decimal, hex float, wide minus sign."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

NUMERIC = re.compile(
    r"[-+−]?(0x)?[\d.,…]+([eE][-+]?\d+)?( ?%)?|[-+−]?0x[\da-f.]+p[-+]?\d+|[-−]?inf|—?"
)
"""A cell that holds a number, or nothing."""


def shortest(value: Any) -> Any:
    """Return real numbers as Python floats that print as the shortest decimal of their float32.

    Parameters
    ----------
    value : a real number or an array of them, any shape; or None
        Rounded to float32: nothing is lost for the scales and tensors of a model.

    Returns
    -------
    float or None
        None for None, NaN and infinities, which JSON does not know; for an array with at least
        one dimension a flat list of these.

    Examples
    --------
    >>> shortest(np.float32(0.1)), shortest(float("nan")), shortest(np.float32([0.1, 3]))
    (0.1, None, [0.1, 3.0])
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return [shortest(item) for item in value.reshape(-1)]
    if value is None or not math.isfinite(value):
        return None
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(value)
    return float(str(rounded)) if np.isfinite(rounded) else None


def hex_float(value: Any) -> Any:
    """Write a real number exactly, as C does; an array as a flat list.

    Examples
    --------
    >>> hex_float(np.float32(0.1))
    '0x1.99999ap-4'
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return [hex_float(item) for item in value.reshape(-1)]
    return re.sub(r"\.?0*p", "p", float(value).hex())


def minus(text: object) -> str:
    """Write every hyphen of a text as a minus sign, which is as wide as a digit."""
    return str(text).replace("-", "−")


def short(value: float) -> str:
    """Write a number for an axis: four significant digits, a wide minus.

    Examples
    --------
    >>> short(-0.123456)
    '−0.1235'
    """
    return minus(f"{value:.4g}")


def shown(value: object) -> str:
    """Write a value as a cell of a page: integers with commas, floats in full, a wide minus.

    Numbers get the minus sign also where they come as text; exponents keep the hyphen.

    Examples
    --------
    >>> shown(12501632), shown(np.float32(0.1)), shown(None), shown((None, 3))
    ('12,501,632', '0.1', '—', 'N × 3')
    >>> shown(-3), shown("-1.50"), shown(-1e-05), shown("-x")
    ('−3', '−1.50', '−1e-05', '-x')
    """
    if value is None:
        return "—"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        value = f"{int(value):,}"
    if isinstance(value, (tuple, list)):
        return " × ".join("N" if item is None else str(item) for item in value)
    text = str(value)
    return "−" + text[1:] if text[:1] == "-" and NUMERIC.fullmatch(text) else text
