"""The book's own Sphinx extension: cache, computed figures and tables, assets."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from . import assets, checked, computed, docstrings, formulas, inputs, notebooks, streams


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts."""
    for part in (inputs, checked, computed, formulas, assets, docstrings, notebooks, streams):
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
