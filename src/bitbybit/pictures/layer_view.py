"""Everything about one layer as HTML: tables, images of its weights and outputs, histograms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from bitbybit.inspection.histograms import bin_edges, code_edges, histogram
from bitbybit.inspection.parameters import ParameterRow, main_node
from bitbybit.inspection.record import decibels, plain
from bitbybit.inspection.statistics import value_range
from bitbybit.inspection.summary import Inspection, LayerInspection, tensor_forms
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.names import printable

from .canvas import Canvas
from .distributions import Panel, channel_bars, channel_ranges, panels, short
from .picture import inline
from .table import NUMERIC, text_of
from .tensor_images import feature_grid, weight_grid


def body(inspection: Inspection, entry: LayerInspection) -> str:
    """Return the content of one layer's section; every string of the file is escaped."""
    parts = [_facts(entry), _parameters(entry)]
    if entry.tensors:
        for role, report in entry.tensors.items():
            parts.append(_distribution(inspection, entry, role, report))
        parts.append(_weights(entry.tensors["weight"]))
    else:
        parts.append(_part("Weights", "<p>This layer has no weights.</p>"))
    parts += _activation(inspection, entry)
    return "".join(parts)


def _part(title: str, content: str, caption: str = "") -> str:
    note = f"<p>{inline(caption)}</p>" if caption else ""
    return f'<div class="bb-part"><p class="bb-part-title">{inline(title)}</p>{content}{note}</div>'


def _svg(canvas: Canvas, alt: str) -> str:
    picture = canvas.picture("", "", alt)
    style = f"width:{picture.width}px"
    return picture.svg.replace(
        "<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{style}"', 1
    )


