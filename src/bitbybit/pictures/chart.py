"""matplotlib figures as inline SVG that takes the ink and the ground of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .picture import INK, ROLES, SOFT, Picture, css
from .qdq_graph import element

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bitbybit",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": SOFT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
}
PIXELS_PER_INCH = 96


@contextmanager
def style() -> Iterator[None]:
    """Draw with the book's style; figures made outside are not changed."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        yield


def axes(width: int, height: int, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` x ``height`` CSS pixels and its axes, row by row."""
    from matplotlib.figure import Figure

    size = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
    figure = Figure(figsize=size, dpi=PIXELS_PER_INCH, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.ravel())


def picture(figure: Figure, label: str, caption: str, alt: str) -> Picture:
    """Return a matplotlib figure as :class:`Picture`; call it inside :func:`style`.

    Text stays text in the font of the page, colours become CSS variables, ids get the label in
    front, and nothing in the result depends on the day or the machine's fonts.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    return Picture(
        svg=_of_page(element(stream.getvalue(), label)),
        label=label,
        caption=caption,
        alt=alt,
        width=width,
    )


def _of_page(svg: str) -> str:
    """Write colours as those of the page, and leave the fonts to it."""
    svg = re.sub(r"font: (\d[\d.]*px) [^;\"]*", r"font-size: \1", svg)
    for colour, role in {INK: "ink", SOFT: "soft", **{c: r for r, c in ROLES.items()}}.items():
        svg = svg.replace(colour, css(role))
    return svg
