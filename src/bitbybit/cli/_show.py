"""What ``bitbybit inspect`` reads, prints and writes."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.digits import hex_float
from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.execution.feed import read_npz, wrong
from bitbybit.files import atomic_write_text, require_apart
from bitbybit.inspection.columns import Column, as_text, pick
from bitbybit.inspection.index import TensorEntry, TensorIndex, index_record, tensor_index
from bitbybit.inspection.inspected import Inspection, LayerInspection, ParameterRow, examine
from bitbybit.inspection.report import (
    LAYERS,
    attributes,
    csv_text,
    layer_record,
    model_record,
    range_text,
    record,
    shape_text,
    totals,
)
from bitbybit.inspection.weights import constant
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from bitbybit.text import printable

WIDE = (
    "name kind reads makes dtype scale scale_hex zero weight_scales macs parameters weight_bytes "
    "activation_bytes bits"
)
NARROW = "name kind makes dtype scale zero macs parameters bits"
"""Columns of the table of layers; the narrow ones where the terminal has no room for all."""


def show_network(arguments: Namespace, *, measures: bool) -> None:
    """Show a network; ``measures``: with more than the structure of the file."""
    network = load(arguments.model)
    found = _measured(network, arguments) if measures else None
    layer = Inspection(network).layer(arguments.layer) if arguments.layer else None
    if arguments.json:
        shown = model_record(network) if layer is None else layer_record(layer)
        _print_json(shown if found is None else {**shown, "inspection": record(found)})
        return
    written = [path for path in (arguments.html, arguments.csv) if path is not None]
    if layer is not None or not written:
        print("\n".join(network_lines(network) if layer is None else layer_lines(layer)))
    for path in written:
        print(printable(f"wrote {path} ({path.stat().st_size:,} bytes)"))


def _measured(network: QuantizedModel, arguments: Namespace) -> Inspection:
    """Inspect a network and write the files asked for."""
    outputs = [path for path in (arguments.html, arguments.csv) if path is not None]
    given = (arguments.model, arguments.against, arguments.inputs, *arguments.beside)
    require_apart(outputs, [path for path in given if path is not None])
    for path in outputs:
        if not path.parent.exists():
            next_step = "Make the folder, or name a file in one that exists."
            raise wrong(path.parent, "there is no such folder to write into", next_step)
    read = arguments.inputs is not None
    inputs, data = read_inputs(arguments.inputs, network) if read else (None, "")
    found = examine(
        network,
        arguments.against,
        inputs=inputs,
        data=data,
        beside=arguments.beside,
        bins=arguments.bins,
        highlight=arguments.highlight and tuple(arguments.highlight),
        run=arguments.run,
    )
    if arguments.html is not None:
        from bitbybit.pictures.inspection_page import page

        atomic_write_text(arguments.html, page(found))
    if arguments.csv is not None:
        atomic_write_text(arguments.csv, csv_text(found))
    return found


def read_inputs(path: Path, model: QuantizedModel) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the inputs by name, from an ``.npz`` file or one image, and what they are in words.

    Raises
    ------
    DataError
        No such file, not an ``.npz`` file or image, another image size.
    """
    if path.suffix.lower() != ".npz":
        return {model.inputs[0]: _image(path, model)}, f"The image {path.name}, RGB 0..255."
    arrays = read_npz(path)
    if len(arrays) == len(model.inputs) == 1:  # whatever its name: numpy.savez calls it arr_0
        arrays = {model.inputs[0]: next(iter(arrays.values()))}
    return arrays, f"The arrays of {path.name}."


def _image(path: Path, model: QuantizedModel) -> NDArray[np.float32]:
    from PIL import Image

    shape = model.edges[model.inputs[0]].shape
    channels_last = shape[-1:] == (3,)
    size = shape[1:3] if channels_last else shape[2:]
    if len(model.inputs) > 1 or len(shape) != 4 or not (channels_last or shape[1] == 3):
        what = "the network does not take an RGB image"
        next_step = "Give its inputs by name in an .npz file."
        raise wrong(path, what, next_step, "[N, 3, H, W] or [N, H, W, 3]", list(shape))
    try:
        with Image.open(path) as image:
            found = (image.height, image.width)
            if any(want not in (None, got) for want, got in zip(size, found, strict=True)):
                what = "the image has another size than the network takes; nothing is scaled"
                expected, given = (f"{height} x {width}" for height, width in (size, found))
                raise wrong(path, what, "Scale or crop it first.", expected, given)
            pixels = np.asarray(image.convert("RGB"), np.float32)
    except (Image.DecompressionBombError, OSError):
        next_step = "Give a PNG or JPEG file, or an .npz file."
        raise wrong(path, "the image cannot be read", next_step) from None
    return (pixels if channels_last else pixels.transpose(2, 0, 1))[None]


