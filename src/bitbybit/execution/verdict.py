"""What a verification found, as data, as text and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.cpu import cpu_features, machine
from bitbybit.digits import hex_float, shortest
from bitbybit.execution.compare import LayerResult
from bitbybit.execution.engine import describe
from bitbybit.execution.sessions import version
from bitbybit.model.costs import cost
from bitbybit.model.types import Conv, Dense, FloatIsland, Layer, QuantizedModel

DEFINITION = "the operator's definition"
RUNTIME = "ONNX Runtime, layer alone"
ACCUMULATOR = "ONNX Runtime, integer sums"
WHOLE = "ONNX Runtime, whole file"
EXPECTED = "the expected outputs"
EXHAUSTIVE = "ONNX Runtime, all inputs"
DEFAULT = "a session with default options"
"""The authority that may differ: it is reported, and no mismatch."""

AUTHORITIES = (DEFINITION, RUNTIME, ACCUMULATOR, WHOLE, EXPECTED, EXHAUSTIVE)
"""What the engine is compared with, in the order of the printed columns."""

_OF_OUTPUTS = (WHOLE, EXPECTED)

_BORDERS = {"quantize", "dequantize", "reshape", "move"}
"""Kinds of layers that compute nothing: they bring codes to where something is computed."""

COMMITTED_WITH = "1.31.1"
"""The version of ONNX Runtime that made the committed goldens."""


@dataclass(frozen=True, kw_only=True)
class DefaultSession:
    """What a session with default options does with a file.

    Attributes
    ----------
    operators : operator type → count, in the graph that it really runs
    float_nodes : ``(operator, node name)`` of the nodes that compute on floats, outside the
        float islands
    all_float_nodes : how many compute on floats, the islands' nodes too
    outputs : the graph outputs, of all inputs, against those of the engine
    allowed_operators : as ``operators``, where fusing around int8 activations is allowed
    """

    operators: dict[str, int]
    float_nodes: tuple[tuple[str, str], ...]
    all_float_nodes: int
    outputs: tuple[LayerResult, ...]
    allowed_operators: dict[str, int]

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, and the processor, in words."""
        features = ", ".join(sorted(cpu_features())) or "no feature that matters"
        return f"ONNX Runtime {version()} on {machine()} with {features}"

    @property
    def different(self) -> int:
        """Output elements that differ."""
        return sum(result.mismatches for result in self.outputs)


@dataclass(kw_only=True)
class Verification:
    """What :func:`bitbybit.verify` found: a tally of comparisons.

    Attributes
    ----------
    model : the network
    inputs : what was computed, in words
    kind : the kind of layer that was checked, "" for all of the network
    images : how many were computed
    tally : (tensor, authority) → the comparison
    elements_of : layer → elements of its output, for all images; float islands too
    sums_of : layer → smallest and largest accumulator that was seen
    default_session : what a session with default options does instead, None if not asked for
    platform_problem : why ONNX Runtime need not be exact on this CPU, "" where it must be
    notes : what could not be checked, and why
    """

    model: QuantizedModel
    inputs: str = ""
    kind: str = ""
    images: int = 0
    tally: dict[tuple[str, str], LayerResult] = field(default_factory=dict, repr=False)
    elements_of: Counter[str] = field(default_factory=Counter)
    sums_of: dict[str, tuple[int, int]] = field(default_factory=dict)
    default_session: DefaultSession | None = None
    platform_problem: str = ""
    notes: list[str] = field(default_factory=list)

    def of(self, authority: str, tensor: str, kind: str) -> LayerResult:
        """Return the comparison of a layer, or a graph output, with an authority, to add to."""
        new = LayerResult(name=tensor, kind=kind, authority=authority)
        return self.tally.setdefault((tensor, authority), new)

    def note(self, what: str) -> None:
        """Remember, once, what could not be checked."""
        if what not in self.notes:
            self.notes.append(what)

    @property
    def checks(self) -> tuple[LayerResult, ...]:
        """Every comparison, in graph order, definition before runtime."""
        return tuple(check for check in self.tally.values() if check.authority != DEFAULT)

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(check.elements for check in self.checks)

    @property
    def mismatches(self) -> int:
        """Elements that differ."""
        return sum(check.mismatches for check in self.checks)

    @property
    def first(self) -> LayerResult | None:
        """The first comparison, in graph order, that found a difference."""
        return next((check for check in self.checks if check.first is not None), None)

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

    @property
    def verdict(self) -> str:
        """What the exit status says, in words."""
        if self.exit_status != 3:
            return "mismatch" if self.exit_status else "exact"
        integer = {x.kind for x in self.model.layers if not isinstance(x, FloatIsland)}
        return "exact except float parts" if integer - _BORDERS else "nothing integer to check"

    @property
    def authorities(self) -> list[str]:
        """Whom the engine was compared with, in the order of the printed columns."""
        found = {check.authority for check in self.checks}
        return [name for name in AUTHORITIES if name in found]

    def coverage(self, authority: str) -> Coverage:
        """Return how much of what all layers make is integer and was compared with an authority."""
        found = {check.name for check in self.checks if check.authority == authority}
        layers = self.model.layers
        chosen = [x.name for x in layers if x.name in found and not isinstance(x, FloatIsland)]
        macs = {layer.name: cost(self.model, layer).macs for layer in layers}
        return Coverage(
            authority,
            macs=_total(macs, chosen),
            macs_of_all_layers=_total(macs, macs),
            elements=_total(self.elements_of, chosen),
            elements_of_all_layers=_total(self.elements_of, self.elements_of),
        )


