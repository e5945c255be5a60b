"""A figure with its caption and alternative text, and the canvas on which it is drawn.

There is one colour per kind of tensor, the same in every figure (Okabe-Ito, colour-blind safe;
orange is darker than theirs, so that it has a contrast of 3 on white).
In SVG a colour is written as a CSS variable with its value as fallback: the book sets the
variables for light and dark pages, a notebook uses the fallback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from bitbybit.model.types import QuantizedModel
from bitbybit.text import shortened

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
"""Stands for ``currentColor`` while Graphviz draws."""


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


def inline(text: str, *, breakable: bool = False) -> str:
    """Escape ``text`` for HTML and set what stands between backticks as code.

    With ``breakable``, lines may break behind a slash or an underscore.

    Examples
    --------
    >>> inline("`w_scale` < 1")
    '<code>w_scale</code> &lt; 1'
    """
    escaped = re.sub("([/_])", r"\1<wbr>", escape(text)) if breakable else escape(text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)


@dataclass(frozen=True)
class Picture:
    """An inline SVG with what a reader and a screen reader need.

    Attributes
    ----------
    svg : the ``<svg>`` element, without role or label
    label : its id on the page, unique there, ``fig-...``; "" for a drawing without number
    caption : how to read it; backticks set code
    alt : what it shows, for those who do not see it
    width : width at which it is drawn, in CSS pixels; on narrower screens it scrolls in its frame
    """

    svg: str
    label: str
    caption: str
    alt: str
    width: int

    def _repr_html_(self) -> str:
        """Show the figure in a notebook."""
        frame = f'<div class="bb-frame" style="overflow-x:auto">{self._named()}</div>'
        if not self.label:
            return frame
        return (
            f'<figure class="bb-figure" id="{escape(self.label)}">{frame}'
            f"<figcaption>{inline(self.caption)}</figcaption></figure>"
        )

    def _named(self) -> str:
        """Return the SVG as an image with a name and a smallest width that keeps it legible."""
        style = f"width:100%;max-width:{self.width}px;min-width:{min(self.width, 560)}px"
        attributes = f'role="img" aria-label="{escape(self.alt)}" style="{style};height:auto"'
        return self.svg.replace("<svg", f"<svg {attributes}", 1)


class Canvas:
    """Collects SVG elements; coordinates are in CSS pixels from the top left.

    Colours are roles, ``"ink"``, ``"soft"``, ``"none"`` or CSS colours.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str = "none",
        stroke: str = "soft", opacity: float = 1.0, line: float = 1.0,
    ) -> None:  # fmt: skip
        """Add a rectangle; ``opacity`` is that of the filling."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'style="fill:{css(fill)};fill-opacity:{opacity:g};'
            f'stroke:{css(stroke)};stroke-width:{line:g}"/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str = "soft",
        width: float = 1.0, dash: str = "",
    ) -> None:  # fmt: skip
        """Add a straight line."""
        dashed = f";stroke-dasharray:{dash}" if dash else ""
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" '
            f'style="stroke:{css(stroke)};stroke-width:{width:g}{dashed}"/>'
        )

    def path(self, d: str, fill: str = "none", stroke: str = "soft", width: float = 1.0) -> None:
        """Add a path in SVG path syntax."""
        self._parts.append(
            f'<path d="{escape(d)}" '
            f'style="fill:{css(fill)};stroke:{css(stroke)};stroke-width:{width:g}"/>'
        )

    def dot(self, x: float, y: float, stroke: str, fill: str = "", radius: float = 4.5) -> None:
        """Add a circle, filled with the colour of its line if no other is given."""
        style = f"fill:{css(fill or stroke)};stroke:{css(stroke)};stroke-width:1.8"
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" style="{style}"/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, stroke: str = "soft") -> None:
        """Add a line with a head at its end."""
        self.line(x1, y1, x2, y2, stroke, 1.5)
        length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
        dx, dy = (x2 - x1) / length * 6, (y2 - y1) / length * 6
        left = f"{x2 - dx - dy / 2:g} {y2 - dy + dx / 2:g}"
        right = f"{x2 - dx + dy / 2:g} {y2 - dy - dx / 2:g}"
        self.path(f"M{x2:g} {y2:g} L{left} L{right} Z", stroke, stroke)

    def text(
        self, x: float, y: float, text: object, size: float = 13, anchor: str = "middle",
        colour: str = "ink", weight: int = 400, *, turned: bool = False,
    ) -> None:  # fmt: skip
        """Add a line of text with its baseline at ``y``; ``anchor`` is start, middle or end."""
        upwards = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}"{upwards} style="font-size:{size:g}px;text-anchor:{anchor};'
            f'font-weight:{weight};fill:{css(colour)}">{escape(str(text))}</text>'
        )

    def raw(self, markup: str) -> None:
        """Add ready-made SVG elements."""
        self._parts.append(markup)

    def picture(self, label: str, caption: str, alt: str) -> Picture:
        """Return the drawing with its caption and alternative text."""
        svg = f'<svg viewBox="0 0 {self.width} {self.height}">{"".join(self._parts)}</svg>'
        return Picture(svg, label, caption, alt, self.width)


def source(model: QuantizedModel, data: str = "") -> str:
    """Name a model by file and the first eight digits of its SHA-256, and the data shown.

    Parameters
    ----------
    model
        The network that the figure or table shows.
    data
        An image or data set, for example ``"ship.png"``.
    """
    file = f"`{shortened(model.path.name)}` ({model.sha256[:8]})"
    return f"{file}, {data}." if data else f"{file}."
