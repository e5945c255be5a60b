"""A quantizer: the grid of its codes on the number line, and what the round trip loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus, short
from bitbybit.model.types import QuantParams

from . import chart
from .colours import INK, ROLES, SOFT
from .picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def number_line(
    params: QuantParams,
    *,
    label: str,
    caption: str,
    values: NDArray[np.floating] | None = None,
) -> Picture:
    """Draw the real number line with the codes that a quantizer offers, and its two rails.

    Parameters
    ----------
    params : per tensor
        Every sixteenth code is a tick, with its code below and its real value above.
    values : float32, any shape
        Real values to show as marks above the line, in units of the line.
    label, caption
        As for :class:`Picture`.
    """
    scale, zero = float(params.scale), int(params.zero_point)
    low, high = scale * (params.qmin - zero), scale * (params.qmax - zero)
    margin = 0.18 * (high - low)
    with chart.style():
        figure, (axes,) = chart.axes(720, 190)
        axes.plot([low, high], [0, 0], color=ROLES["activation"], linewidth=4)
        for start, end in ((low - margin, low), (high, high + margin)):
            axes.plot([start, end], [0, 0], color=SOFT, linewidth=1.6, linestyle=(0, (3, 3)))
        for code in np.unique([*range(params.qmin, params.qmax, 32), zero, params.qmax]).tolist():
            _tick(
                axes, code, scale * (code - zero), strong=code in (zero, params.qmin, params.qmax)
            )
        if values is not None:
            flat = np.asarray(values, np.float64).ravel()
            axes.plot(flat, np.full(flat.size, 0.8), "v", color=ROLES["accumulator"], markersize=6)
        axes.text(low - margin, 0.18, "clipped", ha="left")
        axes.text(high + margin, 0.18, "clipped", ha="right")
        axes.set_xlim(low - 1.05 * margin, high + 1.05 * margin)
        axes.set_ylim(-1.2, 1.3)
        axes.axis("off")
        alt = (
            f"Number line from {low:.4g} to {high:.4g} with codes {params.qmin} to {params.qmax}; "
            f"real 0 has the code {zero}; values outside are clipped"
        )
        return chart.picture(figure, label, caption, alt)


def _tick(axes: Axes, code: int, real: float, *, strong: bool) -> None:
    """Draw one code on the number line; a strong one with its real value."""
    axes.plot([real, real], [-0.25, 0.25], color=INK if strong else SOFT, linewidth=1)
    text = minus(code)
    if strong:
        axes.text(real, 0.42, short(real), ha="center")
        axes.text(real, -0.8, text, ha="center", weight="bold")
    else:
        axes.text(real, -0.6, text, ha="center", color=SOFT, fontsize=8)


def round_trip(
    x: NDArray[np.floating],
    error: NDArray[np.floating],
    params: QuantParams,
    *,
    label: str,
    caption: str,
) -> Picture:
    """Draw the error of the round trip over the real value, with the bound of half a scale.

    Parameters
    ----------
    x : float32, ``[K]``, ascending
    error : float32, ``[K]``
        ``dequantize(quantize(x)) - x``.
    params : per tensor
    label, caption
        As for :class:`Picture`.
    """
    half = float(params.scale) / 2
    zero = int(params.zero_point)
    rails = [2 * half * (code - zero) for code in (params.qmin, params.qmax)]
    with chart.style():
        figure, (axes,) = chart.axes(720, 260)
        axes.plot(x, error, color=ROLES["activation"], linewidth=1.2)
        for bound in (-half, half):
            axes.axhline(bound, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        for rail, name in zip(rails, ("x_min", "x_max"), strict=True):
            if x[0] <= rail <= x[-1]:
                axes.axvline(rail, color=SOFT, linewidth=1)
                axes.annotate(name, (rail, error.min()), (5, 4), textcoords="offset points")
        axes.annotate("scale / 2", (x[0], half), (4, 5), textcoords="offset points")
        axes.set_xlim(x[0], x[-1])
        axes.set_xlabel("real value x")
        axes.set_ylabel("round trip minus x")
        alt = (
            f"Sawtooth of the round-trip error from {x[0]:.4g} to {x[-1]:.4g}, within "
            f"±{half:.4g} between the rails, largest magnitude {np.abs(error).max():.4g}"
        )
        return chart.picture(figure, label, caption, alt)
