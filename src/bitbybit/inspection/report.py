"""What an inspection shows: a column for each fact, and its JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bitbybit.digits import hex_float, shortest, shown
from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.columns import Column, as_csv, as_json, decibel_text, pick
from bitbybit.inspection.findings import sentences
from bitbybit.inspection.inspected import Inspection, LayerInspection, ParameterRow, granularity
from bitbybit.inspection.statistics import Distribution, Statistics
from bitbybit.inspection.weights import constant
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Edge,
    FloatIsland,
    Layer,
    Operation,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)

Record = dict[str, Any]
SCHEMA_VERSION = 1


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Write a shape as the terminal shows it; "?" where nothing is known of it.

    Examples
    --------
    >>> shape_text((None, 16, 32, 32))
    '[N,16,32,32]'
    """
    return f"[{','.join('N' if size is None else str(size) for size in shape)}]" if shape else "?"


def range_text(values: AnyArray) -> str:
    """Write one number, or the least and the greatest of several.

    Examples
    --------
    >>> range_text(np.float32([0.5, 0.1])), range_text(np.int8([0, 0]))
    ('0.1 to 0.5', '0')
    """
    if not values.size:
        return ""
    low, high = str(values.min()), str(values.max())
    return low if low == high else f"{low} to {high}"


def attributes(layer: Layer) -> Record:
    """Return what sets this layer apart from others of its kind, by name."""
    names: tuple[str, ...] = ()
    if isinstance(layer, Operation):
        return {"op": layer.op, **layer.attributes}
    if isinstance(layer, Conv):
        names = ("strides", "pads", "dilations", "group", "relu")
    elif isinstance(layer, Reshape):
        names = ("shape",)
    elif hasattr(layer, "relu"):
        names = ("relu",)
    return {name: getattr(layer, name) for name in names}


def _of(what: Callable[[QuantParams], Any], instead: Any = None) -> Callable[[Any], Any]:
    """Take a fact from the parameters of a tensor; a float tensor has ``instead``."""
    return lambda tensor: instead if tensor.params is None else what(tensor.params)


def _one(values: AnyArray) -> Any:
    """Return the one value of a tensor, or the values of its channels."""
    return values.reshape(-1) if values.ndim else values[()]


SCALE: tuple[Column[QuantParams], ...] = (
    Column("granularity", "granularity", granularity),
    Column("axis", "axis"),
    Column("dtype", "dtype", lambda p: str(p.dtype)),
    Column("scale", "scale", lambda p: shortest(_one(p.scale))),
    Column("scale_hex", "scale (hex)", lambda p: hex_float(p.scale)),
    Column("zero_point", "zero point", lambda p: _one(p.zero_point)),
    Column("scale_name", "scale initializer"),
    Column("zero_point_name", "zero-point initializer"),
)

EDGE: tuple[Column[Edge], ...] = (
    Column("name", "name"),
    Column("onnx_name", "name in the file"),
    Column("shape", "shape"),
    Column("dtype", "dtype", lambda edge: str(edge.dtype)),
    Column("quantization", "quantization", "params", columns=SCALE),
)

CONSTANT: tuple[Column[QuantizedTensor], ...] = (
    Column("name", "name in the file"),
    Column("shape", "shape", "values.shape"),
    Column("dtype", "dtype", lambda t: str(t.values.dtype)),
    Column("min", "least value", lambda t: t.values.min() if t.values.size else None),
    Column("max", "greatest value", lambda t: t.values.max() if t.values.size else None),
    Column("not_finite", "NaN or infinite", lambda t: np.count_nonzero(~np.isfinite(t.values))),
    Column("quantization", "quantization", "params", columns=SCALE),
)


def _output(what: Callable[[QuantParams], Any]) -> Callable[[LayerInspection], Any]:
    """Take a fact from the parameters of a layer's output; "" of a float one."""
    return lambda entry: _of(what, "")(entry.output)


def _weight_scales(entry: LayerInspection) -> str:
    params = None if entry.weight is None else entry.weight.tensor.params
    return "" if params is None else f"{params.scale.size}: {range_text(params.scale)}"