def show_tensors(arguments: Namespace, *, measures: bool) -> None:
    """List the tensors of a file that holds no network."""
    index = tensor_index(arguments.model)
    if index.format == "none":
        raise ModelError(index.reason, where="", next_step=None)  # the reason says all of it
    if measures or arguments.layer:
        raise UnsupportedError(
            "a report needs a network, and this file holds only tensors",
            where=arguments.model,
            expected=".onnx",
            next_step="Leave out every option but --json.",
        )
    if arguments.json:
        _print_json(index_record(index))
    else:
        print("\n".join(map(printable, index_lines(index))))


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, indent=1, allow_nan=False))


def network_lines(network: QuantizedModel) -> list[str]:
    """Return the table of all layers with the totals, as narrow as the terminal asks for."""
    layers = Inspection(network).layers
    table = as_text(pick(LAYERS, WIDE), layers)
    room = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and max(map(len, table)) > room:
        table = as_text(pick(LAYERS, NARROW), layers)
    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in network.opsets.items())
    sums = {key: _number(value) for key, value in totals(layers).items()}
    held = "{weights} weights, {biases} biases, {weight_bytes} bytes of weights and biases"
    lines = [
        f"{network.path.name}  sha256 {network.sha256[:12]}  form {network.form}  opset {opsets}",
        "",
        *table,
        "",
        f"{sums['layers']} layers, {sums['macs']} MACs, " + held.format(**sums),
    ]
    if network.form == "float":
        lines.append("The file is float: bytes are those of its 8-bit twin.")
    reasons = ((layer.name, getattr(layer, "reason", "")) for layer in network.layers)
    lines += [f"Float island {name}: {reason}." for name, reason in reasons if reason]
    return [printable(line) for line in lines]


def layer_lines(layer: LayerInspection) -> list[str]:
    """Return everything of one layer: nodes, tensors, attributes, costs, channels."""
    lines = [f"{layer.layer.name}  ({layer.layer.kind})"]
    if reason := getattr(layer.layer, "reason", ""):
        lines.append(f"  float because: {reason}")
    lines += [f"  node    {operator} {name}" for operator, name in layer.layer.nodes]
    for row in layer.parameters:
        lines += _tensor_lines(row)
    for name, value in attributes(layer.layer).items():
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        lines.append(f"  {name:<16} {shown}")
    for key in ("macs", "weights", "biases", "weight_bytes", "activation_bytes"):
        lines.append(f"  {key.replace('_', ' '):<16} {_number(getattr(layer.cost, key))}")
    found = layer.cost.accumulator
    if found is not None:
        lines.append(
            f"  accumulator      {found.bits} bits: {found.low:,} to {found.high:,} "
            f"(from the weights {found.weight_bits}, from the types {found.type_bits})"
        )
    return [printable(line) for line in (*lines, *_channel_lines(layer))]


def _tensor_lines(row: ParameterRow) -> Iterator[str]:
    values, p = getattr(row.of, "values", None), row.params
    held = "" if values is None else f"  values {range_text(values)}"
    yield f"  {row.role:<7} {row.of.name}  {row.dtype}{shape_text(row.shape)}{held}"
    if p is None:
        return
    scales = f"scale {range_text(p.scale)} = {hex_float(p.scale)}"
    if p.per_channel:
        scales = f"{p.scale.size} scales {range_text(p.scale)} along axis {p.axis}"
    yield f"          {scales}, zero point {range_text(p.zero_point)}"
    if names := [name for name in (p.scale_name, p.zero_point_name) if name]:
        yield f"          {'  '.join(names)}"


def _channel_lines(layer: LayerInspection) -> list[str]:
    """Return one line per channel of a per-channel weight."""
    weight = constant(layer.layer, "weight")
    if weight is None or weight.params is None or not weight.params.per_channel:
        return []
    scales, zeros = weight.params.scale, weight.params.zero_point
    columns: list[Column[int]] = [
        Column("channel", "channel", int),
        Column("scale", "scale", lambda i: scales[i]),
        Column("scale_hex", "scale (hex)", lambda i: hex_float(scales[i])),
        Column("zero_point", "zero", lambda i: zeros[i]),
    ]
    return ["", *as_text(columns, range(scales.size))]


def index_lines(index: TensorIndex) -> list[str]:
    """Return one line per tensor: name, dtype, shape, range of scales, zero points."""
    lines = [f"{index.path}: {index.format}, {'quantized' if index.is_quantized else 'float'}"]
    for layer in index.layers.values():
        for tensor in layer.tensors.values():
            shape = ",".join(map(str, tensor.shape))
            lines.append(f"  {tensor.name}  {tensor.stored.dtype}[{shape}]{_scales(tensor)}")
        if layer.output_scale is not None:
            scale = f"scale {layer.output_scale}, zero point {layer.output_zero_point}"
            lines.append(f"  {layer.name} output  {scale}")
    return lines + [f"  {name}  not read: {reason}" for name, reason in index.unread.items()]


def _scales(tensor: TensorEntry) -> str:
    if tensor.scale_values is None:
        return ""
    if tensor.axis is None:
        return f"  scale {tensor.scale}, zero point {tensor.zero_point}"
    scales = range_text(tensor.scale_values)
    return f"  {tensor.scale_values.size} scales {scales} along axis {tensor.axis}"


def _number(value: int | None) -> str:
    return "open" if value is None else f"{value:,}"
