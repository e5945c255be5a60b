"""What a check of somebody's hardware found, as one page that loads nothing."""

from __future__ import annotations

from html import escape

from bitbybit.hardware.check_report import (
    compared_rows,
    element_rows,
    explanation_lines,
    not_compared,
    verdict,
)
from bitbybit.hardware.dump import Check
from bitbybit.text import printable, shortened

from .picture import asset, inline
from .table import frame

TITLES = ("layer", "tensor", "stimuli", "elements", "different", "file")


def check_page(check: Check) -> str:
    """Return the report as one HTML page without script; every string of a file is escaped."""
    name = escape(shortened(check.model.path.name))
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    origin = [
        ("SHA-256 of the model", check.model.sha256),
        ("pack", shortened(str(check.pack))),
        ("dump", shortened(str(check.dump))),
    ]
    parts = [
        f"<h1><bdi>{name}</bdi>: a dump against its vectors</h1>",
        f"<p><strong>{_text(verdict(check))}</strong></p>",
        frame(("what", "value"), origin, "Model, pack and dump"),
    ]
    if check.diagnosis is not None:
        first, *others = explanation_lines(check)
        rows = [(title, _plain(value)) for title, value in element_rows(check)]
        parts += [
            f"<h2>Why</h2><p>{_text(first)}</p><ul>",
            *(f"<li>{_text(line.strip())}</li>" for line in others),
            f"</ul><h2>The first element</h2>{frame(('what', 'value'), rows, 'First element')}",
        ]
    table = [tuple(map(_plain, row)) for row in compared_rows(check)]
    parts += [f"<h2>What was compared</h2>{frame(TITLES, table, 'What was compared')}"]
    parts += [f"<p>Not compared: {_text(line)}.</p>" for line in not_compared(check)]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}, checked</title><style>{asset('report.css')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _plain(text: str) -> str:
    return printable(shortened(text, 400))


def _text(text: str) -> str:
    return inline(_plain(text))
