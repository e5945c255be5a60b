"""``bitbybit inspect``: what is in a model file, layer by layer."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitbybit.text import printable

if TYPE_CHECKING:
    from bitbybit.cli._report import Report
    from bitbybit.model.summary import Record

_COLUMNS = (
    "layer",
    "kind",
    "input",
    "output",
    "dtype",
    "scale",
    "scale (hex)",
    "zero",
    "weight scales",
    "MACs",
    "parameters",
    "weight B",
    "output B",
    "acc. bits",
)
_RIGHT = frozenset({"scale", "zero", "MACs", "parameters", "weight B", "output B", "acc. bits"})


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``inspect``."""
    add = parser.add_argument
    add(
        "model",
        type=Path,
        metavar="MODEL",
        help="an ONNX file, or a .pt file (its tensors are listed)",
    )
    add("--layer", default="", metavar="NAME", help="show everything of this layer")
    add(
        "--json",
        action="store_true",
        help="print JSON; with the options below, their numbers too",
    )
    add("--html", type=Path, metavar="FILE", help="write a page: weights, histograms, outputs")
    add("--csv", type=Path, metavar="FILE", help="write one line per tensor")
    add(
        "--against",
        type=Path,
        metavar="FILE",
        help="the float ONNX file that this one was made of",
    )
    add(
        "--beside",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="another form of the model; its weights are put beside; repeatable",
    )
    add(
        "--inputs",
        type=Path,
        metavar="FILE",
        help="an .npz file or an image; else bundled samples, where they fit",
    )
    add(
        "--bins",
        type=int,
        default=50,
        metavar="N",
        help="bins of each histogram, 10 to 200 (default: 50)",
    )
    add(
        "--highlight",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="mark this range of weights and biases; by default mean ± std",
    )


def main(arguments: Namespace) -> None:
    """Show the layers of a model: shapes, scales, zero points, costs, accumulator widths."""
    from bitbybit.cli._report import Report, write_report

    highlight = arguments.highlight
    report = Report(
        html=arguments.html,
        csv=arguments.csv,
        against=arguments.against,
        inputs=arguments.inputs,
        beside=tuple(arguments.beside),
        bins=arguments.bins,
        highlight=None if highlight is None else (highlight[0], highlight[1]),
    )
    model, layer = arguments.model, arguments.layer
    if model.suffix.lower() != ".onnx":
        _print_index(model, report, layer, as_json=arguments.json)
        return
    measured = write_report(model, report) if report.wanted else None
    record, lines = _read(model, layer)
    if arguments.json:
        shown = record if measured is None else {**record, "inspection": measured}
        print(json.dumps(shown, indent=1))
    else:
        print("\n".join(printable(line) for line in lines))


def _read(model: Path, layer: str) -> tuple[Record, list[str]]:
    """Return a model's or layer's record, and its lines."""
    from bitbybit.model.reader import load
    from bitbybit.model.summary import find_layer, layer_record, model_record

    network = load(model)
    if layer:
        record = layer_record(network, find_layer(network, layer))
        return record, layer_lines(record)
    record = model_record(network)
    return record, model_lines(record)


def _print_index(model: Path, report: Report, layer: str, *, as_json: bool) -> None:
    """List the tensors of a file that is no ONNX network."""
    from bitbybit.cli._report import index_lines, index_of, index_record, refuse_report

    index = index_of(model)
    if report.wanted or layer:
        raise refuse_report(model)
    print(json.dumps(index_record(index), indent=1) if as_json else "\n".join(index_lines(index)))


def model_lines(record: Record) -> list[str]:
    """Return the table of all layers, one line each, with the totals."""
    opsets = ", ".join(f"{domain} {version}" for domain, version in record["opsets"].items())
    rows = [_row(layer) for layer in record["layers"]]
    totals = record["totals"]
    lines = [
        f"{record['model']}  sha256 {record['sha256'][:12]}  form {record['form']}  opset {opsets}",
        "",
        *table(_COLUMNS, rows),
        "",
        (
            f"{totals['layers']} layers, {_number(totals['macs'])} MACs, "
            f"{_number(totals['weights'])} weights, {_number(totals['biases'])} biases, "
            f"{_number(totals['weight_bytes'])} bytes of weights and biases"
        ),
    ]
    if record["form"] == "float":
        lines.append("The file is float: bytes are those of its 8-bit twin.")
    lines += [
        f"Float island {layer['name']}: {layer['reason']}."
        for layer in record["layers"]
        if "reason" in layer
    ]
    return lines