class Coverage(NamedTuple):
    """What integer layers that were compared make, and what all layers make.

    Attributes
    ----------
    compared_with : the authority
    macs, macs_of_all_layers : multiply-accumulates for one image, None where the file leaves
        open how many
    elements, elements_of_all_layers : elements of the outputs, for all images
    """

    compared_with: str
    macs: int | None
    macs_of_all_layers: int | None
    elements: int | None
    elements_of_all_layers: int | None


def _total(amounts: Mapping[str, int | None], names: Iterable[str]) -> int | None:
    known = [amounts.get(name, 0) for name in names]
    return None if None in known else sum(amount or 0 for amount in known)


def _percent(part: int | None, whole: int | None) -> str:
    if part is None or not whole:
        return "open" if whole is None else "-"
    if part in (0, whole):
        return f"{100 * part / whole:.0f} %"
    # Never rounded up to all, nor down to nothing.
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"


def as_lines(report: Verification) -> list[str]:
    """Return a verification as lines of text, the verdict last."""
    model = report.model
    title = f"{model.path.name} ({model.sha256[:12]}, {model.form})"
    lines = [f"{title}, {report.images} images: {report.inputs}", ""]
    if report.kind:
        lines += [line for layer in model.layers for line in _parameters(report, layer)]
    lines += [*_table(report), "", *_default_lines(report.default_session)]
    lines += [f"not checked: {note}" for note in report.notes]
    if not report.kind:
        lines += _outside(report.islands)
    if version() != COMMITTED_WITH:
        made = f"the committed goldens were made with {COMMITTED_WITH}"
        lines.append(f"This is ONNX Runtime {version()}; {made}.")
    if report.platform_problem:
        lines.append(f"not the contract platform: {report.platform_problem}")
    return [*lines, *_verdict(report)]


def _table(report: Verification) -> list[str]:
    """Return one row per layer and one column per authority, and what share they cover."""
    rows: dict[tuple[str, str], dict[str, LayerResult]] = {}
    for check in report.checks:
        rows.setdefault((check.name, check.kind), {})[check.authority] = check
    numbers = {name: f"[{number}]" for number, name in enumerate(report.authorities, 1)}
    lines = ["Elements that differ from"]
    lines += [f"  {number} {name}" for name, number in numbers.items()]
    lines += ["", _row("layer", "kind", "compared", numbers.values())]
    for (layer, kind), results in rows.items():
        compared = f"{sum(result.elements for result in results.values()):,}"
        counts = [f"{results[a].mismatches:,}" if a in results else "" for a in numbers]
        lines.append(_row(layer, kind, compared, counts))
    covered = {a: report.coverage(a) for a in numbers if a not in _OF_OUTPUTS}
    if covered and not report.kind:
        lines += ["", "Integer and compared, of what all layers make:"]
        per_image = ("macs", "multiply-accumulates", "per image")
        for key, what, unit in (per_image, ("elements", "elements", "all images")):
            both = attrgetter(key, f"{key}_of_all_layers")
            shares = [_percent(*both(covered[a])) if a in covered else "" for a in numbers]
            whole = both(next(iter(covered.values())))[1]
            lines.append(_row(what, unit, "open" if whole is None else f"{whole:,}", shares))
    return lines


