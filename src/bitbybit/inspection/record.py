"""An inspection as plain numbers: the JSON and CSV whose digits the page shows too."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.findings import sentences
from bitbybit.inspection.histograms import Histogram, bin_edges, histogram
from bitbybit.inspection.parameters import ParameterRow, main_node
from bitbybit.inspection.statistics import Statistics, ValueRange
from bitbybit.inspection.summary import Inspection, LayerInspection, tensor_forms
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.types import QuantizedModel

SCHEMA_VERSION = 1


def plain(value: float | np.floating[Any] | None) -> float | None:
    """Round a real number to float32 and return its shortest decimal; None stays None.

    Tensors and scales are float32, so nothing is lost for them.  NaN and infinities give None.

    Examples
    --------
    >>> plain(float(np.float32(0.1)))
    0.1
    """
    if value is None or not math.isfinite(value):
        return None
    return float(str(np.float32(value)))


def decibels(value: float | None) -> float | None:
    """Round to two decimals; None where nothing differs (or there is nothing to compare)."""
    return None if value is None or not math.isfinite(value) else round(value, 2)


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
        "layers": [_layer(inspection, entry) for entry in inspection.layers],
    }


def _file(model: QuantizedModel) -> dict[str, Any]:
    return {"file": model.path.name, "sha256": model.sha256, "form": model.form}


def _layer(inspection: Inspection, entry: LayerInspection) -> dict[str, Any]:
    node_type, node_name = main_node(entry.layer)
    cost, gain = entry.cost, entry.gain
    return {
        "name": entry.name,
        "kind": entry.layer.kind,
        "node": {"op_type": node_type, "name": node_name},
        "quantized": entry.is_quantized,
        "shape": list(cost.output_shape),
        "macs": cost.macs,
        "weights": cost.weights,
        "biases": cost.biases,
        "parameters": [parameter(row) for row in entry.parameters],
        "tensors": {
            role: _tensor(inspection, entry, role, report) for role, report in entry.tensors.items()
        },
        "per_channel_gain_db": None if gain is None else decibels(gain.gain_db),
        "dead_channels": list(entry.constant_channels),
        "output": None if entry.activation is None else _output(entry.activation),
    }


def parameter(row: ParameterRow) -> dict[str, Any]:
    """Return one tensor's quantization parameters; scales and zero points always as lists."""
    scales = [] if row.scale is None else row.scale.reshape(-1).tolist()
    zeros = [] if row.zero_point is None else row.zero_point.reshape(-1).tolist()
    return {
        "role": row.role,
        "tensor": row.tensor,
        "dtype": row.dtype.name,
        "shape": list(row.shape),
        "granularity": row.granularity,
        "axis": row.axis,
        "scale": [plain(scale) for scale in scales],
        "zero_point": zeros,
        "scale_name": row.scale_name,
        "zero_point_name": row.zero_point_name,
    }


def _tensor(
    inspection: Inspection, entry: LayerInspection, role: str, report: TensorReport
) -> dict[str, Any]:
    forms = tensor_forms(inspection, entry, role)
    edges = bin_edges([values for _, values, _ in forms], inspection.bins)
    error, floats = report.error, report.float_channels
    return {
        "name": report.name,
        "codes_used": report.codes_used,
        "codes_available": report.codes_available,
        "largest_error": None if error is None else plain(error.largest),
        "largest_error_in_steps": None if error is None else plain(error.largest_in_steps),
        "sqnr_db": None if error is None else decibels(error.sqnr_db),
        "outlier_channels": list(report.outlier_channels) if role == "weight" else [],
        "nearly_dead_channels": list(report.nearly_dead_channels) if role == "weight" else [],
        "channel_least": _numbers(report.channel_low),
        "channel_greatest": _numbers(report.channel_high),
        "float_channel_least": None if floats is None else _numbers(floats[0]),
        "float_channel_greatest": None if floats is None else _numbers(floats[1]),
        "edges": _numbers(edges),
        "forms": {
            name: statistics_record(s)
            | {"highlight": _highlight(inspection.marked(values, s))}
            | {"counts": histogram(values, edges).counts.tolist()}
            for name, values, s in forms
        },
    }


