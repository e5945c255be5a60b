"""What a verification found, as data, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitbybit.cpu import cpu_features, machine
from bitbybit.digits import hex_float, shortest
from bitbybit.execution.compare import LayerResult
from bitbybit.execution.layers import describe
from bitbybit.execution.runtime import DefaultSession
from bitbybit.model.costs import cost
from bitbybit.model.types import Conv, Dense, FloatIsland, Layer, QuantizedModel, QuantParams

DEFINITION = "the operator's definition"
RUNTIME = "ONNX Runtime, layer alone"
ACCUMULATOR = "ONNX Runtime, integer sums"
WHOLE = "ONNX Runtime, whole file"
EXPECTED = "the expected outputs"
EXHAUSTIVE = "ONNX Runtime, all inputs"
AUTHORITIES = (DEFINITION, RUNTIME, ACCUMULATOR, WHOLE, EXPECTED, EXHAUSTIVE)
"""What the engine is compared with, in the order of the printed columns."""

COMMITTED_WITH = "1.31.1"
"""The version of ONNX Runtime that made the committed goldens."""


@dataclass(frozen=True)
class Check:
    """One tensor, compared with one authority.

    Attributes
    ----------
    layer : canonical name of the layer, or of the graph output
    kind : kind of the layer, or "output"
    authority : what the engine was compared with
    result : the comparison: ``expected`` is the authority's value, ``found`` the engine's
    """

    layer: str
    kind: str
    authority: str
    result: LayerResult


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What :func:`bitbybit.verify` found.

    Attributes
    ----------
    model : the network
    inputs : what was computed, in words
    kind : the kind of layer that was checked, "" for all of the network
    images : how many were computed
    checks : every comparison, in graph order, definition before runtime
    elements_of : layer → elements of its output, for all images; float islands too
    sums_of : layer → smallest and largest accumulator that was seen
    default_session : what a session with default options does instead, None if not asked for
    platform_problem : why ONNX Runtime need not be exact on this CPU, "" where it must be
    runtime_version : the version of ONNX Runtime that was asked
    notes : what could not be checked, and why
    """

    model: QuantizedModel
    inputs: str = ""
    kind: str = ""
    images: int = 0
    checks: tuple[Check, ...] = ()
    elements_of: Mapping[str, int] = field(default_factory=dict)
    sums_of: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    default_session: DefaultSession | None = None
    platform_problem: str = ""
    runtime_version: str = ""
    notes: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(check.result.elements for check in self.checks)

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return sum(check.result.mismatches for check in self.checks)

    @property
    def first(self) -> Check | None:
        """The first comparison, in graph order, that found a difference."""
        return next((check for check in self.checks if check.result.first is not None), None)

    @property
    def islands(self) -> tuple[FloatIsland, ...]:
        """Layers outside the contract: ONNX Runtime runs them."""
        return tuple(layer for layer in self.model.layers if isinstance(layer, FloatIsland))

    @property
    def exit_status(self) -> int:
        """0: all equal, all integer; 1: a mismatch; 3: equal, but with float islands."""
        if self.mismatches:
            return 1
        return 3 if self.islands and not self.kind else 0

    def compared_with(self, authority: str) -> tuple[Share, Share]:
        """Return the shares of multiply-accumulates and of elements compared with an authority.

        A share counts what integer layers make, of what all layers make, for one image.
        """
        found = {check.layer for check in self.checks if check.authority == authority}
        layers = self.model.layers
        chosen = {x.name for x in layers if x.name in found and not isinstance(x, FloatIsland)}
        macs = {layer.name: cost(self.model, layer).macs for layer in layers}
        return _share(macs, chosen), _share(self.elements_of, chosen)


@dataclass(frozen=True)
class Share:
    """A part of a whole; None where the file leaves open how much it is."""

    part: int | None
    whole: int | None

    def __str__(self) -> str:
        if self.part is None or not self.whole:
            return "open" if self.whole is None else "-"
        # Never rounded up to all, nor down to nothing.
        percent = 100 * self.part / self.whole
        shown = min(max(percent, 0.1), 99.9) if 0 < self.part < self.whole else percent
        return f"{shown:.1f} %" if 0 < self.part < self.whole else f"{shown:.0f} %"


def _share(amounts: Mapping[str, int | None], chosen: Iterable[str]) -> Share:
    def total(names: Iterable[str]) -> int | None:
        known = [amount for name in names if (amount := amounts.get(name, 0)) is not None]
        return sum(known) if len(known) == len(list(names)) else None

    return Share(total(list(chosen)), total(list(amounts)))


