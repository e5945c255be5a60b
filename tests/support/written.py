"""What is wrong with text that the tool wrote: JSON, CSV and pages as everybody else reads them.

Each function returns the fault in words, "" if there is none.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from html.parser import HTMLParser
from typing import Any

_FORMULA = re.compile(r"[\s]*[=+\-@]")
_OURS = re.compile(r"(data:|#|(?!//)[\w./-]*$)")
"""Where an address of a page may lead: into the page, or to a file beside it."""


def steers(character: str) -> bool:
    """Whether a character could steer a terminal, or turn the direction of text."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def fault_of_json(text: str) -> str:
    """Read JSON strictly: no NaN, no Infinity, no key twice, no half character."""
    try:
        json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
        "".join(_strings(json.loads(text))).encode("utf-8")
    except ValueError as error:
        return f"no JSON: {error}"
    return ""


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key twice: {[key for key, _ in pairs]!r:.200}")
    return found


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []


def fault_of_csv(data: bytes) -> str:
    """Look for what makes a spreadsheet compute, a terminal act, or a row begin in the middle."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"no UTF-8: {error}"
    ends = {"\r", "\n"} if "\r\n" in text else {"\n"}
    steering = sorted({c for c in text if steers(c)} - ends)
    if steering or text.count("\r") != text.count("\r\n"):
        return f"characters that steer: {steering or 'CR'}"
    head, *rows = [*csv.reader(io.StringIO(text, newline=""), strict=True)] or [[]]
    if not rows or {len(row) for row in rows} != {len(head)}:
        return f"{len(rows)} rows, or rows that are not as long as the head"
    formulas = [cell for row in rows for cell in row if _FORMULA.match(cell)]
    formulas = [cell for cell in formulas if not _is_number(cell)]
    return f"a formula: {formulas[0]!r:.200}" if formulas else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _Page(HTMLParser):
    """Collects what a browser would run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in {"iframe", "object", "embed", "base", "form"}:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.faults.append(f"the handler {name}")
            elif name in {"src", "href", "action"} and not _OURS.match(value or ""):
                self.faults.append(f"it leads to {value!r:.100}")
            elif name == "id":
                self.ids.append(value or "")


def fault_of_page(text: str) -> str:
    """Look for a second script, a handler, a foreign address, an id twice, steering characters."""
    steering = sorted({c for c in text if steers(c)} - {"\n"})
    found = _Page()
    found.feed(text)
    found.close()
    if found.scripts > 1:
        found.faults.append(f"{found.scripts} scripts")
    if len(set(found.ids)) < len(found.ids):
        found.faults.append("an id twice")
    if steering:
        found.faults.append(f"characters that steer: {steering}")
    if not text.rstrip().endswith(("</html>", "</svg>")):
        found.faults.append("it ends too early")
    return "; ".join(found.faults[:5])
