"""An SVG document of matplotlib or Graphviz as an element that fits into a page."""

from __future__ import annotations

import re

_DROPPED = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<title>.*?</title>", re.DOTALL)
_NAMESPACE = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def element(document: str, label: str) -> str:
    """Return the ``<svg>`` element: no comments, no size and fonts of its own, ids of its own.

    Parameters
    ----------
    document
        The file as the drawing program wrote it.
    label
        What its ids begin with, so that two drawings fit on one page.
    """
    svg = _DROPPED.sub("", document[document.index("<svg") :])
    viewbox = re.search(r'viewBox="[^"]+"', svg)
    svg = re.sub(r"<svg[^>]*>", f"<svg {viewbox[0] if viewbox else ''} {_NAMESPACE}>", svg, count=1)
    svg = re.sub(r' font-family="[^"]*"|font-family: [^;"]*;?', "", svg)
    svg = re.sub(r'\bid="', f'id="{label}-', svg)
    svg = re.sub(r'(<use[^>]* xlink:href="#)', rf"\1{label}-", svg)
    svg = svg.replace("url(#", f"url(#{label}-")
    return re.sub(r"\n\s*", "\n", svg).strip()


def width_of(svg: str, default: int = 720) -> int:
    """Return the width of an element's drawing in CSS pixels."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', svg)
    return round(float(box[1])) if box else default
