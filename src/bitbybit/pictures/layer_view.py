"""One layer's sheet as HTML: tables, histograms, images of its weights and outputs."""

from __future__ import annotations

import re
from html import escape

from bitbybit.digits import NUMERIC, shown
from bitbybit.inspection.layer_sheet import Cells, Distribution, LayerSheet, OutputSheet
from bitbybit.inspection.weights import TensorReport

from .canvas import Canvas
from .distributions import (
    LEFT,
    PANEL,
    PANEL_HEIGHT,
    channel_bars,
    channel_ranges,
    common_scale,
    draw_panel,
)
from .picture import inline
from .pixels import MOST_PIXELS
from .tensor_images import feature_grid, weight_grid


def body(layer: LayerSheet, pixels: int = MOST_PIXELS) -> str:
    """Return the content of one layer's section; every string of the file is escaped.

    ``pixels`` bounds the size of each image.
    """
    parts = [f"<p>{inline(fact)}</p>" for fact in layer.facts]
    parts.append(_part("Quantization parameters", cells_html(layer.parameters, "Parameters")))
    if layer.scales is not None:
        parts.append(_scales(layer))
    for tensor in layer.tensors:
        drawing = _histograms(tensor.distributions)
        rows = cells_html(tensor.statistics, f"Statistics of the {tensor.role}")
        title = f"{tensor.role.capitalize()} values"
        parts.append(_part(title, drawing + rows, tensor.remarks))
    if layer.weight is not None:
        parts.append(_weights(layer.weight, pixels))
    if layer.output is not None:
        parts.append(_output(layer.output, pixels))
    return "".join(parts)


def cells_html(cells: Cells, name: str) -> str:
    """Return a table in a frame that scrolls on narrow screens; numbers stand flush right."""
    rows = [[shown(cell) for cell in row] for row in cells.rows]
    numeric = [all(NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(cells.columns))]
    kinds = [' class="bb-number"' if n and i else "" for i, n in enumerate(numeric)]
    head = "".join(
        f'<th scope="col"{kind}><bdi>{inline(column)}</bdi></th>'
        for kind, column in zip(kinds, cells.columns, strict=True)
    )
    lines = []
    for first, *rest in rows:
        inner = "".join(
            f"<td{kind}><bdi>{_breakable(cell)}</bdi></td>"
            for kind, cell in zip(kinds[1:], rest, strict=True)
        )
        lines.append(f'<tr><th scope="row"><bdi>{escape(first)}</bdi></th>{inner}</tr>')
    return (
        f'<div class="bb-frame" data-name="{escape(name)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _breakable(text: str) -> str:
    """Escape text; long names may break behind a slash or an underscore."""
    if len(text) < 14:
        return escape(text)
    return re.sub("([/_])", r"\1<wbr>", escape(text))


def _part(title: str, content: str, caption: str = "") -> str:
    note = f"<p>{inline(caption)}</p>" if caption else ""
    return f'<div class="bb-part"><p class="bb-part-title">{inline(title)}</p>{content}{note}</div>'


def _svg(canvas: Canvas, alt: str) -> str:
    svg = canvas.picture("", "", alt).svg
    opening = f'<svg role="img" aria-label="{escape(alt)}" style="width:{canvas.width}px"'
    return svg.replace("<svg", opening, 1)


def _histograms(parts: tuple[Distribution, ...], *, logarithmic: bool = False) -> str:
    """Return one drawing per panel, so that they wrap on narrow screens; all share one scale."""
    scale = common_scale(parts, percent=True, logarithmic=logarithmic)
    drawn = []
    for part in parts:
        canvas = Canvas(PANEL, PANEL_HEIGHT)
        draw_panel(canvas, LEFT, part, scale)
        edges = part.histogram.edges
        alt = f"{part.title}: {part.histogram.total:,} values "
        alt += f"between {edges[0]:.4g} and {edges[-1]:.4g}"
        drawn.append(_svg(canvas, alt))
    return f'<div class="bb-panels">{"".join(drawn)}</div>'


def _scales(layer: LayerSheet) -> str:
    scales = layer.scales
    if scales is None:
        return ""
    alt = f"{len(scales)} weight scales from {scales.min()} to {scales.max()}"
    values = ", ".join(str(scale) for scale in scales)
    chart = _svg(channel_bars(scales, "Weight scale of each output channel"), alt)
    return (
        f"{chart}<details><summary>All {len(scales)} weight scales</summary>"
        f'<p class="bb-long">{values}</p></details>'
    )


def _weights(report: TensorReport, pixels: int) -> str:
    grid, caption = weight_grid(report, pixels)
    low, high = report.channel_low, report.channel_high
    image = _part("Weights as an image", grid.html(), caption)
    if not low.size:
        return image
    floats = report.float_channels
    title = "Weight range of each output channel" + ("; line: float" if floats is not None else "")
    chart = channel_ranges(low, high, title, floats)
    alt = f"Ranges of {low.size} channels between {low.min():.4g} and {high.max():.4g}"
    return image + _svg(chart, alt)


def _output(output: OutputSheet, pixels: int) -> str:
    drawing = _histograms((output.distribution,), logarithmic=True)
    rows = cells_html(output.statistics, "Output statistics")
    content = _part("Output", f'<div class="bb-side">{drawing}{rows}</div>')
    if output.maps is None:
        return content
    grids, caption = feature_grid(output.maps, pixels)
    images = "".join(f"<div>{inline(name)}<br>{grid.html(360)}</div>" for name, grid in grids)
    return content + _part(
        "Output of the first image", f'<div class="bb-side">{images}</div>', caption
    )