def _highlight(inside: ValueRange | None) -> dict[str, Any]:
    if inside is None:
        return {"low": None, "high": None, "count": 0}
    return {"low": plain(inside.low), "high": plain(inside.high), "count": inside.count}


def statistics_record(s: Statistics) -> dict[str, Any]:
    """Return the statistics of a tensor."""
    return {
        "count": s.count,
        "invalid": s.invalid,
        "minimum": plain(s.minimum),
        "maximum": plain(s.maximum),
        "mean": plain(s.mean),
        "std": plain(s.std),
    }


def _output(a: ActivationReport) -> dict[str, Any]:
    rails, distance = a.rails, a.distance
    return {
        "images": a.images,
        "count": a.histogram.total,
        "minimum": plain(a.low),
        "maximum": plain(a.high),
        "at_lower_rail": None if rails is None else rails.low,
        "of_these_relu_zero": None if rails is None else rails.intended,
        "at_upper_rail": None if rails is None else rails.high,
        "of_these_clip_limit": None if rails is None else rails.intended_high,
        "destroyed_by_saturation": None if rails is None else rails.damaged,
        "sqnr_db": None if distance is None else decibels(distance.sqnr_db),
        "rounding_sqnr_db": None if distance is None else decibels(distance.rounding_sqnr_db),
        "constant_channels_observed": list(a.constant_observed),
        "edges": _numbers(a.histogram.edges),
        "counts": _counts(a.histogram),
        "float_counts": _counts(a.reference),
    }


def _counts(h: Histogram | None) -> list[int] | None:
    return None if h is None else h.counts.tolist()


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [plain(value) for value in values.tolist()]


CSV_COLUMNS = (
    "layer", "kind", "op_type", "node", "role", "tensor", "dtype", "shape", "granularity", "axis",
    "scales", "scale_least", "scale_mean", "scale_greatest", "zero_point_least",
    "zero_point_greatest", "scale_name", "zero_point_name", "count", "minimum", "maximum", "mean",
    "std", "codes_used", "largest_error_in_steps", "sqnr_db", "at_lower_rail", "at_upper_rail",
    "destroyed_by_saturation",
)  # fmt: skip


def csv_text(inspection: Inspection) -> str:
    """Return one line per tensor (inputs, weight, bias, output of each layer) as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in inspection.layers:
        for row in entry.parameters:
            writer.writerow(map(_cell, _csv_row(entry, row)))
    return stream.getvalue()


def _csv_row(entry: LayerInspection, row: ParameterRow) -> Iterable[object]:
    node_type, node_name = main_node(entry.layer)
    yield from (entry.name, entry.layer.kind, node_type, node_name, row.role, row.tensor)
    yield from (row.dtype.name, "x".join("N" if d is None else str(d) for d in row.shape))
    yield from (row.granularity, row.axis)
    if row.scale is None or row.zero_point is None:
        yield from [None] * 6
    else:
        s, z = row.scale, row.zero_point
        mean = float(s.mean(dtype=np.float64))
        yield from (s.size, plain(s.min()), plain(mean), plain(s.max()), int(z.min()), int(z.max()))
    yield from (row.scale_name, row.zero_point_name)
    report, a = entry.tensors.get(row.role), entry.activation
    if report is not None:
        s_ = statistics_record(report.real)
        yield from (s_[key] for key in ("count", "minimum", "maximum", "mean", "std"))
        error = report.error
        yield report.codes_used
        yield None if error is None else plain(error.largest_in_steps)
        yield None if error is None else decibels(error.sqnr_db)
        yield from [None] * 3
    elif row.role == "output" and a is not None:
        output = _output(a)
        yield from (output["count"], output["minimum"], output["maximum"], None, None, None, None)
        keys = ("sqnr_db", "at_lower_rail", "at_upper_rail", "destroyed_by_saturation")
        yield from (output[key] for key in keys)
    else:
        yield from [None] * 11


def _cell(value: object) -> object:
    """Keep a spreadsheet from taking a name out of the file for a formula."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return "" if value is None else value
