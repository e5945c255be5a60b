"""What ``bitbybit inspect`` adds: the report of a network, and the tensors of ``.pt`` files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.files import atomic_write_text, require_apart
from bitbybit.inspection.histograms import DEFAULT_BINS
from bitbybit.inspection.index import TensorEntry, TensorIndex, tensor_index
from bitbybit.text import printable


@dataclass(frozen=True)
class Report:
    """What is asked for beyond the structure of the file."""

    html: Path | None = None
    csv: Path | None = None
    against: Path | None = None
    inputs: Path | None = None
    beside: tuple[Path, ...] = ()
    bins: int = DEFAULT_BINS
    highlight: tuple[float, float] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        files = (self.html, self.csv, self.against, self.inputs, self.beside)
        return any(files) or self.bins != DEFAULT_BINS or self.highlight is not None


def write_report(model: Path, report: Report) -> dict[str, Any]:
    """Measure a network, write the files asked for, and return the numbers.

    Raises
    ------
    BitbybitError
        A file that cannot be read or written, a reference that is not float, unfit inputs, an
        output that is another file of the command.
    """
    from bitbybit.cli._inputs import read_inputs
    from bitbybit.inspection.record import csv_text, record
    from bitbybit.inspection.sheet import sheet
    from bitbybit.model.reader import load
    from bitbybit.notebook import examine
    from bitbybit.pictures.report import page

    outputs = [path for path in (report.html, report.csv) if path is not None]
    given = (model, report.against, report.inputs, *report.beside)
    require_apart(outputs, [path for path in given if path is not None])
    network = load(model)
    inputs, data = (None, "") if report.inputs is None else read_inputs(report.inputs, network)
    found = examine(
        network,
        report.against,
        inputs=inputs,
        data=data,
        beside=report.beside,
        bins=report.bins,
        highlight=report.highlight,
    )
    if report.html is not None:
        atomic_write_text(report.html, page(sheet(found)))
    if report.csv is not None:
        atomic_write_text(report.csv, csv_text(found))
    return record(found)


def index_of(path: Path) -> TensorIndex:
    """Return the tensor index of a file that is no ONNX network.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of an unknown kind; the index' own reason.
    """
    index = tensor_index(path)
    if index.format == "none":
        raise ModelError(index.reason)
    return index


def refuse_report(path: Path) -> UnsupportedError:
    """Return the error for a report of a file that holds tensors and no network."""
    return UnsupportedError(
        "a report needs a network, and this file holds only tensors",
        where=path,
        expected=".onnx",
        next_step="Leave out every option but --json.",
    )


def index_lines(index: TensorIndex) -> list[str]:
    """Return one line per tensor: name, dtype, shape, range of scales, zero points."""
    lines = [f"{index.path}: {index.format}, {'quantized' if index.is_quantized else 'float'}"]
    for layer in index.layers.values():
        for tensor in layer.tensors.values():
            shape = ",".join(map(str, tensor.shape))
            lines.append(f"  {tensor.name}  {tensor.stored.dtype}[{shape}]{_scales(tensor)}")
        if layer.output_scale is not None:
            lines.append(
                f"  {layer.name} output  scale {layer.output_scale}, "
                f"zero point {layer.output_zero_point}"
            )
    lines += [f"  {name}  not read: {reason}" for name, reason in index.unread.items()]
    return [printable(line) for line in lines]


def index_record(index: TensorIndex) -> dict[str, Any]:
    """Return the index as JSON: everything but the values, of which least and greatest."""
    return {
        "path": index.path.name,
        "format": index.format,
        "is_quantized": index.is_quantized,
        "layers": {
            layer.name: {
                "is_quantized": layer.is_quantized,
                "output_scale": layer.output_scale,
                "output_zero_point": layer.output_zero_point,
                "tensors": {role: _tensor(t) for role, t in layer.tensors.items()},
            }
            for layer in index.layers.values()
        },
        "unread": index.unread,
    }


def _tensor(tensor: TensorEntry) -> dict[str, Any]:
    from bitbybit.inspection.record import statistics_record
    from bitbybit.inspection.statistics import statistics

    scales, zeros = tensor.scale_values, tensor.zero_point_values
    return {
        "name": tensor.name,
        "dtype": str(tensor.stored.dtype),
        "shape": list(tensor.shape),
        "is_quantized": tensor.is_quantized,
        "axis": tensor.axis,
        "scale": _finite(tensor.scale),
        "zero_point": tensor.zero_point,
        "scale_values": None if scales is None else [_finite(v) for v in scales.tolist()],
        "zero_point_values": None if zeros is None else zeros.tolist(),
        **statistics_record(statistics(tensor.values)),
    }


def _finite(value: float | None) -> float | None:
    """Return a number as JSON knows it: NaN and infinities are null."""
    return value if value is not None and math.isfinite(value) else None


def _scales(tensor: TensorEntry) -> str:
    if tensor.scale_values is None or tensor.zero_point_values is None:
        return ""
    if tensor.scale is not None:
        return f"  scale {tensor.scale}, zero point {tensor.zero_point}"
    low, high = tensor.scale_values.min(), tensor.scale_values.max()
    return f"  {tensor.scale_values.size} scales {low} to {high} along axis {tensor.axis}"
