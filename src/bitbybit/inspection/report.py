"""What is said of an inspection: remarks in words, a column per fact, JSON and CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitbybit.digits import shortest, shown
from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.columns import (
    Column,
    as_csv,
    as_json,
    at,
    decibel_text,
    pick,
    plain,
    within,
)
from bitbybit.inspection.inspected import Inspection, LayerInspection, form_label
from bitbybit.inspection.statistics import STATISTICS, Distribution
from bitbybit.inspection.structure import PARAMETERS, ParameterRow, main_node
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import FloatIsland, QuantizedModel
from bitbybit.text import shortened


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Layers by what stands out in them, most conspicuous first; names and numbers.

    Attributes
    ----------
    widest : (layer, width of its real weight range), the three widest
    gains : (layer, dB that one scale per channel buys over one scale), all layers, descending
    outliers, nearly_dead : (layer, channels of its weights) where there are any
    dead, constant : (layer, channels of its output) proved, and only observed, to be constant
    saturated : (layer, share of its codes that lost their value to saturation), descending
    noisiest : (layer, SQNR in dB, expected from rounding alone), ascending
    """

    widest: tuple[tuple[str, float], ...]
    gains: tuple[tuple[str, float], ...]
    outliers: tuple[tuple[str, tuple[int, ...]], ...]
    nearly_dead: tuple[tuple[str, tuple[int, ...]], ...]
    dead: tuple[tuple[str, tuple[int, ...]], ...]
    constant: tuple[tuple[str, tuple[int, ...]], ...]
    saturated: tuple[tuple[str, float], ...]
    noisiest: tuple[tuple[str, float, float], ...]


def findings(inspection: Inspection) -> Findings:
    """Sort the layers of an inspection by what stands out in them."""
    layers = inspection.layers
    weights = [(e.name, e.tensors["weight"]) for e in layers if "weight" in e.tensors]
    widths = [(name, t.real.width) for name, t in weights if t.real.width is not None]
    gains = [(e.name, e.gain.gain_db) for e in layers if e.gain is not None]
    shares = [(e.name, share) for e in layers if (share := _damaged_share(e))]
    noise = [
        (e.name, e.activation.distance.sqnr_db, e.activation.distance.rounding_sqnr_db)
        for e in layers
        if e.activation is not None and e.activation.distance is not None
    ]
    return Findings(
        widest=tuple(sorted(widths, key=lambda item: -item[1])[:3]),
        gains=tuple(sorted(gains, key=lambda item: -item[1])),
        outliers=tuple((name, t.outlier_channels) for name, t in weights if t.outlier_channels),
        nearly_dead=tuple(
            (name, t.nearly_dead_channels) for name, t in weights if t.nearly_dead_channels
        ),
        dead=tuple((e.name, e.constant_channels) for e in layers if e.constant_channels),
        constant=tuple((e.name, seen) for e in layers if (seen := _observed(e))),
        saturated=tuple(sorted(shares, key=lambda item: -item[1])),
        noisiest=tuple(sorted(noise, key=lambda item: item[1])),
    )


def sentences(inspection: Inspection) -> list[str]:
    """Say the findings in words, a sentence or two for each; layer names between backticks."""
    f = findings(inspection)
    label = form_label(inspection.model)
    said = []
    if f.widest:
        parts = ", ".join(f"`{name}` ({width:.4g})" for name, width in f.widest)
        said.append(f"Widest {label} weight ranges, greatest minus least value: {parts}.")
    if f.gains:
        (best, most), (worst, least) = f.gains[0], f.gains[-1]
        said.append(
            f"One scale per output channel instead of one per tensor buys {most:.1f} dB of weight "
            f"SQNR in `{best}` and {least:.1f} dB in `{worst}`."
        )
    for what, channels in (
        ("Outlier channels (at least 3 times the median channel's largest weight)", f.outliers),
        (
            "Nearly dead channels (at most 5 % of the median channel's largest weight)",
            f.nearly_dead,
        ),
        ("Channels that are constant for every input, proved from the parameters", f.dead),
        ("Channels that were constant on these inputs, and need not be on others", f.constant),
    ):
        if channels:
            said.append(f"{what}: {'; '.join(f'`{name}` {_list(c)}' for name, c in channels)}.")
    if f.widest and not (f.outliers or f.nearly_dead):
        said.append("No channel of the weights is an outlier or nearly dead.")
    if f.saturated:
        parts = ", ".join(f"`{name}` ({100 * share:.3g} %)" for name, share in f.saturated[:3])
        said.append(f"Saturation destroys values in {len(f.saturated)} layers, most in {parts}.")
    elif inspection.data:
        said.append("No value was destroyed by saturation on these inputs.")
    if f.noisiest:
        name, found, expected = f.noisiest[0]
        said.append(
            f"Farthest from float: `{name}` with {found:.1f} dB SQNR, where rounding its output "
            f"alone would give {expected:.1f} dB."
        )
    return said


