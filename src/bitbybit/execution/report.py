"""A verification as text and as JSON: the same facts."""

from __future__ import annotations

import math
from typing import Any

from bitbybit.cpu import cpu_features, machine
from bitbybit.execution.findings import WHOLE, Check, Mismatch, Verification


def as_dict(report: Verification) -> dict[str, Any]:
    """Return a verification as plain data for JSON; infinite SQNR is None."""
    model, default = report.model, report.default_session
    return {
        "model": {"file": model.path.name, "sha256": model.sha256, "form": model.form},
        "inputs": {"what": report.inputs, "images": report.images},
        "platform": {
            "architecture": machine(),
            "features": sorted(cpu_features()),
            "problem": report.platform_problem or None,
        },
        "elements": report.elements,
        "mismatches": report.mismatches,
        "exit_status": report.exit_status,
        "first_mismatch": None if report.first is None else _mismatch(report.first),
        "checks": [_check(check) for check in report.checks],
        "islands": [
            {
                "layer": island.name,
                "nodes": [{"op_type": op, "name": name} for op, name in island.nodes],
                "reason": island.reason,
            }
            for island in report.islands
        ],
        "default_session": None
        if default is None
        else {
            "operators": default.operators,
            "float_nodes": [{"op_type": op, "name": name} for op, name in default.float_nodes],
            "outputs": [
                {"name": r.name, "elements": r.elements, "different": r.mismatches}
                for r in default.outputs
            ],
        },
    }


def as_lines(report: Verification) -> list[str]:
    """Return a verification as lines of text, the verdict last."""
    model = report.model
    authorities = list(dict.fromkeys(check.authority for check in report.checks))
    titles = [f"{'layer':<20}", f"{'kind':<12}", f"{'compared':>13}"]
    title = f"{model.path.name} ({model.sha256[:12]}, {model.form})"
    lines = [f"{title}, {report.images} images: {report.inputs}", "", "Elements that differ from"]
    lines += [f"  [{number}] {name}" for number, name in enumerate(authorities, 1)]
    lines += ["", " ".join([*titles, *(f"[{n}]".rjust(9) for n in range(1, len(authorities) + 1))])]
    rows: dict[str, dict[str, Check]] = {}
    for check in report.checks:
        rows.setdefault(f"{check.layer:<20} {check.kind:<12}", {})[check.authority] = check
    for row, checks in rows.items():
        compared = sum(check.result.elements for check in checks.values())
        counts = [
            f"{checks[name].result.mismatches:>9,}" if name in checks else " " * 9
            for name in authorities
        ]
        lines.append(" ".join([row, f"{compared:>13,}", *counts]).rstrip())
    lines += ["", *_default_lines(report)]
    lines += [f"outside the contract: {i.name}: {i.reason}" for i in report.islands]
    if report.platform_problem:
        lines.append(f"not the contract platform: {report.platform_problem}")
    return [*lines, *_verdict(report)]


def _default_lines(report: Verification) -> list[str]:
    default = report.default_session
    if default is None or not default.float_nodes:
        return []
    names = ", ".join(f"{name} ({op})" for op, name in default.float_nodes)
    different = [
        f"{r.mismatches:,} of {r.elements:,} elements of {r.name} differ from the integer graph"
        for r in default.outputs
    ]
    count = len(default.float_nodes)
    return [
        f"A session with default options computes {count} nodes in float: {names}.",
        f"Its outputs: {'; '.join(different)}.",
    ]


def _verdict(report: Verification) -> list[str]:
    first, total = report.first, f"{report.elements:,} elements"
    if first is not None:
        place = ", ".join(map(str, first.index))
        accumulator = "" if first.accumulator is None else f", accumulator {first.accumulator}"
        expected = f"expected {first.expected} ({first.authority})"
        lines = [
            f"FAIL: {report.mismatches:,} of {total} differ",
            f"first: {first.layer}[{place}]: {expected}, found {first.found}{accumulator}",
        ]
        if all(c.authority == WHOLE for c in report.checks if c.result.mismatches):
            lines.append(
                "Each layer alone is equal, so ONNX Runtime optimizes the whole to something else, "
                "or the layers were connected wrongly."
            )
        return lines
    if report.islands:
        count = len(report.islands)
        noun = "1 layer lies" if count == 1 else f"{count} layers lie"
        return [f"EQUAL: {total}, 0 mismatches; {noun} outside the contract"]
    return [f"PASS: {total}, 0 mismatches"]


def _mismatch(first: Mismatch) -> dict[str, Any]:
    return {
        "layer": first.layer,
        "compared_with": first.authority,
        "index": list(first.index),
        "expected": _number(first.expected),
        "found": _number(first.found),
        "accumulator": first.accumulator,
    }


def _check(check: Check) -> dict[str, Any]:
    result = check.result
    return {
        "layer": check.layer,
        "kind": check.kind,
        "compared_with": check.authority,
        "elements": result.elements,
        "mismatches": result.mismatches,
        "largest_difference": _number(result.largest_difference),
        "first_index": None if result.first_index is None else list(result.first_index),
        "sqnr_db": _number(result.sqnr_db) if result.mismatches else None,
    }


def _number(value: float) -> float | str:
    """Return a number that JSON can hold, or its name."""
    return value if math.isfinite(value) else str(value)
