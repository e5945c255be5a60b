"""What the page about a network says, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from bitbybit.inspection.findings import findings, sentences
from bitbybit.inspection.layer_sheet import Cell, Cells, LayerSheet, layer_sheet, shape_text
from bitbybit.inspection.record import decibels, plain
from bitbybit.inspection.summary import Inspection, LayerInspection, form_label
from bitbybit.model.names import printable
from bitbybit.model.types import QuantizedModel


@dataclass(frozen=True)
class Range:
    """Least and greatest weight of a layer in one form."""

    form: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Sheet:
    """A network.

    Attributes
    ----------
    file : name of its file; ``source`` adds the first eight digits of its SHA-256
    origin : where everything on the page comes from
    findings : sentences; layer names between backticks
    ranges : weight ranges, one row per layer, and in it one per form
    widest : the layers with the widest ranges
    overview : one row per layer
    inputs : name and shape of each graph input
    layers : one sheet per layer
    data : what the activations were computed on, "" without
    """

    file: str
    source: str
    origin: Cells
    findings: tuple[str, ...]
    ranges: tuple[tuple[str, tuple[Range, ...]], ...]
    widest: tuple[str, ...]
    overview: Cells
    inputs: tuple[tuple[str, str], ...]
    layers: tuple[LayerSheet, ...]
    data: str


OVERVIEW_COLUMNS = (
    "layer", "kind", "[Q]", "output shape", "MACs", "weights", "biases", "least weight",
    "greatest weight", "gain per channel, dB", "output SQNR, dB", "values destroyed",
)  # fmt: skip


def sheet(inspection: Inspection) -> Sheet:
    """Return what a page says about a network; strings of the file are made visible."""
    model = inspection.model
    return Sheet(
        printable(model.path.name),
        f"`{printable(model.path.name)}` ({model.sha256[:8]})",
        _origin(inspection),
        tuple(sentences(inspection)),
        tuple(row for entry in inspection.layers if (row := _ranges(inspection, entry))),
        tuple(name for name, _ in findings(inspection).widest),
        Cells(OVERVIEW_COLUMNS, tuple(_overview(entry) for entry in inspection.layers)),
        tuple((name, shape_text(model.edges[name].shape)) for name in model.inputs),
        tuple(layer_sheet(inspection, entry) for entry in inspection.layers),
        inspection.data,
    )


def _ranges(inspection: Inspection, entry: LayerInspection) -> tuple[str, tuple[Range, ...]] | None:
    report = entry.tensors.get("weight")
    if report is None or report.real.minimum is None or report.real.maximum is None:
        return None
    found = []
    twin = report.reference
    if twin is not None and twin.minimum is not None and twin.maximum is not None:
        found.append(Range("FP32", twin.minimum, twin.maximum))
    label = form_label(inspection.model)
    name = label if report.tensor.params is None else f"{label} dequantized"
    found.append(Range(name, report.real.minimum, report.real.maximum))
    return entry.name, tuple(found)


def _overview(entry: LayerInspection) -> tuple[Cell, ...]:
    report, a = entry.tensors.get("weight"), entry.activation
    rails = None if a is None else a.rails
    distance = None if a is None else a.distance
    return (
        entry.name,
        entry.layer.kind,
        entry.is_quantized,
        shape_text(entry.cost.output_shape),
        entry.cost.macs,
        entry.cost.weights,
        entry.cost.biases,
        None if report is None else plain(report.real.minimum),
        None if report is None else plain(report.real.maximum),
        None if entry.gain is None else _two_decimals(entry.gain.gain_db),
        None if distance is None else _two_decimals(distance.sqnr_db),
        None if rails is None else rails.damaged,
    )


def _two_decimals(value: float) -> str | None:
    rounded = decibels(value)
    return None if rounded is None else f"{rounded:.2f}"


def _origin(inspection: Inspection) -> Cells:
    model = inspection.model
    opsets = ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in sorted(model.opsets.items()))
    rows: list[tuple[Cell, ...]] = [
        ("SHA-256", model.sha256),
        ("form", model.form),
        ("opsets", printable(opsets)),
        ("weights", form_label(model)),
    ]
    if inspection.reference is None:
        rows.append(("float twin", "none was given: no distance from float is shown"))
    else:
        rows.append(("float twin", _named(inspection.reference)))
        missing = [e.name for e in inspection.layers if _lacks_twin(e)]
        if missing:
            rows.append(("layers without float twin", printable(", ".join(missing), 400)))
    rows += [(f"beside it: {form}", _named(other)) for form, other in inspection.others.items()]
    rows.append(("inputs", inspection.data or "none: outputs are not shown"))
    return Cells(("file", printable(model.path.name)), tuple(rows))


def _named(model: QuantizedModel) -> str:
    return f"{printable(model.path.name)}, SHA-256 {model.sha256}"


def _lacks_twin(entry: LayerInspection) -> bool:
    return any(report.float_values is None for report in entry.tensors.values())