def layer_facts(entry: LayerInspection) -> list[str]:
    """Say in sentences what a layer is; strings of the file are made visible."""
    node_type, node_name = main_node(entry.layer)
    cost = entry.cost
    parts = [f"Kind {entry.layer.kind}; ONNX node {node_type} `{shortened(node_name)}`"]
    if cost.macs:
        parts.append(f"{cost.macs:,} multiply-accumulates per image")
    if cost.weights:
        parts.append(f"{cost.weights:,} weights and {cost.biases:,} biases")
    facts = ["; ".join(parts) + "."]
    if isinstance(entry.layer, FloatIsland):
        facts.append(f"A float island: {shortened(entry.layer.reason, 400)}.")
    if entry.constant_channels:
        channels = ", ".join(map(str, entry.constant_channels))
        facts.append(f"Constant for every input, proved from the parameters: channels {channels}.")
    if not entry.is_quantized:
        facts.append("No tensor of this layer has quantization parameters.")
    if not entry.tensors:
        facts.append("This layer has no weights.")
    return facts


def tensor_remarks(report: TensorReport) -> str:
    """Say in sentences what the statistics of a weight or bias do not show."""
    said = []
    if report.real.invalid:
        said.append(f"{report.real.invalid:,} values are NaN or infinite and left out.")
    if report.codes_used is not None and report.codes_available is not None:
        unused = report.codes_available - report.codes_used
        said.append(f"Never used: {unused} of {report.codes_available} codes.")
    if report.error is not None:
        said.append(
            f"Largest distance from float {shortest(report.error.largest)}, "
            f"{shortest(report.error.largest_in_steps)} of a step; SQNR "
            f"{decibel_text(report.error.sqnr_db)}."
        )
    elif report.tensor.params is not None:
        said.append("There is no float twin, so the rounding error is not known.")
    if report.outlier_channels:
        said.append(f"Outlier channels: {', '.join(map(str, report.outlier_channels))}.")
    if report.nearly_dead_channels:
        said.append(f"Nearly dead channels: {', '.join(map(str, report.nearly_dead_channels))}.")
    return " ".join(said)


def _damaged_share(entry: LayerInspection) -> float | None:
    if entry.activation is None or entry.activation.rails is None:
        return None
    rails = entry.activation.rails
    return rails.share(rails.damaged)


def _observed(entry: LayerInspection) -> tuple[int, ...]:
    if entry.activation is None:
        return ()
    seen = entry.activation.constant_observed
    return tuple(c for c in seen if c not in entry.constant_channels)


def _list(channels: tuple[int, ...], most: int = 8) -> str:
    shown = ", ".join(map(str, channels[:most]))
    return shown if len(channels) <= most else f"{shown} and {len(channels) - most} more"


SCHEMA_VERSION = 1


def _node(entry: LayerInspection) -> dict[str, str]:
    return dict(zip(("op_type", "name"), main_node(entry.layer), strict=True))


def _highlight(form: Distribution) -> dict[str, Any]:
    inside = form.highlight
    if inside is None:
        return {"low": None, "high": None, "count": 0}
    return {"low": inside.low, "high": inside.high, "count": inside.count}