LAYERS: tuple[Column[LayerInspection], ...] = (
    Column("name", "layer"),
    Column("kind", "kind", "layer.kind"),
    Column("node", "node", lambda e: dict(zip(("op_type", "name"), e.node, strict=True))),
    Column("nodes", "nodes", lambda e: [{"op_type": op, "name": n} for op, n in e.layer.nodes]),
    Column("quantized", "[Q]", "is_quantized"),
    Column("inputs", "inputs", columns=EDGE),
    Column("output", "output", columns=EDGE),
    Column("shape", "output shape", "output.shape"),
    Column("per_image", "output shape", lambda e: e.output.shape[1:]),
    Column("reads", "input", lambda e: " ".join(shape_text(edge.shape) for edge in e.inputs)),
    Column("makes", "output", lambda e: shape_text(e.output.shape)),
    Column("dtype", "dtype", lambda e: str(e.output.dtype)),
    Column("scale", "scale", _output(lambda p: range_text(p.scale))),
    Column(
        "scale_hex", "scale (hex)", _output(lambda p: "" if p.per_channel else hex_float(p.scale))
    ),
    Column("zero", "zero", _output(lambda p: range_text(p.zero_point))),
    Column("weight_scales", "weight scales", _weight_scales),
    Column("macs", "MACs", "cost.macs"),
    Column("parameters", "parameters", "cost.parameters"),
    Column("weights", "weights", "cost.weights"),
    Column("biases", "biases", "cost.biases"),
    Column("weight_bytes", "weight B", "cost.weight_bytes"),
    Column("activation_bytes", "output B", "cost.activation_bytes"),
    Column("accumulator", "accumulator", "cost.accumulator"),
    Column("bits", "acc. bits", "cost.accumulator.bits"),
    Column("weight", "weight", lambda e: constant(e.layer, "weight"), columns=CONSTANT),
    Column("bias", "bias", lambda e: constant(e.layer, "bias"), columns=CONSTANT),
    Column("attributes", "attributes", lambda e: attributes(e.layer)),
    Column("reason", "reason", lambda e: getattr(e.layer, "reason", None)),
    Column("least", "least weight", "weight.real.minimum"),
    Column("greatest", "greatest weight", "weight.real.maximum"),
    Column("per_channel_gain_db", "gain per channel", "gain.gain_db", "dB"),
    Column("sqnr_db", "output SQNR", "activation.distance.sqnr_db", "dB"),
    Column("destroyed", "values destroyed", "activation.rails.damaged"),
    Column("dead_channels", "constant channels", "constant_channels"),
)


def _scales(what: Callable[[AnyArray], Any], name: str = "scale") -> Callable[[ParameterRow], Any]:
    """Take a fact from the scales or zero points of a tensor, where there are any."""
    return _of(lambda p: what(found) if (found := getattr(p, name)).size else None)


def _channels(what: Callable[[AnyArray], Any]) -> Callable[[ParameterRow], Any]:
    """Take a fact from the scales, where there is one per channel."""
    return _of(lambda p: what(p.scale) if p.per_channel and p.scale.size else None)


def _mean(scales: AnyArray) -> float:
    """Return the mean, summed in float64."""
    return float(scales.mean(dtype=np.float64))


def _ends(zeros: AnyArray) -> int | str:
    """Return the one zero point, or the least and the greatest of several."""
    found = np.unique(zeros).tolist()
    return found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}"


def _statistics(path: str = "") -> tuple[Column[Any], ...]:
    """Return the columns of the statistics that a record has at a path."""
    titles = {"count": "count", "invalid": "NaN or infinite", "minimum": "minimum"}
    titles |= {"maximum": "maximum", "mean": "mean", "std": "std"}
    return tuple(Column(key, title, path + key) for key, title in titles.items())


STATISTICS: tuple[Column[Statistics], ...] = _statistics()


def _highlight(form: Distribution) -> Record:
    inside = form.highlight
    if inside is None:
        return {"low": None, "high": None, "count": 0}
    return {"low": inside.low, "high": inside.high, "count": inside.count}


FORMS: tuple[Column[Distribution], ...] = (
    Column("form", "form", "title"),
    *_statistics("statistics."),
    Column("highlight", "marked range", _highlight),
    Column("counts", "counts", "histogram.counts"),
)

