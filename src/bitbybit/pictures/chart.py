"""matplotlib figures as inline SVG that takes the ink and the ground of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .colours import INK, ROLES, SOFT, css
from .picture import Picture

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
    return Picture(adapt(stream.getvalue(), label), label, caption, alt, width)


def adapt(svg: str, label: str) -> str:
    """Turn matplotlib's SVG document into an element that fits into a page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]+"', svg)
    namespace = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = re.sub(r"<svg[^>]*>", f"<svg {viewbox[0] if viewbox else ''} {namespace}>", svg, count=1)
    svg = re.sub(r"font: (\d[\d.]*px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r'\bid="', f'id="{label}-', svg)
    svg = re.sub(r'href="#', f'href="#{label}-', svg)
    svg = svg.replace("url(#", f"url(#{label}-").replace(INK, css("ink")).replace(SOFT, css("soft"))
    for role, colour in ROLES.items():
        svg = svg.replace(colour, css(role))
    return re.sub(r"\n\s*", "\n", svg).strip()