LAYERS: tuple[Column[LayerInspection], ...] = (
    Column("name", "layer", at("name")),
    Column("kind", "kind", at("layer.kind")),
    Column("node", "node", _node),
    Column("quantized", "[Q]", at("is_quantized")),
    Column("shape", "output shape", at("cost.output_shape")),
    Column("per_image", "output shape", lambda entry: entry.cost.output_shape[1:]),
    Column("macs", "MACs", at("cost.macs")),
    Column("weights", "weights", at("cost.weights")),
    Column("biases", "biases", at("cost.biases")),
    Column("least", "least weight", at("weight.real.minimum")),
    Column("greatest", "greatest weight", at("weight.real.maximum")),
    Column("per_channel_gain_db", "gain per channel", at("gain.gain_db"), "dB"),
    Column("sqnr_db", "output SQNR", at("activation.distance.sqnr_db"), "dB"),
    Column("destroyed", "values destroyed", at("activation.rails.damaged")),
    Column("dead_channels", "constant channels", at("constant_channels")),
)

TENSORS: tuple[Column[TensorReport], ...] = (
    Column("name", "name", at("tensor.name")),
    Column("codes_used", "codes used", at("codes_used")),
    Column("codes_available", "codes available", at("codes_available")),
    Column("largest_error", "largest error", at("error.largest")),
    Column("largest_error_in_steps", "largest error", at("error.largest_in_steps"), "steps"),
    Column("sqnr_db", "SQNR", at("error.sqnr_db"), "dB"),
    Column("outlier_channels", "outliers", at("outlier_channels")),
    Column("nearly_dead_channels", "nearly dead", at("nearly_dead_channels")),
    Column("channel_least", "least values", at("channel_low")),
    Column("channel_greatest", "greatest values", at("channel_high")),
    Column("float_channel_least", "least floats", lambda t: (t.float_channels or [None])[0]),
    Column("float_channel_greatest", "greatest floats", lambda t: (t.float_channels or [None])[-1]),
)

FORMS: tuple[Column[Distribution], ...] = (
    Column("form", "form", at("title")),
    *(within("statistics", column) for column in STATISTICS),
    Column("highlight", "marked range", _highlight),
    Column("counts", "counts", at("histogram.counts")),
)

OUTPUT: tuple[Column[ActivationReport], ...] = (
    Column("images", "images", at("images")),
    Column("count", "values", at("histogram.total")),
    Column("minimum", "least real value", at("low")),
    Column("maximum", "greatest real value", at("high")),
    Column("at_lower_rail", "codes at the lower rail", at("rails.low")),
    Column("of_these_relu_zero", "of these, zeros of the ReLU", at("rails.intended")),
    Column("at_upper_rail", "codes at the upper rail", at("rails.high")),
    Column("of_these_clip_limit", "of these, the Clip's limit", at("rails.intended_high")),
    Column("destroyed_by_saturation", "values destroyed by saturation", at("rails.damaged")),
    Column("sqnr_db", "SQNR against float", at("distance.sqnr_db"), "dB"),
    Column("rounding_sqnr_db", "SQNR of rounding alone", at("distance.rounding_sqnr_db"), "dB"),
    Column("constant_channels_observed", "channels constant here", at("constant_observed")),
    Column("edges", "edges", at("histogram.edges")),
    Column("counts", "counts", at("histogram.counts")),
    Column("float_counts", "float counts", at("reference.counts")),
)


SHARES = pick(
    OUTPUT,
    "at_lower_rail of_these_relu_zero at_upper_rail of_these_clip_limit destroyed_by_saturation",
)
"""Counts that a page shows with their share of all values."""


def output_rows(output: ActivationReport) -> list[tuple[str, str]]:
    """Return what a page says of an output, a title and a value in each row."""
    rows = []
    for column in OUTPUT[:-4]:
        value = column.cell(output)
        own = value is not None and (value or column.key != "of_these_clip_limit")
        if not own or (column.key == "rounding_sqnr_db" and output.params is None):
            continue
        if column in SHARES:
            value = f"{value:,} ({100 * value / max(output.histogram.total, 1):.4g} %)"
        rows.append(
            (column.title, decibel_text(column.of(output)) if column.unit == "dB" else shown(value))
        )
    if output.constant_observed:
        rows.append(("channels constant on these inputs", f"{len(output.constant_observed)}"))
    return rows


