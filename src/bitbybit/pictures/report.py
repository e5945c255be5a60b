"""The report of one network: a single page that loads nothing, and the layers as a selector."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path

from bitbybit.inspection.sheet import Sheet

from .distributions import range_rows
from .explorer import Explorer, View, script, style
from .layer_view import body, cells_html
from .picture import Picture, inline
from .pixels import MOST_PIXELS
from .strip import Stop

PAGE_PIXELS, FEWEST_PIXELS = 2_000_000, 3_000
"""Pixels of the weight images of a page, and of one image where there are many layers."""


def layer_explorer(
    sheet: Sheet, *, label: str = "layer", heading: int = 3, pixels: int = PAGE_PIXELS
) -> Explorer:
    """Return the selector with all layers of a network.

    Parameters
    ----------
    sheet
        The network.
    label
        Beginning of the ids: layer ``stem`` gets ``layer-stem``.
    heading
        Level of the layers' headings.
    pixels
        About how many pixels the images of one kind take in all layers together.
    """
    each = min(MOST_PIXELS, max(FEWEST_PIXELS, pixels // max(1, len(sheet.layers))))
    views = []
    for layer in sheet.layers:
        target = f"{label}-{layer.name}"
        stop = Stop(layer.name, target, layer.shape, layer.quantized, layer.inputs)
        views.append(View(stop, layer.title, body(layer, each)))
    sources = [Stop(name, "", shape, False, ()) for name, shape in sheet.inputs]
    start = next((layer.name for layer in sheet.layers if layer.weight is not None), "")
    return Explorer(views, sources, f"Layers of {sheet.file}", heading, start)


def weight_ranges(sheet: Sheet, *, label: str, caption: str = "") -> Picture:
    """Draw the weight range of every layer, one row each, all forms on one axis.

    Parameters
    ----------
    sheet
        The network.
    label, caption
        As for :class:`Picture`; by default the caption says how to read it.
    """
    alt = "; ".join(
        f"{name}: {parts[-1].low:.4g} to {parts[-1].high:.4g}" for name, parts in sheet.ranges
    )
    said = caption or (
        "From the least to the greatest weight of each layer: the wider, the stronger the colour. "
        f"{sheet.source}."
    )
    return range_rows(sheet.ranges, sheet.widest).picture(label, said, alt)


def page(sheet: Sheet) -> str:
    """Return the report as one HTML page: no script but its own, nothing loaded from elsewhere."""
    name = escape(sheet.file)
    found = "".join(f"<li>{inline(text)}</li>" for text in sheet.findings)
    ranges = weight_ranges(sheet, label="weight-ranges")._repr_html_() if sheet.ranges else ""
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}, layer by layer</title><style>{_page_style()}{style()}</style></head>"
        f"<body><main><h1><bdi>{name}</bdi>, layer by layer</h1>"
        f"{cells_html(sheet.origin, 'The file')}<h2>What stands out</h2><ul>{found}</ul>"
        f"<h2>Weight ranges</h2>{ranges or '<p>No layer has weights.</p>'}"
        f"<h2>All layers</h2>{cells_html(sheet.overview, 'All layers')}"
        f"<h2>Layer by layer</h2>{layer_explorer(sheet).element()}"
        f"</main><script>{code}</script></body></html>\n"
    )


@cache
def _page_style() -> str:
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")
