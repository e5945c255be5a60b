"""``bitbybit accumulators``: how wide must a register be, and who can check it."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitbybit.terminal import positive_int
from bitbybit.text import printable

if TYPE_CHECKING:
    from bitbybit.execution.feed import Input
    from bitbybit.hardware import Run, Width
    from bitbybit.model.types import QuantizedModel


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of ``accumulators``."""
    add = parser.add_argument
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    add("model", type=Path, metavar="MODEL", help="an ONNX file with quantized layers")
    add("--images", type=positive_int, metavar="N", help="observe so many images too")
    add("--inputs", **file, help="observe these graph inputs too (.npz)")
    add("--json", action="store_true", help="print the certificate")
    add("--certificate", **file, help="write the certificate")
    add("--check", **file, help="check this certificate against the model, and nothing else")


def main(arguments: Namespace) -> int:
    """Bound each layer's accumulator by its types, by its weights, and exactly.

    With images or inputs, what they reach stands beside. Each end of the exact interval is attained
    by a witness, an input of the layer, which the engine and ONNX Runtime run.

    Exit status: 0 every witness attains its end, or the certificate holds; 1 one does not; 2 no
    layer sums integers, or the certificate is none, was changed or is of another model.
    """
    # Before NumPy is loaded: its small products are slower on several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bitbybit.files import atomic_write_json, require_apart
    from bitbybit.hardware import certificate, run_witnesses, widths
    from bitbybit.model.load import load

    a = arguments
    if a.check is not None:
        return _check(a)
    if a.certificate is not None:
        require_apart([a.certificate], [a.model, *([a.inputs] if a.inputs else [])])
    network = load(a.model)
    inputs, words = _inputs(network, a)
    found = widths(network, inputs)
    runs = list(run_witnesses(network, found))
    record = certificate(network, found, words)
    if a.json:
        print(json.dumps(record, indent=1))
    else:
        print("\n".join(map(printable, _lines(network, found, runs, words))))
    if a.certificate is not None:
        atomic_write_json(a.certificate, record)
        if not a.json:
            print(printable(f"wrote {a.certificate} ({a.certificate.stat().st_size:,} bytes)"))
    return int(not all(run.attained for run in runs))


def _check(arguments: Namespace) -> int:
    from bitbybit.errors import DataError
    from bitbybit.hardware import check_certificate, read_certificate
    from bitbybit.model.load import load

    a = arguments
    if a.images or a.inputs or a.json or a.certificate:
        raise DataError(
            "a check takes the certificate and the model, and no other option",
            where="--check",
            next_step="Leave the other options out.",
        )
    record = read_certificate(a.check)
    faults = check_certificate(record, load(a.model))
    holds = faults or [f"PASS: {len(record['layers'])} layers, every number holds."]
    print("\n".join(map(printable, holds)))
    return int(bool(faults))


def _inputs(network: QuantizedModel, arguments: Namespace) -> tuple[Input | None, str]:
    """Return the inputs to observe, and what they are in words."""
    from bitbybit.execution import feed
    from bitbybit.resnet8.examples import default_images

    count = arguments.images
    if arguments.inputs is not None:
        arrays = feed.read_npz(arguments.inputs)
        if count is not None:
            arrays = {name: values[:count] for name, values in arrays.items()}
        return arrays, f"the inputs of {arguments.inputs.name}"
    if count is None:
        return None, ""
    images, words = default_images(network, count)
    if images is None:
        return feed.stimuli(network, count), f"{count} seeded stimuli"
    return images, f"{count} {words}"


def _lines(
    network: QuantizedModel, found: Sequence[Width], runs: Sequence[Run], words: str
) -> Iterator[str]:
    from bitbybit.inspection.columns import Column, as_text

    columns: list[Column[Width]] = [
        Column("layer", "layer", "layer.name"),
        Column("kind", "kind", "layer.kind"),
        Column("products", "products", "bounds.terms"),
        Column("types", "by types", lambda w: w.bits["types"]),
        Column("weights", "by weights", lambda w: w.bits["weights"]),
        Column("exact", "exact", lambda w: w.bits["exact"]),
        Column("observed", "observed", lambda w: w.bits["observed"]),
        Column("low", "smallest sum", lambda w: w.bounds.over_all_channels.low),
        Column("high", "largest sum", lambda w: w.bounds.over_all_channels.high),
    ]
    if not words:
        columns = [column for column in columns if column.key != "observed"]
    yield f"{network.path.name}  sha256 {network.sha256[:12]}"
    yield from ("", "Signed bits of each accumulator, over all its channels:", "")
    yield from as_text(columns, found)
    yield ""
    yield from _sentences(network, found, runs, words)


def _sentences(
    network: QuantizedModel, found: Sequence[Width], runs: Sequence[Run], words: str
) -> Iterator[str]:
    """Say how wide one register for all layers must be, and what was run."""
    from bitbybit.execution.runtime import platform_problem

    widest = {key: max(width.bits[key] or 0 for width in found) for key in found[0].bits}
    exact, problem = widest["exact"], platform_problem(network)
    yield f"A register of {exact} bits serves all layers: no sum of any input leaves it, nor does a"
    yield "partial sum that begins with the bias, in whatever order. By the types alone it would"
    yield f"have {widest['types']} bits."
    if words:
        yield f"{words[:1].upper()}{words[1:]} reach {widest['observed']} bits;"
        yield f"fewer than {exact} are right for some inputs only."
    for width in found:
        if missing := max(width.low.padded, width.high.padded):
            yield f"{width.layer.name}: every window lies on padding, with up to {missing} of its"
            yield f"{width.bounds.terms} taps; its sums go from {width.low.value:,} to "
            yield f"{width.high.value:,}."
    failed = [run for run in runs if not run.attained]
    yield from map(str, failed)
    if not failed:
        who = "the engine" if problem else "the engine and ONNX Runtime"
        yield f"{len(runs)} witnesses attain the ends of the exact intervals in {who}."
    if problem:
        yield f"ONNX Runtime was not asked: {problem}."
