"""What a check found, in words: rows for people, and plain data for JSON."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from bitbybit.text import printable

from .diagnosis import Diagnosis, Element, Explanation
from .dump import Check, Compared

Rows = list[tuple[str, ...]]

AXES = ("image", "channel", "row", "column")

SHOWN = 6
"""Explanations, channels or rows that are named; JSON has all."""


def as_lines(check: Check) -> list[str]:
    """Return a check as lines of text, the verdict last."""
    table: Rows = [("layer", "tensor", "stimuli", "elements", "different", "file")]
    table += compared_rows(check)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"{check.model.path.name} ({check.model.sha256[:12]}): {check.dump} against {check.pack}"
    ]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in table), ""]
    lines += [f"{title}: {text}" for title, text in element_rows(check)]
    lines += explanation_lines(check)
    lines += [f"not compared: {text}" for text in not_compared(check)]
    return [printable(line) for line in [*lines, verdict(check)]]


def verdict(check: Check) -> str:
    """Return PASS or FAIL with its figures."""
    elements = sum(row.elements for row in check.compared)
    if check.first is None:
        return f"PASS: {elements:,} elements of {len(check.compared)} tensors, 0 differ"
    wrong = sum(row.different for row in check.compared)
    first = f"{check.first.layer}, {check.first.tensor}"
    return f"FAIL: {wrong:,} of {elements:,} elements differ, first in {first}"


def not_compared(check: Check) -> list[str]:
    """Return what the dump does not hold, and what of it is unknown."""
    found = []
    if check.missing:
        found.append(f"layers that the dump does not hold: {', '.join(check.missing)}")
    if check.ignored:
        found.append(f"names that are no tensor of the pack: {', '.join(check.ignored[:SHOWN])}")
    return found


def compared_rows(check: Check) -> Rows:
    """Return a row for each tensor that was compared."""
    return [
        (row.layer, row.tensor, row.stimuli, f"{row.elements:,}", _count(row), row.file)
        for row in check.compared
    ]


def _count(row: Compared) -> str:
    said = f" (right for its own inputs under {row.follows})" if row.follows else ""
    return f"{row.different:,}{said}"


def element_rows(check: Check) -> list[tuple[str, str]]:
    """Return titles and values about the first tensor and its first element that differ."""
    diagnosis, first = check.diagnosis, check.first
    if diagnosis is None or first is None or diagnosis.first is None:
        return []
    element = diagnosis.first
    where = f"{first.layer}, tensor {first.tensor}, stimuli {first.stimuli}"
    rows = [
        ("first layer that differs", where),
        ("before it", check.inputs),
        ("first element", f"{_named(element.index)}; {check.place}"),
        ("expected", f"{element.expected} (hex {element.expected_hex})"),
        ("got", f"{'unknown' if element.got is None else element.got} (hex {element.got_hex})"),
    ]
    if element.accumulator is not None:
        rows.append(("accumulator", f"{element.accumulator:,}"))
    if element.scaled is not None and element.tie is not None:
        exact = f"{_decimal(element.scaled)} steps of the output, before the zero point"
        rows.append(("exact value", exact))
        rows.append(("distance to a tie", f"{_decimal(element.tie)} steps"))
    if element.window is not None:
        w = element.window
        at = f"rows {_listed(w.rows)}; columns {_listed(w.columns)}"
        rows.append(("window", f"{at} of the input"))
        marks = ["".join("p" if pad else "." for pad in line) for line in w.padded]
        drawn = f"{' / '.join(marks)}, row by row; p lies outside"
        rows.append(("padded taps", drawn if any(map(any, w.padded)) else "none"))
    for name in ("channel", "row", "column"):
        counts = getattr(diagnosis, f"by_{name}")
        if counts:
            rows.append((f"different by {name}", _counts(name, counts)))
    return rows


def _named(index: tuple[int, ...]) -> str:
    """Say which element an index of ``[N, C, H, W]``, or its beginning, is."""
    if len(index) > len(AXES):
        return str(list(index))
    return ", ".join(f"{axis} {at}" for axis, at in zip(AXES, index, strict=False))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _counts(name: str, counts: tuple[int, ...]) -> str:
    """Name the fullest places, and how many have any."""
    full = sorted((-n, at) for at, n in enumerate(counts) if n)
    shown = ", ".join(f"{-n:,} in {name} {at}" for n, at in full[:SHOWN])
    return f"in {len(full)} of {len(counts)}: {shown}" + ", ..." * (len(full) > SHOWN)


def _decimal(value: Fraction) -> str:
    return f"{float(value):.9g}"


def explanation_lines(check: Check) -> list[str]:
    """Return which mistakes explain every element, or what comes nearest."""
    found = check.diagnosis
    if found is None:
        return []
    singles, pairs = found.tried
    tried = f"{singles:,} mistakes" + (f" and {pairs:,} pairs" if pairs else "")
    if found.explanations:
        many = (
            "each of these, which this dump cannot tell apart"
            if len(found.explanations) > 1
            else "this"
        )
        lines = [f"Every element is explained by {many} (of {tried} that were run):"]
        groups: dict[str, list[Explanation]] = {}
        for e in found.explanations:
            groups.setdefault(" and ".join(m.step for m in e.mistakes), []).append(e)
        for step, group in groups.items():
            lines += [f"  {e}" for e in group[:SHOWN]]
            more = len(group) - SHOWN
            lines += [f"  {step}: {more} more that are equal here: --json"] if more > 0 else []
        return lines
    lines = [f"Unexplained: none of {tried} gives this dump"]
    lines += [f"  nearest, {100 * e.share:.4g} % of all elements: {e}" for e in found.nearest]
    return [*lines, f"  {_next_step(check)}"]


def _next_step(check: Check) -> str:
    """Say what to dump next where no mistake explains a dump."""
    first, element = check.first, check.diagnosis and check.diagnosis.first
    if first and first.tensor == "y" and element and element.accumulator is not None:
        more = f"dump {first.layer}.acc too: it parts the sum from its requantization"
    else:
        more = "follow the first element above by hand; --json has its operands"
    return f"next: {more}"


def as_dict(check: Check) -> dict[str, Any]:
    """Return a check as plain data for JSON."""
    return {
        "model": {"file": check.model.path.name, "sha256": check.model.sha256},
        "pack": str(check.pack),
        "dump": str(check.dump),
        "exit_status": check.exit_status,
        "compared": [vars(row) for row in check.compared],
        "layers_not_compared": list(check.missing),
        "names_ignored": list(check.ignored),
        "first": check.first and {
            "layer": check.first.layer, "tensor": check.first.tensor,
            "stimuli": check.first.stimuli, "inputs": check.inputs, "place": check.place,
        },
        "diagnosis": check.diagnosis and _diagnosis(check.diagnosis),
    }  # fmt: skip


def _diagnosis(found: Diagnosis) -> dict[str, Any]:
    return {
        **{name: getattr(found, name) for name in ("elements", "different", "unknown")},
        "first": found.first and _element(found.first),
        **{name: getattr(found, name) for name in ("by_channel", "by_row", "by_column")},
        "explained": found.explained,
        "explanations": [_explanation(e) for e in found.explanations],
        "nearest": [_explanation(e) for e in found.nearest],
        "tried": {"single": found.tried[0], "pairs": found.tried[1]},
    }


def _element(element: Element) -> dict[str, Any]:
    exact = {name: getattr(element, name) for name in ("scaled", "tie")}
    numbers = {
        name: None if value is None else {"decimal": float(value), "fraction": str(value)}
        for name, value in exact.items()
    }
    values = {"expected": element.expected, "got": element.got}
    plain = {k: v if v is None or v - v == 0 else str(v) for k, v in values.items()}
    window = None if element.window is None else vars(element.window)
    return {**vars(element), **plain, **numbers, "window": window}


def _explanation(e: Explanation) -> dict[str, Any]:
    mistakes = [{"step": mistake.step, "name": mistake.name} for mistake in e.mistakes]
    return {"mistakes": mistakes, "share": e.share}