def as_lines(report: Verification) -> list[str]:
    """Return a verification as lines of text, the verdict last."""
    model = report.model
    title = f"{model.path.name} ({model.sha256[:12]}, {model.form})"
    lines = [f"{title}, {report.images} images: {report.inputs}", ""]
    if report.kind:
        lines += [line for layer in model.layers for line in _parameters(report, layer)]
    lines += [*_table(report), "", *_default_lines(report)]
    lines += [f"not checked: {note}" for note in report.notes]
    if not report.kind:
        lines += [f"outside the contract: {i.name}: {i.reason}" for i in report.islands]
    if report.runtime_version not in ("", COMMITTED_WITH):
        lines.append(
            f"This is ONNX Runtime {report.runtime_version}; "
            f"the committed goldens were made with {COMMITTED_WITH}."
        )
    if report.platform_problem:
        lines.append(f"not the contract platform: {report.platform_problem}")
    return [*lines, *_verdict(report)]


def _table(report: Verification) -> list[str]:
    """Return one row per layer and one column per authority, and what share they cover."""
    found = {check.authority for check in report.checks}
    authorities = [name for name in AUTHORITIES if name in found]
    rows: dict[tuple[str, str], dict[str, LayerResult]] = {}
    for check in report.checks:
        rows.setdefault((check.layer, check.kind), {})[check.authority] = check.result
    numbers = [f"[{number}]" for number, _ in enumerate(authorities, 1)]
    lines = ["Elements that differ from"]
    lines += [f"  {number} {name}" for number, name in zip(numbers, authorities, strict=True)]
    lines += ["", _row("layer", "kind", "compared", numbers)]
    for (layer, kind), results in rows.items():
        compared = f"{sum(result.elements for result in results.values()):,}"
        counts = [f"{results[a].mismatches:,}" if a in results else "" for a in authorities]
        lines.append(_row(layer, kind, compared, counts))
    on_outputs = (WHOLE, EXPECTED)
    shares = [None if a in on_outputs else report.compared_with(a) for a in authorities]
    if any(shares) and not report.kind:
        macs, elements = (
            [str(share[place]) if share else "" for share in shares] for place in (0, 1)
        )
        whole = next(share for share in shares if share)
        lines += ["", "Integer and compared, of what all layers make:"]
        amounts = ["open" if s.whole is None else f"{s.whole:,}" for s in whole]
        lines.append(_row("multiply-accumulates", "per image", amounts[0], macs))
        lines.append(_row("elements", "all images", amounts[1], elements))
    return lines


def _row(layer: str, kind: str, compared: str, counts: list[str]) -> str:
    cells = [f"{layer:<20}", f"{kind:<12}", f"{compared:>13}", *(f"{c:>9}" for c in counts)]
    return " ".join(cells).rstrip()


def _default_lines(report: Verification) -> list[str]:
    """Say what a session with default options does otherwise, if anything."""
    default = report.default_session
    if default is None:
        return []
    lines = []
    if default.float_nodes:
        names = ", ".join(f"{name} ({op})" for op, name in default.float_nodes)
        count, islands = default.all_float_nodes, default.all_float_nodes - len(default.float_nodes)
        nodes = "1 node" if count == 1 else f"{count} nodes"
        beside = (
            f", {islands} of them in the layers outside the contract; the others" if islands else ""
        )
        lines.append(f"A session with default options computes {nodes} in float{beside}: {names}.")
    different = [
        f"{r.mismatches:,} of {r.elements:,} elements of {r.name}" for r in default.outputs
    ]
    if default.different or default.float_nodes:
        lines.append(
            "Outputs of a session with default options that differ from the engine's: "
            f"{'; '.join(different)}."
        )
    return lines


def _verdict(report: Verification) -> list[str]:
    total = f"{report.elements:,} elements"
    check = report.first
    if check is not None and check.result.first is not None:
        first = check.result.first
        place = f"[{', '.join(map(str, first.index))}]" if first.index else ""
        accumulator = "" if first.accumulator is None else f", accumulator {first.accumulator}"
        expected = f"expected {first.expected} ({check.authority})"
        lines = [
            f"FAIL: {report.mismatches:,} of {total} differ",
            f"first: {check.layer}{place}: {expected}, found {first.found}{accumulator}",
        ]
        if all(c.authority == WHOLE for c in report.checks if c.result.mismatches):
            lines.append(
                "Each layer alone is equal, so ONNX Runtime optimizes the whole to something else, "
                "or the layers were connected wrongly."
            )
        return lines
    if report.exit_status == 3:
        count = len(report.islands)
        noun = "1 layer lies" if count == 1 else f"{count} layers lie"
        return [f"EQUAL: {total}, 0 mismatches; {noun} outside the contract"]
    return [f"PASS: {total}, 0 mismatches"]


