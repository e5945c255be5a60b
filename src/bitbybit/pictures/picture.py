"""A figure with its caption and alternative text, and the canvas on which it is drawn.

There is one colour per kind of tensor, the same in every figure (Okabe-Ito, colour-blind safe;
orange is darker than theirs, so that it has a contrast of 3 on white).
In SVG a colour is written as a CSS variable with its value as fallback: the book sets the
variables for light and dark pages, a notebook uses the fallback.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from bitbybit.digits import minus
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


@cache
def asset(name: str) -> str:
    """Return a text file that lies beside this module."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


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


Ends = tuple[float, float]
Tick = tuple[float, str]


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` laid along a drawing; called, it gives the place of one.

    Attributes
    ----------
    low, high : the values at the ends
    start, end : where these lie, in CSS pixels
    """

    low: float
    high: float
    start: float
    end: float

    @property
    def span(self) -> float:
        """``high - low``; 1 where there is one value only."""
        return (self.high - self.low) or 1.0

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.start + (value - self.low) / self.span * (self.end - self.start)

    def ticks(self, most: int = 7) -> list[Tick]:
        """Return about ``most`` (3 or more) round values with their text: 1, 2, 5 times 10^k apart.

        Examples
        --------
        >>> Axis(-0.3, 0.25, 0, 1).ticks(3)
        [(-0.2, '−0.2'), (0.0, '0'), (0.2, '0.2')]
        """
        unit = 10.0 ** math.floor(math.log10(self.span / most))
        step = next(unit * m for m in (1, 2, 5, 10) if self.span / (unit * m) <= most)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        places = (k * step for k in range(first, last + 1))
        return [(at, minus(f"{at:,.4g}" if step < 1 else f"{at:,.0f}")) for at in places]


def steps(x: Axis, y: Axis, edges: Sequence[float], heights: Sequence[float]) -> str:
    """Return a path that keeps each height from its edge to the next one."""
    parts = [f"M{x(edges[0]):.4g} {y(heights[0]):.4g}"]
    for edge, height in zip(edges[1:], heights, strict=True):
        parts.append(f"V{y(height):.4g}H{x(edge):.4g}")
    return "".join(parts)


class Canvas:
    """Collects SVG elements; coordinates are in CSS pixels from the top left.

    Colours are roles, ``"ink"``, ``"soft"``, ``"none"`` or CSS colours.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def _add(self, tag: str, style: str, text: str | None = None, /, **attributes: Any) -> None:
        """Add an element; numbers are written with six digits."""
        given = "".join(
            f' {name}="{escape(value) if isinstance(value, str) else format(value, "g")}"'
            for name, value in attributes.items()
        )
        end = "/>" if text is None else f">{escape(text)}</{tag}>"
        self._parts.append(f'<{tag}{given} style="{style}"{end}')

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str = "none",
        stroke: str = "soft", opacity: float = 1.0, line: float = 1.0,
    ) -> None:  # fmt: skip
        """Add a rectangle; ``opacity`` is that of the filling."""
        style = f"fill:{css(fill)};fill-opacity:{opacity:g};stroke:{css(stroke)}"
        style += f";stroke-width:{line:g}"
        self._add("rect", style, x=x, y=y, width=width, height=height)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str = "soft",
        width: float = 1.0, dash: str = "",
    ) -> None:  # fmt: skip
        """Add a straight line."""
        dashed = f";stroke-dasharray:{dash}" if dash else ""
        style = f"stroke:{css(stroke)};stroke-width:{width:g}{dashed}"
        self._add("line", style, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(
        self, d: str, fill: str = "none", stroke: str = "soft", width: float = 1.0,
        opacity: float = 1.0,
    ) -> None:  # fmt: skip
        """Add a path in SVG path syntax; ``opacity`` is that of the filling."""
        tint = "" if opacity == 1 else f";fill-opacity:{opacity:g}"
        self._add(
            "path", f"fill:{css(fill)};stroke:{css(stroke)};stroke-width:{width:g}{tint}", d=d
        )

    def dot(self, x: float, y: float, stroke: str, fill: str = "", radius: float = 4.5) -> None:
        """Add a circle, filled with the colour of its line if no other is given."""
        style = f"fill:{css(fill or stroke)};stroke:{css(stroke)};stroke-width:1.8"
        self._add("circle", style, cx=x, cy=y, r=radius)

    def image(self, x: float, y: float, width: float, height: float, address: str) -> None:
        """Add an image whose pixels stay sharp and fill the rectangle."""
        self._add(
            "image", "image-rendering:pixelated",
            x=x, y=y, width=width, height=height, preserveAspectRatio="none", href=address,
        )  # fmt: skip

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
        style = f"font-size:{size:g}px;text-anchor:{anchor};font-weight:{weight}"
        upwards = {"transform": f"rotate(-90 {x:g} {y:g})"} if turned else {}
        self._add("text", f"{style};fill:{css(colour)}", str(text), x=x, y=y, **upwards)

    def svg(self, attributes: str = "") -> str:
        """Return the drawing as an element."""
        box = f'viewBox="0 0 {self.width} {self.height}"'
        return f"<svg {f'{attributes} {box}'.strip()}>{''.join(self._parts)}</svg>"

    def picture(self, label: str, caption: str, alt: str) -> Picture:
        """Return the drawing with its caption and alternative text."""
        return Picture(self.svg(), label, caption, alt, self.width)


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
