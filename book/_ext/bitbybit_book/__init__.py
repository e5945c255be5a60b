"""The book's own Sphinx extension: cache, computed figures and tables, assets, heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the build script asks `inputs` for a digest, and needs no Sphinx for it
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts."""
    from . import (
        assets,
        checked,
        computed,
        docstrings,
        formulas,
        head,
        icons,
        inputs,
        live,
        notebooks,
        packs,
        streams,
        styles,
    )

    parts = (inputs, checked, computed, formulas, assets, icons, head, docstrings, notebooks)
    for part in (*parts, streams, styles, live, packs):
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