def _parameters(report: Verification, layer: Layer) -> list[str]:
    """Return the quantization parameters and shapes of a layer that was checked."""
    if layer.kind != report.kind or layer.name not in report.elements_of:
        return []
    x, y = report.model.edges[layer.inputs[0]], report.model.edges[layer.name]
    tensors = [("x", x.shape, x.params), ("y", y.shape, y.params)]
    if isinstance(layer, (Conv, Dense)):
        tensors.insert(1, ("w", layer.weight.values.shape, layer.weight.params))
        if layer.bias is not None:
            tensors.insert(2, ("b", layer.bias.values.shape, None))
    lines, shapes = [describe(layer)], []
    for name, shape, params in tensors:
        shapes.append(f"{name} [{', '.join('N' if d is None else str(d) for d in shape)}]")
        if params is not None:
            lines.append(f"  {name}_scale       {_scales(params)}")
            lines.append(f"  {name}_zero_point  {_zeros(params)} ({params.dtype})")
    lines.append(f"  shapes         {', '.join(shapes)}")
    if layer.name in report.sums_of:
        lines.append("  accumulators   {:,} to {:,}".format(*report.sums_of[layer.name]))
    results = [check.result for check in report.checks if check.layer == layer.name]
    verdict = "FAIL" if any(result.mismatches for result in results) else "PASS"
    largest = max((result.largest_difference for result in results), default=0.0)
    return [*lines, f"  {verdict}, maximum difference {largest:g}", ""]


def _scales(p: QuantParams) -> str:
    values = np.asarray(p.scale).reshape(-1)
    if values.size == 1:
        return f"{shortest(values[0])} ({hex_float(values[0])})"
    if not values.size:
        return "none"
    low, high, mean = (shortest(v) for v in (values.min(), values.max(), values.mean()))
    return f"{values.size} per channel: {low} to {high}, mean {mean}"


def _zeros(p: QuantParams) -> str:
    values = np.unique(p.zero_point)
    return (
        " to ".join(str(value) for value in dict.fromkeys(values[[0, -1]])) if len(values) else ""
    )


def as_dict(report: Verification) -> dict[str, Any]:
    """Return a verification as plain data for JSON; infinite SQNR is None."""
    model, default, first = report.model, report.default_session, report.first
    return {
        "model": {"file": model.path.name, "sha256": model.sha256, "form": model.form},
        "inputs": {"what": report.inputs, "images": report.images},
        "platform": {
            "architecture": machine(),
            "features": sorted(cpu_features()),
            "onnxruntime": report.runtime_version or None,
            "problem": report.platform_problem or None,
        },
        "elements": report.elements,
        "mismatches": report.mismatches,
        "exit_status": report.exit_status,
        "first_mismatch": None if first is None else _mismatch(first),
        "checks": [_check(check) for check in report.checks],
        "compared": [_compared(report, name) for name in _of_layers(report)],
        "not_checked": list(report.notes),
        "islands": [
            {
                "layer": island.name,
                "nodes": [{"op_type": op, "name": name} for op, name in island.nodes],
                "reason": island.reason,
            }
            for island in report.islands
        ],
        "default_session": None if default is None else _default(default),
    }


def _of_layers(report: Verification) -> list[str]:
    found = {check.authority for check in report.checks}
    return [name for name in AUTHORITIES if name in found and name not in (WHOLE, EXPECTED)]


def _compared(report: Verification, authority: str) -> dict[str, Any]:
    macs, elements = report.compared_with(authority)
    return {
        "compared_with": authority,
        "macs": macs.part,
        "macs_of_all_layers": macs.whole,
        "elements": elements.part,
        "elements_of_all_layers": elements.whole,
    }


def _default(default: DefaultSession) -> dict[str, Any]:
    return {
        "operators": default.operators,
        "float_nodes": [{"op_type": op, "name": name} for op, name in default.float_nodes],
        "outputs": [
            {"name": r.name, "elements": r.elements, "different": r.mismatches}
            for r in default.outputs
        ],
    }


def _mismatch(check: Check) -> dict[str, Any] | None:
    first = check.result.first
    return (
        None
        if first is None
        else {
            "layer": check.layer,
            "compared_with": check.authority,
            "index": list(first.index),
            "expected": _number(first.expected),
            "found": _number(first.found),
            "accumulator": first.accumulator,
        }
    )


def _check(check: Check) -> dict[str, Any]:
    result = check.result
    return {
        "layer": check.layer,
        "kind": check.kind,
        "compared_with": check.authority,
        "elements": result.elements,
        "mismatches": result.mismatches,
        "largest_difference": _number(result.largest_difference),
        "first_index": None if result.first is None else list(result.first.index),
        "sqnr_db": _number(result.sqnr_db) if result.mismatches else None,
    }


def _number(value: float | str) -> float | str:
    """Return a number that JSON can hold, or its name."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
