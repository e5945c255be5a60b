"""What a cell printed, as one text: a busy kernel sends even a single line in pieces.

MyST-NB joins pieces with a line break (``nb_merge_streams``); here they are joined as they are.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs of a cell with all pieces of one stream in the place of its first."""
    first: dict[str, dict[str, Any]] = {}
    kept = []
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else ""
        if name in first:
            first[name]["text"] += output["text"]
            continue
        kept.append(output)
        if name:
            first[name] = output
    return kept


def setup(app: Sphinx) -> None:
    """Let MyST-NB use it."""
    from myst_nb.core import render

    render.coalesce_streams = joined
