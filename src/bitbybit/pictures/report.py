"""The report of one network: a single page that needs no network, and the notebook's explorer."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path

from bitbybit.inspection.findings import findings, sentences
from bitbybit.inspection.record import decibels, plain
from bitbybit.inspection.summary import Inspection, LayerInspection, form_label
from bitbybit.model.names import printable
from bitbybit.model.types import QuantizedModel

from .explorer import Explorer, View, script, style
from .distributions import Bar, range_rows
from .layer_view import body, table_html
from .picture import Picture, inline
from .strip import Stop


def layer_explorer(inspection: Inspection, *, label: str = "layer", heading: int = 3) -> Explorer:
    """Return the selector with all layers of a network.

    Parameters
    ----------
    inspection
        The network, measured.
    label
        Beginning of the ids: layer ``stem`` gets ``layer-stem``.
    heading
        Level of the layers' headings.
    """
    model = inspection.model
    views = [
        View(_stop(inspection, entry, label), _title(inspection, entry), body(inspection, entry))
        for entry in inspection.layers
    ]
    sources = [
        Stop(name, "", _shape(model.edges[name].shape), quantized=False, inputs=())
        for name in model.inputs
    ]
    return Explorer(views, sources, label, f"Layers of {_file(model)}", heading)


def range_overview(inspection: Inspection, *, label: str = "fig-weight-ranges") -> Picture:
    """Draw the weight range of every layer, one row each, all forms on one axis."""
    rows = []
    for entry in inspection.layers:
        report = entry.tensors.get("weight")
        if report is None or report.real.minimum is None or report.real.maximum is None:
            continue
        bars = []
        twin = report.reference
        if twin is not None and twin.minimum is not None and twin.maximum is not None:
            bars.append(Bar("FP32", twin.minimum, twin.maximum))
        own = form_label(inspection.model)
        name = own if report.tensor.params is None else f"{own} dequantized"
        bars.append(Bar(name, report.real.minimum, report.real.maximum))
        rows.append((entry.name, bars))
    widest = [name for name, _ in findings(inspection).widest]
    alt = "; ".join(f"{name}: {bars[-1].low:.4g} to {bars[-1].high:.4g}" for name, bars in rows)
    caption = (
        f"From least to greatest weight of each layer; the wider, the darker. "
        f"{_source(inspection.model)}"
    )
    return range_rows(rows, widest).picture(label, caption, alt)


OVERVIEW_COLUMNS = (
    "layer", "kind", "quantized", "output shape", "multiply-accumulates", "weights", "biases",
    "least weight", "greatest weight", "dB from per-channel scales", "SQNR in dB",
    "values destroyed",
)  # fmt: skip


def overview_rows(inspection: Inspection) -> list[tuple[object, ...]]:
    """Return one row per layer, in the order of ``OVERVIEW_COLUMNS``."""
    rows: list[tuple[object, ...]] = []
    for entry in inspection.layers:
        report, a = entry.tensors.get("weight"), entry.activation
        rails = None if a is None else a.rails
        distance = None if a is None else a.distance
        rows.append(
            (
                entry.name,
                entry.layer.kind,
                entry.is_quantized,
                entry.cost.output_shape,
                entry.cost.macs,
                entry.cost.weights,
                entry.cost.biases,
                None if report is None else plain(report.real.minimum),
                None if report is None else plain(report.real.maximum),
                None if entry.gain is None else decibels(entry.gain.gain_db),
                None if distance is None else decibels(distance.sqnr_db),
                None if rails is None else rails.damaged,
            )
        )
    return rows


def page(inspection: Inspection) -> str:
    """Return the report as one HTML page: no script but its own, nothing loaded from elsewhere."""
    model = inspection.model
    name = escape(_file(model))
    found = "".join(f"<li>{inline(text)}</li>" for text in sentences(inspection))
    explorer = layer_explorer(inspection)
    table = table_html(OVERVIEW_COLUMNS, overview_rows(inspection), "All layers")
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}, layer by layer</title><style>{_page_style()}{style()}</style></head>"
        f"<body><main><h1><bdi>{name}</bdi>, layer by layer</h1>{_origin(inspection)}"
        f"<h2>What stands out</h2><ul>{found}</ul>"
        f"<h2>Weight ranges</h2>{range_overview(inspection)._repr_html_()}"
        f"<h2>All layers</h2>{table}<h2>Layer by layer</h2>{explorer.element()}"
        f"</main><script>{code}</script></body></html>\n"
    )


def _origin(inspection: Inspection) -> str:
    model = inspection.model
    opsets = ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in sorted(model.opsets.items()))
    rows: list[tuple[str, object]] = [
        ("SHA-256", model.sha256),
        ("form", model.form),
        ("opsets", opsets),
        ("weights", form_label(model)),
    ]
    if inspection.reference is None:
        rows.append(("float twin", "none was given: no distance from float is shown"))
    else:
        twin = inspection.reference
        rows.append(("float twin", f"{_file(twin)}, SHA-256 {twin.sha256}"))
        missing = [e.name for e in inspection.layers if _lacks_twin(e)]
        if missing:
            rows.append(("layers without float twin", ", ".join(missing)))
    rows += [(f"beside it: {form}", _file(other)) for form, other in inspection.others.items()]
    rows.append(("inputs", inspection.data or "none: outputs are not shown"))
    return table_html(("file", _file(model)), rows, "The file")


def _lacks_twin(entry: LayerInspection) -> bool:
    return any(report.float_values is None for report in entry.tensors.values())


def _stop(inspection: Inspection, entry: LayerInspection, label: str) -> Stop:
    edge = inspection.model.edges[entry.layer.output]
    return Stop(
        entry.name,
        f"{label}-{entry.name}",
        _shape(edge.shape),
        entry.is_quantized,
        entry.layer.inputs,
    )


def _title(inspection: Inspection, entry: LayerInspection) -> str:
    shape = _shape(inspection.model.edges[entry.layer.output].shape)
    return f"{entry.name}{' [Q]' if entry.is_quantized else ''}, {shape}"


def _shape(shape: tuple[int | None, ...]) -> str:
    """Write a shape without its batch: ``16×32×32``."""
    return "×".join("?" if size is None else str(size) for size in shape[1:]) or "scalar"


def _file(model: QuantizedModel) -> str:
    return printable(model.path.name)


def _source(model: QuantizedModel) -> str:
    return f"`{_file(model)}` ({model.sha256[:8]})."


@cache
def _page_style() -> str:
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")