def record(inspection: Inspection) -> dict[str, Any]:
    """Return everything that the page shows, ready for JSON.

    Returns
    -------
    dict
        ``schema_version, model, reference, others, inputs, bins, findings, layers[]``; a layer
        holds ``name, kind, node, quantized, shape, cost, parameters[], tensors{}, output``.
    """
    reference = inspection.reference
    return {
        "schema_version": SCHEMA_VERSION,
        "model": _file(inspection.model),
        "reference": None if reference is None else _file(reference),
        "others": {form: _file(other) for form, other in inspection.others.items()},
        "inputs": inspection.data,
        "bins": inspection.bins,
        "findings": sentences(inspection),
        "layers": [_layer(entry) for entry in inspection.layers],
    }


def _file(model: QuantizedModel) -> dict[str, Any]:
    return {"file": model.path.name, "sha256": model.sha256, "form": model.form}


def _layer(entry: LayerInspection) -> dict[str, Any]:
    keys = "name kind node quantized shape macs weights biases per_channel_gain_db dead_channels"
    shown = pick(
        PARAMETERS,
        "role tensor dtype shape granularity axis scale zero_point scale_name zero_point_name",
    )
    return {
        **as_json(pick(LAYERS, keys), entry),
        "parameters": [as_json(shown, row) for row in entry.parameters],
        "tensors": {role: _tensor(entry, report) for role, report in entry.tensors.items()},
        "output": None if entry.activation is None else as_json(OUTPUT, entry.activation),
    }


def _tensor(entry: LayerInspection, report: TensorReport) -> dict[str, Any]:
    forms = entry.forms(report.role)
    return {
        **as_json(TENSORS, report),
        "edges": plain(forms[0].histogram.edges),
        "forms": {form.title: as_json(FORMS[1:], form) for form in forms},
    }


@dataclass(frozen=True)
class _Line:
    """A line of the CSV: a tensor of a layer, with what was measured of it."""

    entry: LayerInspection
    row: ParameterRow

    @property
    def node(self) -> tuple[str, str]:
        return main_node(self.entry.layer)

    @property
    def report(self) -> TensorReport | None:
        return self.entry.tensors.get(self.row.role)

    @property
    def output(self) -> ActivationReport | None:
        return self.entry.activation if self.row.role == "output" else None


CSV: tuple[Column[_Line], ...] = (
    Column("layer", "layer", at("entry.name")),
    Column("kind", "kind", at("entry.layer.kind")),
    Column("op_type", "operator", lambda line: line.node[0]),
    Column("node", "node", lambda line: line.node[1]),
    *(
        within("row", column)
        for column in pick(
            PARAMETERS,
            "role tensor dtype shape granularity axis scales scale_least scale_mean "
            "scale_greatest zero_point_least zero_point_greatest scale_name zero_point_name",
        )
    ),
    Column("count", "count", at("report.real.count", "output.histogram.total")),
    Column("minimum", "minimum", at("report.real.minimum", "output.low")),
    Column("maximum", "maximum", at("report.real.maximum", "output.high")),
    Column("mean", "mean", at("report.real.mean")),
    Column("std", "std", at("report.real.std")),
    Column("codes_used", "codes used", at("report.codes_used")),
    Column("largest_error_in_steps", "largest error", at("report.error.largest_in_steps"), "steps"),
    Column("sqnr_db", "SQNR", at("report.error.sqnr_db", "output.distance.sqnr_db"), "dB"),
    Column("at_lower_rail", "at the lower rail", at("output.rails.low")),
    Column("at_upper_rail", "at the upper rail", at("output.rails.high")),
    Column("destroyed_by_saturation", "destroyed", at("output.rails.damaged")),
)


def csv_text(inspection: Inspection) -> str:
    """Return one line per tensor (inputs, weight, bias, output of each layer) as CSV."""
    lines = (_Line(entry, row) for entry in inspection.layers for row in entry.parameters)
    return as_csv(CSV, lines)
