"""``bitbybit requantizers``: which ways to requantize equal the contract, for one model."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bitbybit.terminal import positive_int

SCHEMA_VERSION = 1
SUMS = ("reachable", "unsaturated", "differing", "channels")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``requantizers``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="an ONNX file")
    what = "one rounding with a multiplier of so many bits, 1 to 31, too; repeatable"
    add("--bits", type=positive_int, action="append", default=[], metavar="N", help=what)
    shift = "one rounding with one shift for all channels of a layer, too; repeatable"
    add("--one-shift", type=positive_int, action="append", default=[], metavar="N", help=shift)
    add("--json", action="store_true", help="print JSON, layer by layer")


def main(arguments: Namespace) -> None:
    """Compare ways to requantize with the contract, over all accumulators that layers can reach.

    For each scheme: the reachable accumulators whose code differs from ONNX Runtime's, in how many
    channels, the largest difference, and whether an accumulator meets integers only. Formula and
    source of each are in the JSON, and in the book's chapter on requantization. No image is
    needed: a scheme without differences is right for every input.
    """
    # Imported here: --help needs neither NumPy nor onnx.
    from bitbybit.arithmetic.requantizers import REQUANTIZERS, single_rounding
    from bitbybit.hardware import differences
    from bitbybit.inspection.columns import Column, as_text
    from bitbybit.model.load import load

    more = [single_rounding(bits) for bits in arguments.bits]
    more += [single_rounding(bits, one_shift=True) for bits in arguments.one_shift]
    schemes = dict(REQUANTIZERS) | {scheme.name: scheme for scheme in more}
    model = load(arguments.model)
    found = differences(model, schemes.values())
    rows: list[dict[str, Any]] = []
    for name, scheme in schemes.items():
        layers = [each for each in found if each.scheme == name]
        row = {key: getattr(scheme, key) for key in ("name", "formula", "source", "integers")}
        row |= {key: sum(getattr(each, key) for each in layers) for key in SUMS}
        row |= {"largest": max(each.largest for each in layers)}
        rows.append(row | {"layers": [asdict(each) for each in layers]})
    if arguments.json:
        head = {"schema_version": SCHEMA_VERSION, "model": model.path.name, "sha256": model.sha256}
        print(json.dumps(head | {"schemes": rows}, indent=1))
        return
    one = rows[0]
    counted = "1 layer" if len(one["layers"]) == 1 else f"{len(one['layers'])} layers"
    print(f"{one['reachable']:,} accumulators can be reached in {counted},")
    print(f"{one['unsaturated']:,} of them get a code between the rails.\n")
    columns: tuple[Column[dict[str, Any]], ...] = (
        Column("name", "scheme", lambda row: row["name"]),
        Column("integers", "integers only", lambda row: "yes" if row["integers"] else "no"),
        Column("differing", "accumulators that differ", lambda row: row["differing"]),
        Column("channels", "channels", lambda row: row["channels"]),
        Column("largest", "largest", lambda row: row["largest"]),
    )
    print("\n".join(as_text(columns, rows)))
