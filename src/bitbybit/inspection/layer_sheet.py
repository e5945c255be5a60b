"""What a page says about one layer, ready to be drawn: sentences, rows of cells, histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit.inspection.activations import ActivationReport
from bitbybit.inspection.histograms import Histogram, bin_edges, code_edges, histogram
from bitbybit.inspection.parameters import ParameterRow, main_node
from bitbybit.inspection.record import decibels, plain
from bitbybit.inspection.statistics import ValueRange
from bitbybit.inspection.summary import FeatureMaps, Inspection, LayerInspection, tensor_forms
from bitbybit.inspection.weights import TensorReport
from bitbybit.model.names import printable
from bitbybit.model.types import FloatIsland

Cell = str | int | float | bool | tuple[int | None, ...] | None


@dataclass(frozen=True)
class Cells:
    """A table: headers, and rows of which the first cell names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, eq=False)
class Distribution:
    """A histogram to be drawn.

    Attributes
    ----------
    title : what is counted
    role : ``"weight"``, ``"bias"``, ``"activation"`` or ``"codes"``
    histogram : the bars
    outline : a second histogram over the same edges; None for none
    highlight : a range of values to mark; None for none
    ends : the least and the greatest code, where codes are counted
    """

    title: str
    role: str
    histogram: Histogram
    outline: Histogram | None = None
    highlight: ValueRange | None = None
    ends: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class TensorSheet:
    """A weight or bias in all its forms: histograms over shared edges, statistics, remarks."""

    role: str
    distributions: tuple[Distribution, ...]
    statistics: Cells
    remarks: str


@dataclass(frozen=True, eq=False)
class OutputSheet:
    """A layer's output on the inputs: histogram, statistics, and the first image's maps."""

    distribution: Distribution
    statistics: Cells
    maps: FeatureMaps | None


@dataclass(frozen=True, eq=False)
class LayerSheet:
    """One layer.

    Attributes
    ----------
    name, title : canonical name; the same with ``[Q]`` and the output's shape
    shape : of the output without the batch, as text
    quantized : whether it has the mark ``[Q]``
    inputs : canonical names of the edges it reads
    facts : sentences
    parameters : quantization parameters, one column per tensor; what none of them has is left out
    scales : of the weight, one per channel; None where there is one scale or none
    tensors : weight and bias
    weight : the weight itself, to be drawn as an image; None without
    output : None without inputs
    """

    name: str
    title: str
    shape: str
    quantized: bool
    inputs: tuple[str, ...]
    facts: tuple[str, ...]
    parameters: Cells
    scales: NDArray[np.float32] | None
    tensors: tuple[TensorSheet, ...]
    weight: TensorReport | None
    output: OutputSheet | None


PARAMETERS = (
    "tensor", "name in the file", "dtype", "shape", "granularity", "axis", "scale", "least scale",
    "mean scale", "greatest scale", "zero point", "scale initializer", "zero-point initializer",
)  # fmt: skip
STATISTIC_COLUMNS = ("form", "count", "minimum", "maximum", "mean", "std")


