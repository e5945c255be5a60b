"""One layer at a time: a strip to choose from and everything about the chosen layer.

All layers are in the document. A small custom element shows the chosen one and keeps it in the
URL; without JavaScript all of them stand one below the other and the strip links to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

from .strip import Stop, strip


@dataclass(frozen=True)
class View:
    """One layer: its box in the strip, and its content as HTML that is already escaped."""

    stop: Stop
    title: str
    body: str


@dataclass(frozen=True)
class Explorer:
    """The selector and all layers, shown alike on a page and in a notebook.

    Attributes
    ----------
    views : one per layer, in graph order
    sources : boxes of the graph's inputs, in front of the layers
    name : what a screen reader calls the strip
    heading : level of the layers' headings, 2 to 6
    start : the layer that is shown first, "" for the first one
    """

    views: Sequence[View] = field(repr=False)
    sources: Sequence[Stop] = field(repr=False)
    name: str
    heading: int = 3
    start: str = ""

    def _repr_html_(self) -> str:
        """Return the element with its style and script."""
        return f"<style>{style()}</style>{self.element()}<script>{script()}</script>"

    def element(self) -> str:
        """Return the element alone, for a page that holds style and script already."""
        picture = strip([*self.sources, *(view.stop for view in self.views)])
        sections = "".join(self._section(view) for view in self.views)
        return (
            f'<bb-explorer data-start="{escape(self.start)}"><nav aria-label="{escape(self.name)}">'
            f'<div class="bb-frame" data-name="{escape(self.name)}">{picture}</div></nav>'
            f"{sections}</bb-explorer>"
        )

    def _section(self, view: View) -> str:
        identity, level = escape(view.stop.target), self.heading
        return (
            f'<section id="{identity}" data-layer="{escape(view.stop.name)}" '
            f'data-title="{escape(view.title)}" aria-labelledby="{identity}-title">'
            f'<h{level} id="{identity}-title">{escape(view.title)}</h{level}>{view.body}</section>'
        )


def script() -> str:
    """Return the component's JavaScript, and that of the frames in it."""
    return _asset("frames.js") + _asset("explorer.js")


def style() -> str:
    """Return the component's style sheet."""
    return _asset("explorer.css")


@cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
