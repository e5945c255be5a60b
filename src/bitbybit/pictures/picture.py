"""A figure with its caption and alternative text, shown alike on a page and in a notebook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bitbybit.files import atomic_write_text


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
    label : its id on the page, unique there, ``fig-...``
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
        return (
            f'<figure class="bb-figure" id="{escape(self.label)}">{frame}'
            f"<figcaption>{inline(self.caption)}</figcaption></figure>"
        )

    def _named(self) -> str:
        """Return the SVG as an image with a name and a smallest width that keeps it legible."""
        style = f"width:100%;max-width:{self.width}px;min-width:{min(self.width, 560)}px"
        attributes = f'role="img" aria-label="{escape(self.alt)}" style="{style};height:auto"'
        return self.svg.replace("<svg", f"<svg {attributes}", 1)

    def save(self, path: str | Path) -> Path:
        """Write a standalone SVG file; raises OSError and then leaves no partial file."""
        opening = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"'
        body = self.svg if "xmlns=" in self.svg else self.svg.replace("<svg", opening, 1)
        atomic_write_text(Path(path), body + "\n")
        return Path(path)