def layer_sheet(inspection: Inspection, entry: LayerInspection) -> LayerSheet:
    """Return the sheet of one layer; strings of the file are shortened and made visible."""
    shape = shape_text(inspection.model.edges[entry.layer.name].shape)
    mark = " [Q]" if entry.is_quantized else ""
    weight = entry.tensors.get("weight")
    params = None if weight is None else weight.tensor.params
    return LayerSheet(
        entry.name,
        f"{entry.name}{mark}, {shape}",
        shape,
        entry.is_quantized,
        entry.layer.inputs,
        _facts(entry),
        _parameters(entry.parameters),
        None if params is None or params.axis is None else params.scale,
        tuple(_tensor(inspection, entry, role) for role in entry.tensors),
        weight,
        None if entry.activation is None else _output(entry.activation, entry.maps),
    )


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Write a shape without its batch.

    Examples
    --------
    >>> shape_text((None, 16, 32, 32)), shape_text((None,))
    ('16×32×32', 'scalar')
    """
    return "×".join("?" if size is None else str(size) for size in shape[1:]) or "scalar"


def _parameters(rows: list[ParameterRow]) -> Cells:
    (head, *names), *columns = (PARAMETERS, *map(_parameter_cells, rows))
    found = zip(names, *(column[1:] for column in columns), strict=True)
    kept = (row for row in found if any(cell not in (None, "") for cell in row[1:]))
    return Cells((head, *(str(column[0]) for column in columns)), tuple(kept))


def _parameter_cells(row: ParameterRow) -> tuple[Cell, ...]:
    """Return the cells of one tensor, in the order of ``PARAMETERS``."""
    start = (
        row.role, printable(row.tensor), row.dtype.name, row.shape, row.granularity, row.axis,
    )  # fmt: skip
    if row.scale is None or row.zero_point is None:
        return (*start, None, None, None, None, None, "", "")
    names = (printable(row.scale_name), printable(row.zero_point_name))
    zeros = np.unique(row.zero_point).tolist()
    zero: Cell = zeros[0] if len(zeros) == 1 else f"{zeros[0]} … {zeros[-1]}"
    if row.axis is None:
        return (*start, plain(row.scale.item()), None, None, None, zero, *names)
    least, greatest = plain(row.scale.min()), plain(row.scale.max())
    mean = plain(float(row.scale.mean(dtype=np.float64)))
    return (*start, None, least, mean, greatest, zero, *names)


def _facts(entry: LayerInspection) -> tuple[str, ...]:
    node_type, node_name = main_node(entry.layer)
    cost = entry.cost
    parts = [f"Kind {entry.layer.kind}; ONNX node {node_type} `{printable(node_name)}`"]
    if cost.macs:
        parts.append(f"{cost.macs:,} multiply-accumulates per image")
    if cost.weights:
        parts.append(f"{cost.weights:,} weights and {cost.biases:,} biases")
    facts = ["; ".join(parts) + "."]
    if isinstance(entry.layer, FloatIsland):
        facts.append(f"A float island: {printable(entry.layer.reason, 400)}.")
    if entry.constant_channels:
        channels = ", ".join(map(str, entry.constant_channels))
        facts.append(f"Dead whatever the input, proved from the parameters: channels {channels}.")
    if not entry.is_quantized:
        facts.append("No tensor of this layer has quantization parameters.")
    if not entry.tensors:
        facts.append("This layer has no weights.")
    return tuple(facts)


def _tensor(inspection: Inspection, entry: LayerInspection, role: str) -> TensorSheet:
    report = entry.tensors[role]
    forms = tensor_forms(inspection, entry, role)
    edges = bin_edges([values for _, values, _ in forms], inspection.bins)
    drawn, rows = [], []
    for name, values, s in forms:
        inside = inspection.marked(values, s)
        share = None if inside is None else f"{inside.count:,} ({100 * inside.share:.2f} %)"
        drawn.append(Distribution(name, role, histogram(values, edges), highlight=inside))
        numbers = (plain(s.minimum), plain(s.maximum), plain(s.mean), plain(s.std))
        rows.append((name, s.count, *numbers, share))
    params = report.tensor.params
    if params is not None and report.codes_used is not None:
        raw = code_edges(params.qmin, params.qmax, inspection.bins)
        counted = histogram(report.tensor.values, raw)
        ends = (params.qmin, params.qmax)
        drawn.append(Distribution(f"{params.dtype.name} codes", "codes", counted, ends=ends))
    marked = " to ".join(map(_text, inspection.highlight or ())) or "mean ± std"
    cells = Cells((*STATISTIC_COLUMNS, f"{marked} holds"), tuple(rows))
    return TensorSheet(role, tuple(drawn), cells, _remarks(report))


def _remarks(report: TensorReport) -> str:
    said = []
    if report.real.invalid:
        said.append(f"{report.real.invalid:,} values are NaN or infinite and left out.")
    if report.codes_used is not None and report.codes_available is not None:
        unused = report.codes_available - report.codes_used
        said.append(f"Never used: {unused} of {report.codes_available} codes.")
    if report.error is not None:
        said.append(
            f"Largest distance from float {plain(report.error.largest)}, "
            f"{plain(report.error.largest_in_steps)} of a step; SQNR "
            f"{decibel_text(report.error.sqnr_db)}."
        )
    elif report.tensor.params is not None:
        said.append("There is no float twin, so the rounding error is not known.")
    if report.role == "weight" and report.outlier_channels:
        said.append(f"Outlier channels: {', '.join(map(str, report.outlier_channels))}.")
    if report.role == "weight" and report.nearly_dead_channels:
        said.append(f"Nearly dead channels: {', '.join(map(str, report.nearly_dead_channels))}.")
    return " ".join(said)


def _output(a: ActivationReport, maps: FeatureMaps | None) -> OutputSheet:
    title = "real values" if a.reference is None else "filled integer, line float"
    rows: list[tuple[Cell, ...]] = [
        ("images", f"{a.images:,}"),
        ("values", f"{a.histogram.total:,}"),
        ("least real value", plain(a.low)),
        ("greatest real value", plain(a.high)),
    ]
    if a.rails is not None:
        r = a.rails
        rows += [
            ("codes at the lower rail", _share(r.low, r.total)),
            ("of these ReLU's zero, as intended", _share(r.intended, r.total)),
            ("codes at the upper rail", _share(r.high, r.total)),
            *(
                [("of these a Clip's limit, as intended", _share(r.intended_high, r.total))]
                if r.intended_high
                else []
            ),
            ("values destroyed by saturation", _share(r.damaged, r.total)),
        ]
    if a.distance is not None:
        rows.append(("SQNR against float", decibel_text(a.distance.sqnr_db)))
    if a.distance is not None and a.params is not None:
        alone = decibel_text(a.distance.rounding_sqnr_db)
        rows.append(("SQNR if only this rounding happened", alone))
    if a.constant_observed:
        rows.append(("channels constant on these inputs", f"{len(a.constant_observed)}"))
    drawn = Distribution(title, "activation", a.histogram, a.reference)
    return OutputSheet(drawn, Cells(("output", "value"), tuple(rows)), maps)


def decibel_text(value: float) -> str:
    """Write decibels with two decimals; without noise there is no number."""
    rounded = decibels(value)
    return "without end: both are equal" if rounded is None else f"{rounded:.2f} dB"


def _share(count: int | None, total: int) -> str | None:
    return None if count is None or not total else f"{count:,} ({100 * count / total:.4g} %)"


def _text(value: float) -> str:
    return str(value).replace("-", "−")
