"""``bitbybit dataflow``: buffers, tiles, cycles and bytes on an array of multipliers."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SCHEMA_VERSION = 1
SIDES = (16, 16)
"""Rows and columns of the array, unless others are asked for."""

MAPPED = {
    "taps": "K",
    "channels": "M/G",
    "groups": "G",
    "pixels": "pixels",
    "row_tiles": "row tiles",
    "tiles": "tiles",
    "macs": "MACs",
    "occupancy": "share held",
    "cycles": "cycles",
    "utilization": "share used",
    "weight_bytes": "weight bytes",
    "input_bytes": "input bytes",
    "sum_bytes": "partial-sum bytes",
    "output_bytes": "output bytes",
    "bytes_moved": "bytes moved",
}
"""What is told of a layer on an array, and its heading; shares are in per cent."""

TEXT = "name kind makes live_bytes taps channels groups pixels tiles held used cycles"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``dataflow``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="an ONNX file")
    what = "the array (default: 16x16): rows for the products of a sum, columns for channels"
    add("--array", type=_sides, default=SIDES, metavar="ROWSxCOLUMNS", help=what)
    add("--json", action="store_true", help="print JSON, with the bytes that move")


def _sides(text: str) -> tuple[int, int]:
    """Return the sides of an array, written like 16x16."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise ArgumentTypeError(f"expected rows and columns like 16x16, found {text!r}")
    return int(parts[0]), int(parts[1])


def main(arguments: Namespace) -> None:
    """Show what each layer needs of memory and of an array of multipliers, for one image.

    Layers run in graph order; live bytes are all tensors that are kept while a layer runs. The
    array holds weights: a layer of K products and M/G channels in each of its G groups takes
    ceil(K / rows) times ceil(M/G / columns) tiles for each group. Cycles are those in which a
    tile's weights enter row by row, and those in which one pixel after the other passes it.
    Held is the share of multipliers with a weight, used the share of what all cycles could do.
    Nothing of the model is run.
    """
    # Imported here: --help needs neither NumPy nor onnx.
    from bitbybit.hardware import Array, live_bytes, mapping
    from bitbybit.inspection.columns import Column, as_json, as_text, pick
    from bitbybit.inspection.report import shape_text
    from bitbybit.model.costs import costs
    from bitbybit.model.load import load

    network, array = load(arguments.model), Array(*arguments.array)
    columns: tuple[Column[SimpleNamespace], ...] = (
        Column("name", "layer", "cost.name"),
        Column("kind", "kind", "cost.kind"),
        Column("output_shape", "makes", "cost.output_shape"),
        Column("makes", "makes", lambda step: shape_text(step.cost.output_shape)),
        Column("activation_bytes", "output bytes", "cost.activation_bytes"),
        Column("live_bytes", "live bytes", "live"),
        *(Column(key, title, f"on.{key}") for key, title in MAPPED.items()),
        Column("held", "held", lambda step: _percent(step.on and step.on.occupancy)),
        Column("used", "used", lambda step: _percent(step.on and step.on.utilization)),
    )
    steps = [
        SimpleNamespace(cost=cost, live=live, on=mapping(network, layer, array))
        for layer, cost, live in zip(
            network.layers, costs(network), live_bytes(network), strict=True
        )
    ]
    if arguments.json:
        chosen = pick(
            columns, f"name kind output_shape activation_bytes live_bytes {' '.join(MAPPED)}"
        )
        layers = [as_json(chosen, step) for step in steps]
        head = {"schema_version": SCHEMA_VERSION, "model": network.path.name}
        head |= {"sha256": network.sha256, "array": arguments.array}
        print(json.dumps(head | {"layers": layers}, indent=1, allow_nan=False))
        return
    print("\n".join(as_text(pick(columns, TEXT), steps)))
    print()
    print("\n".join(_totals(steps, array)))
    if network.form == "float":
        print("The file is float: bytes are those of its 8-bit twin.")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _totals(steps: list[SimpleNamespace], array: Any) -> list[str]:
    """Say how much memory the network needs, and how long and how well the array works."""
    known = [step for step in steps if step.live is not None]
    peak = max(known, key=lambda step: step.live, default=None)
    lines = [f"Weights and biases: {sum(step.cost.weight_bytes for step in steps):,} bytes."]
    if peak is not None:
        most = f"{peak.live:,} bytes live while {peak.cost.name} runs"
        lines.append(f"Activations: {most}, the most of all layers.")
    on = [step.on for step in steps if step.on is not None]
    if on:
        cycles, macs = (sum(getattr(each, key) for each in on) for key in ("cycles", "macs"))
        used = _percent(macs / (cycles * array.rows * array.columns))
        sides = f"{array.rows} x {array.columns}"
        moved = f"{sum(each.bytes_moved for each in on):,} bytes moved"
        lines.append(f"Array of {sides}: {cycles:,} cycles, {used} used, {moved}.")
        lines.append(
            f"{len(steps) - len(on)} layers are not counted: no weights, or an open shape."
        )
    return lines