ROWS: tuple[Column[ParameterRow], ...] = (
    Column("layer", "layer", "entry.name"),
    Column("kind", "kind", "entry.layer.kind"),
    Column("op_type", "operator", lambda row: row.entry.node[0]),
    Column("node", "node", lambda row: row.entry.node[1]),
    Column("role", "tensor"),
    Column("tensor", "name in the file"),
    Column("dtype", "dtype", lambda row: row.dtype.name),
    Column("shape", "shape"),
    Column("granularity", "granularity", lambda row: granularity(row.params)),
    Column("axis", "axis", "params.axis"),
    Column("scale", "scales", _of(lambda p: p.scale.reshape(-1), [])),
    Column("zero_point", "zero points", _of(lambda p: p.zero_point.reshape(-1), [])),
    Column("scales", "number of scales", _scales(np.size)),
    Column("scale_least", "least scale", _scales(np.min)),
    Column("scale_mean", "mean scale", _scales(_mean)),
    Column("scale_greatest", "greatest scale", _scales(np.max)),
    Column("one_scale", "scale", _of(lambda p: None if p.per_channel else p.scale[()])),
    Column("least_scale", "least scale", _channels(np.min)),
    Column("mean_scale", "mean scale", _channels(_mean)),
    Column("greatest_scale", "greatest scale", _channels(np.max)),
    Column("zero_point_least", "least zero point", _scales(np.min, "zero_point")),
    Column("zero_point_greatest", "greatest zero point", _scales(np.max, "zero_point")),
    Column("zeros", "zero point", _scales(_ends, "zero_point")),
    Column("scale_name", "scale initializer", _of(lambda p: p.scale_name, "")),
    Column("zero_point_name", "zero-point initializer", _of(lambda p: p.zero_point_name, "")),
    Column("name", "name", "tensor"),
    Column("count", "count", "report.real.count activation.histogram.total"),
    Column("minimum", "minimum", "report.real.minimum activation.low"),
    Column("maximum", "maximum", "report.real.maximum activation.high"),
    Column("mean", "mean", "report.real.mean"),
    Column("std", "std", "report.real.std"),
    Column("codes_used", "codes used", "report.codes_used"),
    Column("codes_available", "codes available", "report.codes_available"),
    Column("largest_error", "largest error", "report.error.largest"),
    Column("largest_error_in_steps", "largest error", "report.error.largest_in_steps", "steps"),
    Column("sqnr_db", "SQNR", "report.error.sqnr_db activation.distance.sqnr_db", "dB"),
    Column("outlier_channels", "outliers", "report.outlier_channels"),
    Column("nearly_dead_channels", "nearly dead", "report.nearly_dead_channels"),
    Column("channel_least", "least values", "report.channels.low"),
    Column("channel_greatest", "greatest values", "report.channels.high"),
    Column("float_channel_least", "least floats", "report.float_channels.low"),
    Column("float_channel_greatest", "greatest floats", "report.float_channels.high"),
    Column("edges", "edges", lambda row: row.forms[0].histogram.edges),
    Column("forms", "forms", lambda row: {f.title: f for f in row.forms}, columns=FORMS[1:]),
    Column("at_lower_rail", "at the lower rail", "activation.rails.low"),
    Column("at_upper_rail", "at the upper rail", "activation.rails.high"),
    Column("destroyed_by_saturation", "destroyed", "activation.rails.damaged"),
)

PARAMETERS = "role tensor dtype shape granularity axis "
NAMES = " scale_name zero_point_name"
CSV = pick(
    ROWS,
    f"layer kind op_type node {PARAMETERS} scales scale_least scale_mean scale_greatest "
    f"zero_point_least zero_point_greatest {NAMES} count minimum maximum mean std codes_used "
    "largest_error_in_steps sqnr_db at_lower_rail at_upper_rail destroyed_by_saturation",
)
SCALES = pick(ROWS, f"{PARAMETERS} scale zero_point {NAMES}")
TENSORS = pick(
    ROWS,
    "name codes_used codes_available largest_error largest_error_in_steps sqnr_db "
    "outlier_channels nearly_dead_channels channel_least channel_greatest float_channel_least "
    "float_channel_greatest edges forms",
)