def table_html(columns: Sequence[str], rows: Iterable[Sequence[object]], name: str) -> str:
    """Return a table whose frame scrolls on narrow screens; cells as :func:`text_of` says."""
    head = "".join(f'<th scope="col">{inline(column)}</th>' for column in columns)
    lines = []
    for row in rows:
        first, *rest = (printable(text_of(cell), 200) for cell in row)
        cells = "".join(
            f"<td{_NUMBER if NUMERIC.fullmatch(cell) else ''}><bdi>{escape(cell)}</bdi></td>"
            for cell in rest
        )
        lines.append(f'<tr><th scope="row"><bdi>{escape(first)}</bdi></th>{cells}</tr>')
    return (
        f'<div class="bb-frame" tabindex="0" role="group" aria-label="{escape(name)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


_NUMBER = ' class="bb-number"'


def _facts(entry: LayerInspection) -> str:
    node_type, node_name = main_node(entry.layer)
    cost = entry.cost
    facts = [f"{entry.layer.kind} layer", f"ONNX node {node_type} {printable(node_name)!r}"]
    if cost.macs:
        facts.append(f"{cost.macs:,} multiply-accumulates per image")
    if cost.weights:
        facts.append(f"{cost.weights:,} weights and {cost.biases:,} biases")
    reason = getattr(entry.layer, "reason", "")
    text = f"<p>{escape('; '.join(facts))}.</p>"
    if reason:
        text += f"<p>Float island: {escape(printable(reason, 400))}.</p>"
    if entry.constant_channels:
        channels = ", ".join(map(str, entry.constant_channels))
        text += f"<p>Dead whatever the input, proved from the parameters: channels {channels}.</p>"
    return text


PARAMETER_COLUMNS = (
    "tensor", "name in the file", "dtype", "shape", "granularity", "axis", "scale", "least scale",
    "mean scale", "greatest scale", "zero point", "scale initializer", "zero-point initializer",
)  # fmt: skip


def parameter_cells(row: ParameterRow) -> tuple[object, ...]:
    """Return the cells of one tensor, in the order of ``PARAMETER_COLUMNS``."""
    start = (row.role, row.tensor, row.dtype.name, row.shape, row.granularity, row.axis)
    if row.scale is None or row.zero_point is None:
        return (*start, None, None, None, None, None, "", "")
    names = (row.scale_name, row.zero_point_name)
    zeros = np.unique(row.zero_point)
    zero: object = zeros[0] if len(zeros) == 1 else f"{zeros[0]} … {zeros[-1]}"
    if row.axis is None:
        return (*start, row.scale.reshape(())[()], None, None, None, zero, *names)
    mean = plain(float(row.scale.mean(dtype=np.float64)))
    return (*start, None, row.scale.min(), mean, row.scale.max(), zero, *names)


def _parameters(entry: LayerInspection) -> str:
    rows = [parameter_cells(row) for row in entry.parameters]
    content = table_html(PARAMETER_COLUMNS, rows, "Quantization parameters")
    if not entry.is_quantized:
        content += "<p>No tensor of this layer has quantization parameters.</p>"
    for row in entry.parameters:
        if row.scale is not None and row.axis is not None and row.role == "weight":
            alt = f"{len(row.scale)} weight scales from {row.scale.min()} to {row.scale.max()}"
            values = ", ".join(str(scale) for scale in row.scale)
            content += _svg(channel_bars(row.scale, "Weight scale of each output channel"), alt)
            content += (
                f"<details><summary>All {len(row.scale)} weight scales</summary>"
                f'<p class="bb-long">{values}</p></details>'
            )
    return _part("Quantization parameters", content)


STATISTIC_COLUMNS = ("form", "count", "minimum", "maximum", "mean", "std", "mean ± std holds")


def _distribution(
    inspection: Inspection, entry: LayerInspection, role: str, report: TensorReport
) -> str:
    """Histograms of one tensor in all its forms over shared edges, with their statistics."""
    forms = tensor_forms(inspection, entry, role)
    edges = bin_edges([values for _, values, _ in forms], inspection.bins)
    drawn, rows = [], []
    for name, values, s in forms:
        inside = value_range(values) if s.minimum is not None else None
        share = None if inside is None else f"{inside.count:,} ({100 * inside.share:.2f} %)"
        drawn.append(Panel(name, histogram(values, edges), role, highlight=inside))
        numbers = (plain(s.minimum), plain(s.maximum), plain(s.mean), plain(s.std))
        rows.append((name, s.count, *numbers, share))
    params = report.tensor.params
    if params is not None and report.codes_used is not None:
        codes = report.tensor.values
        raw = histogram(codes, code_edges(params.qmin, params.qmax, inspection.bins))
        ends = (text_of(params.qmin), text_of(params.qmax))
        drawn.append(Panel(f"{params.dtype.name} codes", raw, "accumulator", ends=ends))
    alt = "; ".join(f"{name}: {s.minimum} to {s.maximum}" for name, _, s in forms)
    content = '<div class="bb-side">' + _svg(panels(drawn, percent=True), alt) + "</div>"
    content += table_html(STATISTIC_COLUMNS, rows, f"Statistics of the {role}")
    return _part(f"{role.capitalize()} values", content, _remarks(report))


def _remarks(report: TensorReport) -> str:
    said = []
    if report.real.invalid:
        said.append(f"{report.real.invalid:,} values are NaN or infinite and left out.")
    if report.codes_used is not None and report.codes_available is not None:
        unused = report.codes_available - report.codes_used
        said.append(f"{unused} of {report.codes_available} codes are never used.")
    if report.error is not None:
        said.append(
            f"Largest distance from float {plain(report.error.largest)}, "
            f"{plain(report.error.largest_in_steps)} of a step; "
            f"SQNR {_db(report.error.sqnr_db)}."
        )
    elif report.tensor.params is not None:
        said.append("No float twin was given, so the rounding error is not known.")
    if report.role == "weight" and report.outlier_channels:
        said.append(f"Outlier channels: {', '.join(map(str, report.outlier_channels))}.")
    if report.role == "weight" and report.nearly_dead_channels:
        said.append(f"Nearly dead channels: {', '.join(map(str, report.nearly_dead_channels))}.")
    return " ".join(said)


def _weights(report: TensorReport) -> str:
    grid, caption = weight_grid(report)
    low, high = report.channel_low, report.channel_high
    ranges = ""
    if low.size:
        chart = channel_ranges(low, high, "Weight range of each output channel")
        ranges = _svg(
            chart, f"Ranges of {low.size} channels from {low.min():.4g} to {high.max():.4g}"
        )
    return _part("Weights as an image", grid.html(), caption) + _part("Channels", ranges)


def _activation(inspection: Inspection, entry: LayerInspection) -> list[str]:
    a = entry.activation
    if a is None:
        return []
    parts = []
    if a.reference is None:
        panel = Panel("real values", a.histogram, "activation")
    else:
        panel = Panel("filled integer, line float", a.histogram, "activation", a.reference)
    alt = f"Outputs from {a.low} to {a.high}"
    content = _svg(panels([panel], percent=True, logarithmic=True), alt)
    rows: list[tuple[object, ...]] = [("images", a.images), ("values", a.histogram.total)]
    rows += [("least real value", plain(a.low)), ("greatest real value", plain(a.high))]
    if a.rails is not None:
        r = a.rails
        rows += [
            ("codes at the lower rail", _share(r.low, r.total)),
            ("of these ReLU's zero, as intended", _share(r.intended, r.total)),
            ("codes at the upper rail", _share(r.high, r.total)),
            ("values destroyed by saturation", _share(r.damaged, r.total)),
        ]
    if a.distance is not None:
        rows += [
            ("SQNR against float", _db(a.distance.sqnr_db)),
            ("SQNR if only this rounding happened", _db(a.distance.rounding_sqnr_db)),
        ]
    if a.constant_observed:
        rows.append(("constant channels on these inputs", len(a.constant_observed)))
    content += table_html(("output", "value"), rows, "Output statistics")
    parts.append(_part("Output", f'<div class="bb-side">{content}</div>', inspection.data))
    if entry.maps is not None:
        grids, caption = feature_grid(entry.maps)
        images = "".join(f"<div>{inline(name)}<br>{g.html(360)}</div>" for name, g in grids)
        parts.append(
            _part("Output of the first image", f'<div class="bb-side">{images}</div>', caption)
        )
    return parts


def _db(value: float) -> str:
    rounded = decibels(value)
    return "without end, both are equal" if rounded is None else f"{rounded:.2f} dB"


def _share(count: int | None, total: int) -> str | None:
    if count is None or not total:
        return None
    return f"{count:,} ({short(100 * count / total)} %)"
