"""Facts once, shown four ways: a column takes one fact from a record, a renderer writes them.

JSON and CSV are written here, and plain text; ``as_html`` of the pictures writes
HTML. Strings out of a file stay what they are in JSON, which escapes them, and become visible
everywhere else.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from bitbybit.digits import NUMERIC, shortest
from bitbybit.text import printable

R = TypeVar("R")

FORMULA = ("=", "+", "-", "@")
"""A text that begins so is a formula to a spreadsheet."""


@dataclass(frozen=True)
class Column(Generic[R]):
    """One fact about each record of a table.

    Attributes
    ----------
    key : its name in JSON and CSV
    title : its heading for people
    of : takes the fact out of a record, None where the record has none; or where the record has
        it, as for ``at``, by default under the key
    unit : of its numbers, part of the heading; ``"dB"`` are shown with two decimals
    columns : where the fact is a record itself, or several in a list or under names, what of it
        goes into JSON
    """

    key: str
    title: str
    of: Callable[[R], Any] | str = ""
    unit: str = ""
    columns: Sequence[Column[Any]] = ()

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def fact(self, record: R) -> Any:
        """Return the fact as it is."""
        return self.of(record) if callable(self.of) else at(record, self.of or self.key)

    def cell(self, record: R) -> Any:
        """Return the fact, ready to be shown to people: decibels with two decimals."""
        value = self.fact(record)
        return f"{value:.2f}" if self.unit == "dB" and value is not None else plain(value)

    def plain(self, record: R) -> Any:
        """Return the fact as JSON and CSV hold it: decibels rounded to two decimals."""
        value = self.fact(record)
        if self.columns and value is not None:
            if isinstance(value, Mapping):
                return {key: as_json(self.columns, each) for key, each in value.items()}
            if isinstance(value, (list, tuple)):
                return [as_json(self.columns, each) for each in value]
            return as_json(self.columns, value)
        value = plain(value)
        return round(value, 2) if self.unit == "dB" and value is not None else value


def at(record: Any, paths: str) -> Any:
    """Return what a record has at a path of attributes, None where a part of it is None.

    Of several paths, with blanks between, the first counts that leads to something.

    Examples
    --------
    >>> at(None, "real") is None, at(3, "real.imag"), at(3, "imag.real numerator")
    (True, 0, 0)
    """
    for path in paths.split():
        value = record
        for name in path.split("."):
            value = None if value is None else getattr(value, name)
        if value is not None:
            return value
    return None


def pick(columns: Iterable[Column[R]], keys: str) -> tuple[Column[R], ...]:
    """Return the columns of these keys, which blanks separate, in this order."""
    found = {column.key: column for column in columns}
    return tuple(found[key] for key in keys.split())


def as_json(columns: Sequence[Column[R]], record: R) -> dict[str, Any]:
    """Return the facts of one record by key, as values that JSON can hold."""
    return {column.key: column.plain(record) for column in columns}


def plain(value: Any) -> Any:
    """Return a fact as JSON can hold it: floats as shortest float32 decimals, NaN as None."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist() if value.dtype.kind in "iu" else list(value.flat))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return shortest(value)


def decibel_text(value: float) -> str:
    """Write decibels with two decimals; where nothing differs, they are infinite."""
    return "inf (equal)" if value == math.inf else f"{value:.2f} dB"


def as_csv(columns: Sequence[Column[R]], records: Iterable[R]) -> str:
    r"""Return one line per record under the keys.

    Control and invisible characters are written as ``\x1b``, and a text that a spreadsheet
    would take for a formula begins with an apostrophe.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.key for column in columns)
    for record in records:
        writer.writerow(_csv_cell(column, record) for column in columns)
    return stream.getvalue()


def _csv_cell(column: Column[R], record: R) -> object:
    value = column.plain(record)
    if isinstance(value, list):
        return "x".join("N" if item is None else str(item) for item in value)
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def as_text(columns: Sequence[Column[R]], records: Iterable[R]) -> list[str]:
    """Return a table for a terminal, one line each: headings, a rule, the records."""
    rows = [
        [printable(_text_cell(column.cell(record))) for column in columns] for record in records
    ]
    headings = [column.heading for column in columns]
    sides = [all(NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(columns))]
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return ["  ".join(map(_aligned, line, widths, sides)).rstrip() for line in lines]


def _text_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _aligned(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)