OUTPUT: tuple[Column[ActivationReport], ...] = (
    Column("images", "images"),
    Column("count", "values", "histogram.total"),
    Column("minimum", "least real value", "low"),
    Column("maximum", "greatest real value", "high"),
    Column("at_lower_rail", "codes at the lower rail", "rails.low"),
    Column("of_these_relu_zero", "of these, zeros of the ReLU", "rails.intended"),
    Column("at_upper_rail", "codes at the upper rail", "rails.high"),
    Column("of_these_clip_limit", "of these, the Clip's limit", "rails.intended_high"),
    Column("destroyed_by_saturation", "values destroyed by saturation", "rails.damaged"),
    Column("sqnr_db", "SQNR against float", "distance.sqnr_db", "dB"),
    Column("rounding_sqnr_db", "SQNR of rounding alone", "distance.rounding_sqnr_db", "dB"),
    Column("constant_channels_observed", "channels constant here", "constant_observed"),
    Column("edges", "edges", "histogram.edges"),
    Column("counts", "counts", "histogram.counts"),
    Column("float_counts", "float counts", "reference.counts"),
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
            (
                column.title,
                decibel_text(column.fact(output)) if column.unit == "dB" else shown(value),
            )
        )
    if output.constant_observed:
        rows.append(("channels constant on these inputs", f"{len(output.constant_observed)}"))
    return rows


MODEL: tuple[Column[QuantizedModel], ...] = (
    Column("model", "file", "path.name"),
    Column("sha256", "SHA-256"),
    Column("form", "form"),
    Column("opsets", "opsets", lambda m: {d or "ai.onnx": v for d, v in m.opsets.items()}),
    Column("inputs", "inputs", lambda m: [m.edges[name] for name in m.inputs], columns=EDGE),
    Column("outputs", "outputs", lambda m: [m.edges[name] for name in m.outputs], columns=EDGE),
)
FILE: tuple[Column[QuantizedModel], ...] = (
    Column("file", "file", "path.name"),
    *pick(MODEL, "sha256 form"),
)

LAYER: tuple[Column[LayerInspection], ...] = (
    *pick(LAYERS, "name kind node quantized shape macs weights biases per_channel_gain_db"),
    *pick(LAYERS, "dead_channels"),
    Column("parameters", "parameters", columns=SCALES),
    Column("tensors", "tensors", "measured", columns=TENSORS),
    Column("output", "output", "activation", columns=OUTPUT),
)
RECORD: tuple[Column[Inspection], ...] = (
    Column("schema_version", "version of these keys", lambda _: SCHEMA_VERSION),
    Column("model", "model", columns=FILE),
    Column("reference", "float twin", columns=FILE),
    Column("others", "beside it", columns=FILE),
    Column("inputs", "inputs", "data"),
    Column("bins", "bins"),
    Column("findings", "findings", sentences),
    Column("layers", "layers", columns=LAYER),
)


def model_record(model: QuantizedModel) -> Record:
    """Return file, layers and totals of a model, ready for JSON.

    Keys: ``model`` (file name), ``sha256``, ``form``, ``opsets``, ``inputs``, ``outputs``,
    ``layers`` (one :func:`layer_record` each, in graph order) and ``totals``.
    """
    layers = Inspection(model).layers
    records = [layer_record(entry) for entry in layers]
    return {**as_json(MODEL, model), "layers": records, "totals": totals(layers)}


def layer_record(entry: LayerInspection) -> Record:
    """Return everything about one layer except its weights' values, ready for JSON."""
    keys = "name kind nodes inputs output macs parameters weights biases weight_bytes "
    keys += "activation_bytes accumulator attributes"
    if entry.weight is not None:
        keys += " weight bias"
    if isinstance(entry.layer, FloatIsland):
        keys += " reason"
    return as_json(pick(LAYERS, keys), entry)


def totals(layers: Iterable[LayerInspection]) -> Record:
    """Return the sums over all layers, None where one of them is open."""
    costs = [entry.cost for entry in layers]
    found: Record = {
        "layers": len(costs),
        "float_islands": sum(cost.kind == FloatIsland.kind for cost in costs),
    }
    for key in ("macs", "weights", "biases", "weight_bytes"):
        values = [getattr(cost, key) for cost in costs]
        found[key] = None if None in values else sum(values)
    return found


def record(inspection: Inspection) -> Record:
    """Return everything that the page shows, ready for JSON.

    Returns
    -------
    dict
        ``schema_version, model, reference, others, inputs, bins, findings, layers[]``; a layer
        holds ``name, kind, node, quantized, shape, cost, parameters[], tensors{}, output``.
    """
    return as_json(RECORD, inspection)


def csv_text(inspection: Inspection) -> str:
    """Return one line per tensor (inputs, weight, bias, output of each layer) as CSV."""
    return as_csv(CSV, [row for entry in inspection.layers for row in entry.parameters])
