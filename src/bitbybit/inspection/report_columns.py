"""What JSON, CSV and page show of an inspection: one column per fact, and the two files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitbybit.digits import shown
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
from bitbybit.inspection.histograms import Distribution
from bitbybit.inspection.inspected import Inspection, LayerInspection
from bitbybit.inspection.parameter_rows import PARAMETERS, ParameterRow, main_node
from bitbybit.inspection.remarks import sentences
from bitbybit.inspection.statistics import STATISTICS
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import QuantizedModel

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
    Column(
        "node", "node", lambda e: dict(zip(("op_type", "name"), main_node(e.layer), strict=True))
    ),
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
    Column("name", "name", at("name")),
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
