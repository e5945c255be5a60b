"""Tables: one column order, units in the headers, digits that stand under each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bitbybit.digits import NUMERIC, shown

from .picture import inline


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; the first column names the row.

    Attributes
    ----------
    columns : headers, with units
    rows : cells as text, one tuple per row
    label : its id on the page, ``tab-...``
    caption : what it shows; backticks set code
    anchors : whether each row has the id ``label-name``
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    label: str
    caption: str
    anchors: bool = False

    def _repr_html_(self) -> str:
        """Show the table on a page and in a notebook."""
        numeric = [
            all(NUMERIC.fullmatch(row[index]) for row in self.rows)
            for index in range(len(self.columns))
        ]
        head = "".join(
            f'<th scope="col"{_right(right)}>{inline(name)}</th>'
            for name, right in zip(self.columns, numeric, strict=True)
        )
        body = "".join(self._row(row, numeric) for row in self.rows)
        return (
            f'<figure class="bb-table" id="{escape(self.label)}"><div class="bb-frame" '
            f'style="overflow-x:auto"><table>'
            f"<caption>{inline(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
        )

    def _row(self, row: Sequence[str], numeric: Sequence[bool]) -> str:
        """Return one row; its first cell is the header of the row."""
        name = re.sub(r"[^\w.-]+", "-", row[0])
        anchor = f' id="{escape(self.label)}-{escape(name)}"' if self.anchors else ""
        cells = "".join(
            f"<td{_right(right)}>{inline(cell)}</td>"
            for cell, right in zip(row[1:], numeric[1:], strict=True)
        )
        return f'<tr{anchor}><th scope="row"{_right(numeric[0])}>{inline(row[0])}</th>{cells}</tr>'


def _right(right: bool) -> str:
    """Return the attribute that sets a cell of digits flush right."""
    return ' style="text-align:right"' if right else ' style="text-align:left"'


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    label: str,
    caption: str,
    anchors: bool = False,
) -> Table:
    """Make a table.

    Parameters
    ----------
    columns
        Headers, with units; backticks set code.
    rows
        One sequence per row, as long as ``columns``; the first cell names the row. Integers are
        grouped by commas, floats are written in full; format them as text to round.
    label
        Its id on the page and the name for references, ``tab-...``.
    caption
        What it shows; backticks set code.
    anchors
        Give each row an id made of the label and its first cell.

    Raises
    ------
    ValueError
        If a row has not as many cells as there are columns.
    """
    cells = tuple(tuple(shown(value) for value in row) for row in rows)
    for row in cells:
        if len(row) != len(columns):
            raise ValueError(f"{label}: {len(columns)} columns, but a row of {len(row)}: {row}")
    return Table(tuple(columns), cells, label, caption, anchors)
