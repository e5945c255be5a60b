"""One layer at a time: a strip to choose from and everything about the chosen layer.

The strip has one box per layer in graph order, skip edges are arcs above. The boxes are HTML over
a drawing of the edges: links that work without a script, have the states of links, and are no
``<a>`` of SVG, which JupyterLab does not know.

All layers are in the document. A small custom element shows the chosen one and keeps it in the
URL; without JavaScript all of them stand one below the other and the strip links to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from .picture import Canvas, asset

BOX, GAP, HEIGHT, LANE = 108, 12, 46, 11
MOST_LANES = 10


@dataclass(frozen=True)
class Stop:
    """One box of the strip, and the layer that it leads to.

    Attributes
    ----------
    name : canonical name of the layer
    target : id of what the box links to, "" for no link
    note : second line, for example the shape of the output
    quantized : whether it gives codes, and so gets the mark ``[Q]``
    inputs : names of the boxes it reads
    body : everything about the layer, as HTML that is already escaped
    """

    name: str
    target: str
    note: str
    quantized: bool
    inputs: tuple[str, ...]
    body: str = field(default="", repr=False)

    @property
    def mark(self) -> str:
        """What says that it computes on integers."""
        return " [Q]" if self.quantized else ""


def strip(stops: Sequence[Stop]) -> str:
    """Return boxes that are links over their edges; as wide as the network is long."""
    place = {stop.name: i for i, stop in enumerate(stops)}
    skips = [
        (place[name], i)
        for i, stop in enumerate(stops)
        for name in stop.inputs
        if name in place and i - place[name] > 1
    ]
    lanes = _lanes(skips)
    top = 8 + LANE * (max(lanes, default=-1) + 1)
    width, height = len(stops) * (BOX + GAP) + 4, top + HEIGHT + 4
    edges = Canvas(width, height)
    for (a, b), lane in zip(skips, lanes, strict=True):
        left, right = 2 + a * (BOX + GAP) + BOX * 0.7, 2 + b * (BOX + GAP) + BOX * 0.3
        edges.path(f"M{left:g} {top:g}V{top - 6 - lane * LANE:g}H{right:g}V{top:g}", width=1.5)
    for i, (stop, after) in enumerate(pairwise(stops)):
        if stop.name in after.inputs:
            edges.path(f"M{i * (BOX + GAP) + BOX + 2} {top + HEIGHT / 2:g}h{GAP}", width=1.5)
    drawn = edges.svg(f'aria-hidden="true" width="{width}" height="{height}"')
    boxes = "".join(_box(stop, 2 + i * (BOX + GAP), top) for i, stop in enumerate(stops))
    return f'<div class="bb-strip" style="width:{width}px;height:{height}px">{drawn}{boxes}</div>'


def _lanes(skips: Sequence[tuple[int, int]]) -> list[int]:
    """Give each arc the lowest lane in which it crosses no other; at most ``MOST_LANES``."""
    taken: list[list[tuple[int, int]]] = [[] for _ in range(MOST_LANES)]
    lanes = [0] * len(skips)
    for at in sorted(range(len(skips)), key=lambda k: skips[k][1] - skips[k][0]):
        a, b = skips[at]
        for lane, arcs in enumerate(taken):
            if all(b <= c or d <= a for c, d in arcs) or lane == MOST_LANES - 1:
                arcs.append((a, b))
                lanes[at] = lane
                break
    return lanes


def _box(stop: Stop, x: float, y: float) -> str:
    """Return the box of one layer: its name, its shape, and whether it computes on integers."""
    name = stop.name if len(stop.name) <= 15 else f"{stop.name[:6]}…{stop.name[-7:]}"
    kind = "bb-stop bb-integer" if stop.quantized else "bb-stop"
    place = f"left:{x:g}px;top:{y:g}px;width:{BOX}px;height:{HEIGHT}px"
    body = f"<span>{escape(name)}</span> <small>{escape(stop.note + stop.mark)}</small>"
    if not stop.target:
        return f'<div class="{kind}" style="{place}">{body}</div>'
    return (
        f'<a class="{kind}" style="{place}" href="#{escape(stop.target)}" '
        f'data-layer="{escape(stop.name)}" title="{escape(stop.name)}">{body}</a>'
    )


@dataclass(frozen=True)
class Explorer:
    """The selector and all layers, shown alike on a page and in a notebook.

    Attributes
    ----------
    stops : the graph's inputs, which lead nowhere, and the layers in graph order
    name : what a screen reader calls the strip
    heading : level of the layers' headings, 2 to 6
    start : the layer that is shown first, "" for the first one
    """

    stops: Sequence[Stop] = field(repr=False)
    name: str
    heading: int = 3
    start: str = ""

    def _repr_html_(self) -> str:
        """Return the element with its style and script."""
        return f"<style>{style()}</style>{self.element()}<script>{script()}</script>"

    def element(self) -> str:
        """Return the element alone, for a page that holds style and script already."""
        sections = "".join(self._section(stop) for stop in self.stops if stop.target)
        return (
            f'<bb-explorer data-start="{escape(self.start)}"><nav aria-label="{escape(self.name)}">'
            f'<div class="bb-frame" data-name="{escape(self.name)}">{strip(self.stops)}</div></nav>'
            f"{sections}</bb-explorer>"
        )

    def _section(self, stop: Stop) -> str:
        identity, level = escape(stop.target), self.heading
        title = escape(f"{stop.name}{stop.mark}, {stop.note}")
        return (
            f'<section id="{identity}" data-layer="{escape(stop.name)}" '
            f'data-title="{title}" aria-labelledby="{identity}-title">'
            f'<h{level} id="{identity}-title">{title}</h{level}>{stop.body}</section>'
        )


def script() -> str:
    """Return the component's JavaScript, and that of the frames in it."""
    return asset("frames.js") + asset("explorer.js")


def style() -> str:
    """Return the component's style sheet."""
    return asset("explorer.css")
