"""A download button that works: the executed notebook of each chapter, beside its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GLUED = re.compile(r"\{glue(?::text)?\}`([\w.-]+)(?::[^`]*)?`")


def with_numbers(notebook: dict[str, Any]) -> dict[str, Any]:
    """Write the glued values into the text, since a notebook cannot look them up."""
    values: dict[str, str] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for mime, text in output.get("data", {}).items():
                if name and mime.endswith("text/plain"):
                    values[name] = "".join(text).strip("'")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            cell["source"] = GLUED.sub(lambda m: values.get(m[1], m[0]), source)
    return notebook


def offer_download(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Copy the executed notebook to ``_sources`` and name it for the theme's button."""
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if not executed.is_file() or not is_notebook(app, pagename):
        return
    target = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    notebook = with_numbers(json.loads(executed.read_text(encoding="utf-8")))
    target.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    context["ipynb_source"] = f"{pagename}.ipynb"


def is_notebook(app: Sphinx, pagename: str) -> bool:
    """Whether the page has code cells that were run."""
    return "nb_metadata" in dir(app.env) and pagename in app.env.nb_metadata  # type: ignore


def setup(app: Sphinx) -> None:
    """Offer the notebook before the theme makes its buttons."""
    app.connect("html-page-context", offer_download, priority=10)
