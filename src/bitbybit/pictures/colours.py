"""One colour per kind of tensor, the same in every figure (Okabe-Ito, colour-blind safe).

Orange is darker than theirs, so that it has a contrast of 3 on white.
In SVG a colour is written as a CSS variable with its value as fallback: the book sets the
variables for light and dark pages, a notebook and a saved file use the fallback.
"""

from __future__ import annotations

ROLES = {
    "activation": "#0072b2",
    "weight": "#b87a00",
    "bias": "#009e73",
    "accumulator": "#d55e00",
    "scale": "#cc79a7",
}
"""Role of a tensor → colour."""

SOFT = "#7a7a7b"
"""Grid lines, ticks and other marks that stand back; text is always in the ink of the page."""

INK = "#000001"
"""Stands for ``currentColor`` while matplotlib draws."""


def css(colour: str) -> str:
    """Return the CSS value of a role, ``"soft"``, ``"ink"``, or any other CSS colour.

    Examples
    --------
    >>> css("weight"), css("ink"), css("none")
    ('var(--bb-weight, #b87a00)', 'currentColor', 'none')
    """
    if colour == "ink":
        return "currentColor"
    if colour == "soft":
        return f"var(--bb-soft, {SOFT})"
    return f"var(--bb-{colour}, {ROLES[colour]})" if colour in ROLES else colour