def _row(layer: str, kind: str, compared: str, counts: Iterable[str]) -> str:
    cells = [f"{layer:<20}", f"{kind:<12}", f"{compared:>13}", *(f"{c:>9}" for c in counts)]
    return " ".join(cells).rstrip()


def _default_lines(default: DefaultSession | None) -> list[str]:
    """Say what a session with default options does otherwise, if anything."""
    if default is None or not (default.float_nodes or default.different):
        return []
    lines = []
    if default.float_nodes:
        names = ", ".join(f"{name} ({op})" for op, name in default.float_nodes)
        count, islands = default.all_float_nodes, default.all_float_nodes - len(default.float_nodes)
        nodes = "1 node" if count == 1 else f"{count} nodes"
        inside = f", {islands} of them in the layers outside the contract; the others"
        what = f"{nodes} in float{inside if islands else ''}"
        lines.append(f"A session with default options computes {what}: {names}.")
    different = "; ".join(
        f"{r.mismatches:,} of {r.elements:,} elements of {r.name}" for r in default.outputs
    )
    what = "Outputs of a session with default options that differ from the engine's"
    return [*lines, f"{what}: {different}."]


def _verdict(report: Verification) -> list[str]:
    """Return the verdict in one line; that of a mismatch names the first one."""
    total = f"{report.elements:,} elements"
    for check in report.checks:
        first = check.first
        if first is None:
            continue
        accumulator = "" if first.accumulator is None else f", accumulator {first.accumulator}"
        place = f"{check.name}{list(first.index) or ''}"
        expected = f"expected {first.expected} ({check.authority})"
        lines = [
            f"FAIL: {report.mismatches:,} of {total} differ",
            f"first: {place}: {expected}, found {first.found}{accumulator}",
        ]
        if {c.authority for c in report.checks if c.mismatches} == {WHOLE}:
            lines.append(
                "Each layer alone is equal, so ONNX Runtime optimizes the whole to something else, "
                "or the layers were connected wrongly."
            )
        return lines
    if report.exit_status != 3:
        return [f"{'PASS' if report.kind else 'EXACT'}: {total}, 0 mismatches"]
    part, count = report.coverage(DEFINITION), len(report.islands)
    shares = (
        (part.macs, part.macs_of_all_layers, "multiply-accumulates"),
        (part.elements, part.elements_of_all_layers, "elements"),
    )
    outside = [
        f"{_percent(None if own is None or whole is None else whole - own, whole)} of the {what}"
        for own, whole, what in shares
        if whole != 0
    ]
    noun = "1 layer lies" if count == 1 else f"{count} layers lie"
    verdict = f"{report.verdict.upper()}: {total}, 0 mismatches"
    return [f"{verdict}; {noun} outside the contract, with {' and '.join(outside)}"]


def _outside(islands: Iterable[FloatIsland]) -> list[str]:
    """Return each reason once, with the layers that it keeps outside the contract."""
    names: dict[str, list[str]] = {}
    for island in islands:
        names.setdefault(island.reason, []).append(island.name)
    lines = []
    for reason, layers in names.items():
        more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
        lines.append(f"outside the contract: {', '.join(layers[:_NAMED])}{more}: {reason}")
    return lines


_NAMED = 6
"""Layers that are named where one reason holds for several."""


