"""Accumulators: how one grows product by product, and where all of them lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus

from . import chart
from .colours import INK, ROLES, SOFT
from .picture import Picture

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
