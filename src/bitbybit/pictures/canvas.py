"""A drawing of rectangles, lines and text, for pictures that are not charts."""

from __future__ import annotations

from html import escape

from .colours import css
from .picture import Picture


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
        colour: str = "ink", weight: int = 400,
    ) -> None:  # fmt: skip
        """Add one line of text whose baseline is at ``y``; ``anchor`` start, middle or end."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" style="font-size:{size:g}px;text-anchor:{anchor};'
            f'font-weight:{weight};fill:{css(colour)}">{escape(str(text))}</text>'
        )

    def raw(self, markup: str) -> None:
        """Add ready-made SVG elements."""
        self._parts.append(markup)

    def picture(self, label: str, caption: str, alt: str) -> Picture:
        """Return the drawing with its caption and alternative text."""
        svg = f'<svg viewBox="0 0 {self.width} {self.height}">{"".join(self._parts)}</svg>'
        return Picture(svg, label, caption, alt, self.width)
