"""The report of one network: a single page that loads nothing, and the layers as a selector."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from bitbybit import __version__
from bitbybit.digits import minus, short
from bitbybit.execution.feed import Input
from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.columns import Column, pick
from bitbybit.inspection.findings import layer_facts, sentences, tensor_remarks
from bitbybit.inspection.inspected import (
    Inspection,
    LayerInspection,
    Model,
    examine,
    form_label,
)
from bitbybit.inspection.report import FORMS, LAYERS, NAMES, PARAMETERS, ROWS, output_rows
from bitbybit.inspection.statistics import DEFAULT_BINS, Distribution
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import QuantizedModel
from bitbybit.text import shortened

from .distributions import (
    LEFT,
    PANEL,
    PANEL_HEIGHT,
    channel_ranges,
    common_scale,
    described,
    draw_panel,
    weight_ranges,
)
from .explorer import Explorer, Stop, script, style
from .picture import Canvas, asset, inline
from .table import as_html, frame
from .tensor_images import MOST_PIXELS, feature_grid, weight_grid

SHOWN_PARAMETERS = pick(
    ROWS, f"{PARAMETERS} one_scale least_scale mean_scale greatest_scale zeros {NAMES}"
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
        parts.append(_output(entry.activation, pixels))
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
    style = f"width:{canvas.width}px"
    return canvas.svg(f'role="img" aria-label="{escape(alt)}" style="{style}"')


def _histograms(parts: Sequence[Distribution], *, logarithmic: bool = False) -> str:
    """Return one drawing per panel, so that they wrap on narrow screens; all share one scale."""
    scale = common_scale(parts, logarithmic=logarithmic)
    drawn = []
    for part in parts:
        canvas = Canvas(PANEL, PANEL_HEIGHT)
        draw_panel(canvas, LEFT, part, scale)
        drawn.append(_svg(canvas, described(part)))
    return f'<div class="bb-panels">{"".join(drawn)}</div>'


def _scales(scales: NDArray[np.float32]) -> str:
    alt = f"{len(scales)} weight scales from {scales.min()} to {scales.max()}"
    values = ", ".join(str(scale) for scale in scales)
    ends = {"least": scales.min(), "median": np.median(scales), "greatest": scales.max()}
    note = ", ".join(f"{word} {short(float(value))}" for word, value in ends.items())
    title, zeros = "Weight scale of each output channel", np.zeros(len(scales))
    chart = _svg(channel_ranges(title, zeros, scales, role="scale", note=note), alt)
    return (
        f"{chart}<details><summary>All {len(scales)} weight scales</summary>"
        f'<p class="bb-long">{values}</p></details>'
    )


def _weights(report: TensorReport, pixels: int) -> str:
    grid, caption = weight_grid(report, pixels)
    low, high = report.channels
    image = _part("Weights as an image", grid.html(), caption)
    if not low.size:
        return image
    floats = report.float_channels
    title = "Weight range of each output channel" + ("; line: float" if floats is not None else "")
    chart = channel_ranges(title, low, high, twin=floats)
    alt = f"Ranges of {low.size} channels between {low.min():.4g} and {high.max():.4g}"
    return image + _svg(chart, alt)


def _output(output: ActivationReport, pixels: int) -> str:
    title = "real values" if output.reference is None else "filled integer, line float"
    bars, line = output.histogram, output.reference
    both = Distribution(title=title, role="activation", histogram=bars, outline=line)
    drawing = _histograms([both], logarithmic=True)
    rows = frame(("output", "value"), output_rows(output), "Output statistics")
    content = _part("Output", f'<div class="bb-side">{drawing}{rows}</div>')
    if output.maps is None:
        return content
    grids, caption = feature_grid(output.maps, pixels)
    images = "".join(f"<div>{inline(name)}<br>{grid.html(360)}</div>" for name, grid in grids)
    return content + _part(
        "Output of the first image", f'<div class="bb-side">{images}</div>', caption
    )


PAGE_PIXELS, FEWEST_PIXELS = 2_000_000, 3_000
"""Pixels of the weight images of a page, and of one image where there are many layers."""


OVERVIEW = pick(
    LAYERS,
    "name kind quantized per_image macs weights biases least greatest per_channel_gain_db sqnr_db "
    "destroyed",
)


def explore(
    model: Model | None = None,
    reference: Model | None = None,
    *,
    inputs: Input | None = None,
    beside: Sequence[Model] = (),
    bins: int = DEFAULT_BINS,
    highlight: tuple[float, float] | None = None,
    label: str = "layer",
) -> Explorer:
    """Show a network as a strip of layers to choose from, and all about the chosen one.

    Parameters
    ----------
    model
        The path of an ONNX file, a network that ``bitbybit.load`` returned, or the name of
        a committed model (``"int8"``, ``"uint8"``, ``"float"``, ...: see
        ``bitbybit.example``). By default the committed int8 model, with the committed float
        model as reference and the weights of the uint8 model beside.
    reference
        The float twin, likewise. A committed model has one without being asked.
    inputs
        The graph input ``[N, ...]``; by default the bundled sample images, where they fit and
        the network takes at most a billion multiply-accumulates per image.
    beside
        Further forms of the network, whose weights are put beside.
    bins
        10 to 200 bins of every histogram.
    highlight
        Least and greatest value of a range to mark in the histograms of weights and biases; by
        default mean ± std of each.
    label
        Beginning of the ids in the page: layer ``stem`` gets ``layer-stem``.

    Returns
    -------
    Explorer
        Shows itself as the last expression of a cell; nothing is computed when layers are
        switched.

    Raises
    ------
    BitbybitError
        A file that cannot be read, inputs that do not fit, bins out of range.
    """
    found = examine(model, reference, inputs=inputs, beside=beside, bins=bins, highlight=highlight)
    return layer_explorer(found, label=label)


def layer_explorer(
    inspection: Inspection, *, label: str = "layer", heading: int = 3, pixels: int = PAGE_PIXELS
) -> Explorer:
    """Return the selector with all layers of a network.

    Parameters
    ----------
    inspection
        The network.
    label
        Beginning of the ids: layer ``stem`` gets ``layer-stem``.
    heading
        Level of the layers' headings.
    pixels
        About how many pixels the images of one kind take in all layers together.
    """
    model = inspection.model
    each = min(MOST_PIXELS, max(FEWEST_PIXELS, pixels // max(1, len(inspection.layers))))
    stops = [Stop(name, "", _note(model.edges[name].shape), False, ()) for name in model.inputs]
    stops += [
        Stop(
            name=entry.name,
            target=f"{label}-{entry.name}",
            note=_note(entry.output.shape),
            quantized=entry.output.params is not None,
            inputs=entry.layer.inputs,
            body=body(inspection, entry, each),
        )
        for entry in inspection.layers
    ]
    start = next((entry.name for entry in inspection.layers if entry.weight is not None), "")
    return Explorer(stops, f"Layers of {shortened(model.path.name)}", heading, start)


def _note(shape: tuple[int | None, ...]) -> str:
    """Write a shape without its batch."""
    return "×".join("?" if size is None else str(size) for size in shape[1:]) or "scalar"


def page(inspection: Inspection) -> str:
    """Return the report as one HTML page: no script but its own, nothing loaded from elsewhere."""
    name = escape(shortened(inspection.model.path.name))
    first, *others = (_linked(text, inspection) for text in sentences(inspection))
    found = "".join(f"<li>{text}</li>" for text in others)
    ranges = "<p>No layer has weights.</p>"
    if any(entry.weight is not None for entry in inspection.layers):
        ranges = weight_ranges(inspection, label="weight-ranges")._repr_html_()
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
        f"<title>{name}, layer by layer</title><style>{asset('report.css')}{style()}</style></head>"
        f"<body><main><h1><bdi>{name}</bdi>, layer by layer</h1>"
        f"<p><strong>{first}</strong></p>"
        f"{frame(('file', name), origin(inspection), 'The file')}"
        f"<h2>What stands out</h2><ul>{found}</ul><h2>Weight ranges</h2>{ranges}"
        f"<h2>All layers</h2>{as_html(OVERVIEW, inspection.layers, 'All layers', links='layer-')}"
        f"<h2>Layer by layer</h2>{layer_explorer(inspection).element()}"
        f"</main><script>{code}</script></body></html>\n"
    )


def _linked(text: str, inspection: Inspection) -> str:
    """Return a sentence in which the names of layers are links to them."""
    names = {entry.name for entry in inspection.layers}
    return re.sub(
        "<code>([^<]+)</code>",
        lambda code: f'<a href="#layer-{code[1]}">{code[0]}</a>' if code[1] in names else code[0],
        inline(text),
    )


def origin(inspection: Inspection) -> list[tuple[str, str]]:
    """Return where everything on the page comes from, a title and a value in each row."""
    model, reference = inspection.model, inspection.reference
    opsets = ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in sorted(model.opsets.items()))
    rows = [
        ("report made by", f"bitbybit {__version__}"),
        ("SHA-256", model.sha256),
        ("form", model.form),
        ("opsets", shortened(opsets)),
        ("weights", form_label(model)),
        (
            "float twin",
            "none was given: no distance from float is shown"
            if reference is None
            else _named(reference),
        ),
    ]
    lacking = [
        entry.name
        for entry in inspection.layers
        if any(report.float_values is None for report in entry.tensors.values())
    ]
    if reference is not None and lacking:
        rows.append(("layers without float twin", shortened(", ".join(lacking), 400)))
    rows += [(f"beside it: {form}", _named(other)) for form, other in inspection.others.items()]
    rows.append(("inputs", inspection.data or "none: the network was not run"))
    return rows


def _named(model: QuantizedModel) -> str:
    return f"{shortened(model.path.name)}, SHA-256 {model.sha256}"