def _parameters(report: Verification, layer: Layer) -> list[str]:
    """Return the quantization parameters and shapes of a layer that was checked."""
    if layer.kind != report.kind or layer.name not in report.elements_of:
        return []
    x, y = report.model.edges[layer.inputs[0]], report.model.edges[layer.name]
    tensors = [("x", x.shape, x.params)]
    if isinstance(layer, (Conv, Dense)):
        tensors.append(("w", layer.weight.values.shape, layer.weight.params))
        if layer.bias is not None:
            tensors.append(("b", layer.bias.values.shape, None))
    tensors.append(("y", y.shape, y.params))
    lines, shapes = [describe(layer)], []
    for name, shape, params in tensors:
        shapes.append(f"{name} [{', '.join('N' if d is None else str(d) for d in shape)}]")
        if params is not None:
            lines.append(f"  {name}_scale       {_scales(params.scale.reshape(-1))}")
            zeros = np.unique(params.zero_point)
            ends = " to ".join(str(zero) for zero in dict.fromkeys((*zeros[:1], *zeros[-1:])))
            lines.append(f"  {name}_zero_point  {ends} ({params.dtype})")
    lines.append(f"  shapes         {', '.join(shapes)}")
    if layer.name in report.sums_of:
        lines.append("  accumulators   {:,} to {:,}".format(*report.sums_of[layer.name]))
    results = [check for check in report.checks if check.name == layer.name]
    verdict = "FAIL" if any(result.mismatches for result in results) else "PASS"
    largest = max((result.largest_difference for result in results), default=0.0)
    return [*lines, f"  {verdict}, maximum difference {largest:g}", ""]


def _scales(values: NDArray[np.float32]) -> str:
    if values.size == 1:
        return f"{shortest(values[0])} ({hex_float(values[0])})"
    if not values.size:
        return "none"
    low, high, mean = (shortest(v) for v in (values.min(), values.max(), values.mean()))
    return f"{values.size} per channel: {low} to {high}, mean {mean}"


def as_dict(report: Verification) -> dict[str, Any]:
    """Return a verification as plain data for JSON; infinite SQNR is None."""
    model, default = report.model, report.default_session
    of_layers = (name for name in report.authorities if name not in _OF_OUTPUTS)
    return {
        "model": {"file": model.path.name, "sha256": model.sha256, "form": model.form},
        "inputs": {"what": report.inputs, "images": report.images},
        "platform": {
            "architecture": machine(),
            "features": sorted(cpu_features()),
            "onnxruntime": version(),
            "problem": report.platform_problem or None,
        },
        "elements": report.elements,
        "mismatches": report.mismatches,
        "exit_status": report.exit_status,
        "verdict": report.verdict,
        "first_mismatch": next(filter(None, map(_mismatch, report.checks)), None),
        "checks": [_check(check) for check in report.checks],
        "compared": [report.coverage(name)._asdict() for name in of_layers],
        "not_checked": list(report.notes),
        "islands": [
            {"layer": island.name, "nodes": _nodes(island.nodes), "reason": island.reason}
            for island in report.islands
        ],
        "default_session": default
        and {
            "operators": default.operators,
            "float_nodes": _nodes(default.float_nodes),
            "outputs": [
                {"name": r.name, "elements": r.elements, "different": r.mismatches}
                for r in default.outputs
            ],
        },
    }


def _nodes(nodes: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"op_type": op, "name": name} for op, name in nodes]


def _mismatch(check: LayerResult) -> dict[str, Any] | None:
    first = check.first
    if first is None:
        return None
    return {
        "layer": check.name,
        "compared_with": check.authority,
        "index": list(first.index),
        "expected": _number(first.expected),
        "found": _number(first.found),
        "accumulator": first.accumulator,
    }


def _check(check: LayerResult) -> dict[str, Any]:
    return {
        "layer": check.name,
        "kind": check.kind,
        "compared_with": check.authority,
        "elements": check.elements,
        "mismatches": check.mismatches,
        "largest_difference": _number(check.largest_difference),
        "first_index": check.first and list(check.first.index),
        "sqnr_db": _number(check.sqnr_db) if check.mismatches else None,
    }


def _number(value: float | str) -> float | str:
    """Return a number that JSON can hold, or its name."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
