"""Curves on axes: growing sums, accumulators, requantization, the grid and error of a quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus, short
from bitbybit.model.types import QuantParams

from . import chart
from .picture import INK, ROLES, SOFT, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


INT16 = (-(2**15), 2**15 - 1)


def partial_sums(
    products: NDArray[np.signedinteger],
    bias: int = 0,
    *,
    label: str,
    caption: str,
    limits: tuple[int, int] | None = None,
) -> Picture:
    """Draw the sum after each product, from the bias to the accumulator.

    Parameters
    ----------
    products : int32, any shape, added in C order
    bias
        The value before the first product.
    limits
        A range to mark, such as that of int16.
    label, caption
        As for :class:`Picture`.
    """
    sums = bias + np.concatenate([[0], np.cumsum(np.asarray(products, np.int64).ravel())])
    with chart.style():
        figure, (axes,) = chart.axes(720, 300)
        axes.step(np.arange(len(sums)), sums, where="post", color=ROLES["accumulator"])
        axes.plot(len(sums) - 1, sums[-1], "o", color=ROLES["accumulator"])
        _note(axes, f"{sums[-1]:,}", (len(sums) - 1, sums[-1]), (8, -3), "left")
        _note(axes, f"bias {bias:,}", (0, sums[0]), (2, 7), "left")
        for limit in limits or ():
            axes.axhline(limit, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            _note(axes, f"{limit:,}", (len(sums) * 1.08, limit), (0, 4), "right")
        axes.set_xlim(0, (len(sums) - 1) * 1.1)
        axes.set_xlabel("products added")
        axes.set_ylabel("partial sum")
        axes.yaxis.set_major_formatter(_ticks)
        axes.grid(visible=True, axis="y")
        alt = (
            f"Step curve of {len(sums) - 1} partial sums from {sums[0]} to {sums[-1]}, "
            f"lowest {sums.min()}, highest {sums.max()}"
        )
        return chart.picture(figure, label, caption, alt)


def accumulator_histogram(
    accumulators: NDArray[np.signedinteger],
    *,
    label: str,
    caption: str,
    limits: Sequence[int] = INT16,
    bins: int = 80,
) -> Picture:
    """Draw how often accumulators of each size occur, counts on a logarithmic axis.

    Parameters
    ----------
    accumulators : int32, any shape
    limits
        Values to mark; by default the ends of int16.
    bins
        Bins of equal width over the range of the values and limits.
    label, caption
        As for :class:`Picture`.
    """
    values = np.asarray(accumulators, np.int64).ravel()
    low, high = min(*limits, int(values.min())), max(*limits, int(values.max()))
    outside = int(((values < min(limits)) | (values > max(limits))).sum())
    with chart.style():
        figure, (axes,) = chart.axes(720, 300)
        counts, edges = np.histogram(values, bins=bins, range=(low, high))
        axes.stairs(counts, edges, fill=True, color=ROLES["accumulator"], alpha=0.85)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, counts.max() * 4)
        for limit in limits:
            axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            _note(axes, f"{limit:,}", (limit, counts.max() * 1.8), (4, 0), "left")
        axes.set_xlabel("accumulator")
        axes.set_ylabel("count")
        axes.xaxis.set_major_formatter(_ticks)
        axes.yaxis.set_major_formatter(_ticks)
        alt = (
            f"Histogram of {values.size} accumulators from {values.min()} to {values.max()}; "
            f"{outside} lie outside {min(limits)}..{max(limits)}"
        )
        return chart.picture(figure, label, caption, alt)


def staircase(
    accumulators: NDArray[np.signedinteger],
    codes: NDArray[np.integer],
    multiplier: float,
    zero_point: int,
    *,
    label: str,
    caption: str,
    mark: int | None = None,
) -> Picture:
    """Draw output codes over accumulators, with the straight line that they round.

    Parameters
    ----------
    accumulators : int32, ``[K]``, ascending
    codes : int8 or uint8, ``[K]``
        Their requantized values.
    multiplier, zero_point
        The line is ``accumulator * multiplier + zero_point``.
    mark
        An accumulator to point at.
    label, caption
        As for :class:`Picture`.
    """
    acc, steps = np.asarray(accumulators, np.int64), np.asarray(codes, np.int64)
    with chart.style():
        figure, (axes,) = chart.axes(720, 320)
        line = acc * float(multiplier) + zero_point
        axes.plot(acc, line, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.step(acc, steps, where="mid", color=ROLES["activation"])
        if mark is not None:
            code = int(steps[int(np.searchsorted(acc, mark))])
            axes.plot(mark, code, "o", color=ROLES["accumulator"])
            _note(axes, f"{mark:,} → {code}", (mark, code), (9, -12), "left")
        axes.set_xlabel("accumulator")
        axes.set_ylabel("output code")
        axes.set_ylim(steps.min() - 3, steps.max() + 3)
        axes.set_xlim(acc[0], acc[-1])
        axes.xaxis.set_major_formatter(_ticks)
        axes.yaxis.set_major_formatter(_ticks)
        axes.grid(visible=True, axis="y")
        alt = (
            f"Staircase of output codes from {steps[0]} to {steps[-1]} "
            f"over accumulators from {acc[0]} to {acc[-1]}"
        )
        return chart.picture(figure, label, caption, alt)


def _ticks(value: float, _: float) -> str:
    """Write an integer at a tick."""
    return minus(f"{value:,.0f}")


def _note(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], align: str
) -> None:
    """Write a short label beside a point."""
    axes.annotate(
        minus(text),
        at,
        offset,
        textcoords="offset points",
        ha=align,
        annotation_clip=False,
    )


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
