"""Tables: one column order, units in the headers, digits that stand under each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from bitbybit.digits import NUMERIC, shown
from bitbybit.inspection.columns import Column
from bitbybit.text import shortened

from .picture import inline

R = TypeVar("R")

LONG = 14
"""Characters from which on a cell may break behind a slash or an underscore."""


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
        anchors = f"{self.label}-" if self.anchors else ""
        framed = frame(self.columns, self.rows, caption=self.caption, anchors=anchors)
        return f'<figure class="bb-table" id="{escape(self.label)}">{framed}</figure>'


def frame(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str = "",
    *,
    caption: str = "",
    anchors: str = "",
    links: str = "",
) -> str:
    """Return a table in a frame that scrolls on narrow screens; numbers stand flush right.

    A screen reader calls the frame by ``name`` or the caption; with ``anchors`` each row has an id
    that begins so and ends with its first cell; with ``links`` the first cell is a link to such
    an id.
    """
    sides = [
        f' style="text-align:{"right" if all(map(NUMERIC.fullmatch, cells)) else "left"}"'
        for cells in zip(*rows, strict=True)
    ] or [""] * len(columns)
    head = "".join(
        f'<th scope="col"{side}><bdi>{inline(column)}</bdi></th>'
        for side, column in zip(sides, columns, strict=True)
    )
    body = "".join(_row(row, sides, anchors, links) for row in rows)
    called = f' data-name="{escape(name)}"' if name else ""
    titled = f"<caption>{inline(caption)}</caption>" if caption else ""
    return (
        f'<div class="bb-frame" style="overflow-x:auto"{called}><table>{titled}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[str], sides: Sequence[str], anchors: str, links: str) -> str:
    """Return one row; its first cell is the header of the row."""
    named = re.sub(r"[^\w.-]+", "-", row[0])
    anchor = f' id="{escape(anchors)}{escape(named)}"' if anchors else ""
    first, *rest = (
        f"{side}><bdi>{inline(cell, breakable=len(cell) >= LONG)}</bdi>"
        for side, cell in zip(sides, row, strict=True)
    )
    if links:
        side, opening, content = first.partition("<bdi>")
        first = f'{side}<a href="#{escape(links + row[0])}">{opening}{content}</a>'
    cells = "".join(f"<td{cell}</td>" for cell in rest)
    return f'<tr{anchor}><th scope="row"{first}</th>{cells}</tr>'


def as_html(
    columns: Sequence[Column[R]],
    records: Sequence[R],
    name: str,
    *,
    across: bool = False,
    links: str = "",
) -> str:
    """Return records as a table; strings out of a file are shortened and made visible.

    Parameters
    ----------
    columns, records
        What to show of what.
    name
        What a screen reader calls it.
    across
        One column per record instead of one row; facts that none of them has are left out.
    links
        With it, the first cell of a row links to the id that begins so and ends with the cell.
    """
    head = [column.heading for column in columns]
    rows = [[_cell(column.cell(record)) for column in columns] for record in records]
    if across:
        head, *rows = map(list, zip(head, *rows, strict=True))
        rows = [row for row in rows if any(cell not in {"", "—"} for cell in row[1:])]
    return frame(head, rows, name, links=links)


def _cell(value: object) -> str:
    return shown(shortened(value) if isinstance(value, str) else value)


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
