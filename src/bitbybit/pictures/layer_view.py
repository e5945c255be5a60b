"""One layer of an inspection as HTML: tables, histograms, images of its weights and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import minus
from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.columns import Column, pick
from bitbybit.inspection.inspected import FeatureMaps, Inspection, LayerInspection
from bitbybit.inspection.report import FORMS, layer_facts, output_rows, tensor_remarks
from bitbybit.inspection.statistics import Distribution
from bitbybit.inspection.structure import PARAMETERS
from bitbybit.inspection.weights import TensorReport

from .distributions import (
    LEFT,
    PANEL,
    PANEL_HEIGHT,
    channel_bars,
    channel_ranges,
    common_scale,
    draw_panel,
)
from .picture import Canvas, inline
from .table import as_html, frame
from .tensor_images import MOST_PIXELS, feature_grid, weight_grid

SHOWN_PARAMETERS = pick(
    PARAMETERS,
    "role tensor dtype shape granularity axis one_scale channel_least channel_mean "
    "channel_greatest zeros scale_name zero_point_name",
)


def body(inspection: Inspection, entry: LayerInspection, pixels: int = MOST_PIXELS) -> str:
    """Return the content of one layer's section; every string of the file is escaped.

    ``pixels`` bounds the size of each image.
    """
    parts = [f"<p>{inline(fact)}</p>" for fact in layer_facts(entry)]
    parameters = as_html(SHOWN_PARAMETERS, entry.parameters, "Parameters", across=True)
    parts.append(_part("Quantization parameters", parameters))
    weight = entry.weight
    if weight is not None and weight.tensor.params is not None and weight.tensor.params.per_channel:
        parts.append(_scales(weight.tensor.params.scale))
    for role, report in entry.tensors.items():
        drawing = _histograms(entry.distributions[role])
        columns = (*pick(FORMS, "form count minimum maximum mean std"), _marked(inspection))
        rows = as_html(columns, entry.forms(role), f"Statistics of the {role}")
        parts.append(_part(f"{role.capitalize()} values", drawing + rows, tensor_remarks(report)))
    if weight is not None and weight.tensor.values.size:
        parts.append(_weights(weight, pixels))
    if entry.activation is not None:
        parts.append(_output(entry.activation, entry.maps, pixels))
    return "".join(parts)


def _marked(inspection: Inspection) -> Column[Distribution]:
    """Return the column that counts the values in the marked range."""

    def of(form: Distribution) -> str | None:
        inside = form.highlight
        return None if inside is None else f"{inside.count:,} ({100 * inside.share:.2f} %)"

    name = " to ".join(map(minus, inspection.highlight or ())) or "mean ± std"
    return Column("marked", f"{name} holds", of)


def _part(title: str, content: str, caption: str = "") -> str:
    note = f"<p>{inline(caption)}</p>" if caption else ""
    return f'<div class="bb-part"><p class="bb-part-title">{inline(title)}</p>{content}{note}</div>'


def _svg(canvas: Canvas, alt: str) -> str:
    svg = canvas.picture("", "", alt).svg
    opening = f'<svg role="img" aria-label="{escape(alt)}" style="width:{canvas.width}px"'
    return svg.replace("<svg", opening, 1)


def _histograms(parts: Sequence[Distribution], *, logarithmic: bool = False) -> str:
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


def _scales(scales: NDArray[np.float32]) -> str:
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


def _output(output: ActivationReport, maps: FeatureMaps | None, pixels: int) -> str:
    title = "real values" if output.reference is None else "filled integer, line float"
    drawing = _histograms(
        [
            Distribution(
                title=title,
                role="activation",
                histogram=output.histogram,
                outline=output.reference,
            )
        ],
        logarithmic=True,
    )
    rows = frame(("output", "value"), output_rows(output), "Output statistics")
    content = _part("Output", f'<div class="bb-side">{drawing}{rows}</div>')
    if maps is None:
        return content
    grids, caption = feature_grid(maps, pixels)
    images = "".join(f"<div>{inline(name)}<br>{grid.html(360)}</div>" for name, grid in grids)
    return content + _part(
        "Output of the first image", f'<div class="bb-side">{images}</div>', caption
    )