def layer_lines(record: Record) -> list[str]:
    """Return everything of one layer: nodes, edges, parameters, costs, channels."""
    lines = [f"{record['name']}  ({record['kind']})"]
    if "reason" in record:
        lines.append(f"  float because: {record['reason']}")
    lines += [f"  node    {n['op_type']} {n['name']}" for n in record["nodes"]]
    for edge in record["inputs"]:
        lines += _tensor("input", edge)
    for part in ("weight", "bias"):
        if record.get(part):
            lines += _tensor(part, record[part])
    lines += _tensor("output", record["output"])
    lines += [f"  {key:<12} {_plain(value)}" for key, value in record["attributes"].items()]
    lines += [
        f"  {key.replace('_', ' '):<16} {_number(record[key])}"
        for key in ("macs", "weights", "biases", "weight_bytes", "activation_bytes")
    ]
    found = record["accumulator"]
    if found is not None:
        lines.append(
            f"  accumulator      {found['bits']} bits: {found['low']:,} to {found['high']:,} "
            f"(from the weights {found['weight_bits']}, from the types {found['type_bits']})"
        )
    return [*lines, *_channels(record)]


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table as aligned lines: a heading, a rule, the rows."""
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    lines = []
    for row in (columns, tuple("-" * w for w in widths), *rows):
        cells = [
            cell.rjust(w) if title in _RIGHT else cell.ljust(w)
            for title, cell, w in zip(columns, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(layer: Record) -> tuple[str, ...]:
    output, weight = layer["output"], layer.get("weight")
    y = output["quantization"]
    accumulator = layer["accumulator"]
    return (
        layer["name"],
        layer["kind"],
        " ".join(_shape(edge["shape"]) for edge in layer["inputs"]),
        _shape(output["shape"]),
        output["dtype"],
        "" if y is None else _range(y["scale"]),
        "" if y is None or y["axis"] is not None else y["scale_hex"],
        "" if y is None else _range(y["zero_point"]),
        "" if weight is None or weight["quantization"] is None else _granularity(weight),
        _number(layer["macs"]) if layer["macs"] else "",
        _number(layer["parameters"]) if layer["parameters"] else "",
        _number(layer["weight_bytes"]) if layer["weight_bytes"] else "",
        _number(layer["activation_bytes"]),
        "" if accumulator is None else str(accumulator["bits"]),
    )


def _granularity(weight: Record) -> str:
    scale = weight["quantization"]["scale"]
    if isinstance(scale, list):
        return f"{len(scale)}: {min(scale)} to {max(scale)}"
    return f"1: {scale}"


def _tensor(title: str, record: Record) -> list[str]:
    lines = [f"  {title:<7} {record['name']}  {record['dtype']}{_shape(record['shape'])}"]
    if "min" in record:
        lines[0] += f"  values {record['min']} to {record['max']}"
    q = record["quantization"]
    if q is None:
        return lines
    names = "  ".join(n for n in (q["scale_name"], q["zero_point_name"]) if n)
    count = len(q["scale"]) if isinstance(q["scale"], list) else 1
    shown = f"scale {_range(q['scale'])}"
    if count == 1:
        shown += f" = {q['scale_hex']}"
    else:
        shown = f"{count} scales {_range(q['scale'])} along axis {q['axis']}"
    lines.append(f"          {shown}, zero point {_range(q['zero_point'])}")
    if names:
        lines.append(f"          {names}")
    return lines


def _channels(record: Record) -> list[str]:
    """Return one line per channel of a per-channel weight."""
    weight = record.get("weight")
    if weight is None or weight["quantization"] is None:
        return []
    q = weight["quantization"]
    if not isinstance(q["scale"], list):
        return []
    rows: list[tuple[str, ...]] = [
        (str(i), str(scale), code, str(zero))
        for i, (scale, code, zero) in enumerate(
            zip(q["scale"], q["scale_hex"], q["zero_point"], strict=True)
        )
    ]
    return ["", *table(("channel", "scale", "scale (hex)", "zero"), rows)]


def _range(values: Any) -> str:
    """Return one number, or the smallest and the largest of several."""
    if not isinstance(values, list):
        return str(values)
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _shape(dims: list[int | None]) -> str:
    return f"[{','.join('N' if d is None else str(d) for d in dims)}]"


def _number(value: int | None) -> str:
    return "open" if value is None else f"{value:,}"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
