"""A download button that works: the executed notebook of each chapter, beside its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bitbybit_sentences as said
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from .checked import TAG, results
from .computed import CAPTION, OPENING
from .plain import Names, plain


def names_of(env: BuildEnvironment, pagename: str, executed: Path) -> Names:
    """Collect what the page's references mean: Sphinx's numbers, the cells' values."""
    found = results(json.loads(executed.read_text(encoding="utf-8")))
    values = {r["source"]: r["text"] for r in found if "text" in r}
    numbers = {}
    for kinds in env.toc_fignumbers.values():
        for kind, places in kinds.items():
            form = env.config.numfig_format.get(kind, "%s")
            for label, number in places.items():
                name = label.removeprefix("equation-")
                numbers[name] = form % ".".join(map(str, number))
    folder = pagename.rpartition("/")[0] + "/"
    titles = {name.removeprefix(folder): title.astext() for name, title in env.titles.items()}
    text = Path(env.doc2path(pagename)).read_text(encoding="utf-8")
    last = said.count(said.sentences(text))
    return Names(values, numbers, titles, f"**{last}** The last cell checks them again.")


HIDDEN = {
    "hide-input": ("source_hidden",),
    "remove-input": ("source_hidden",),
    "hide-cell": ("source_hidden", "outputs_hidden"),
    "remove-cell": ("source_hidden", "outputs_hidden"),
    "hide-output": ("outputs_hidden",),
    "remove-output": ("outputs_hidden",),
}
"""Tag of a cell on the page → what JupyterLab folds."""


def as_assertions(text: str, names: Names) -> str:
    """Return the checks of a page's source as a cell that a reader can run."""
    lines = ["# What makes the sentences of this page true"]
    for sentence in said.sentences(text):
        shown = said.filled(sentence.text, names.values)
        lines += [f"assert {claim.source}, {shown!r}" for claim in sentence.checks]
    return "\n".join(lines)


def readable(notebook: dict[str, Any], names: Names, text: str = "") -> dict[str, Any]:
    """Make a notebook's text plain Markdown, and number its figures and tables, fold its cells."""
    notebook["metadata"].pop("jupytext", None)
    for cell in notebook["cells"][-1:]:
        if TAG in cell["metadata"].get("tags", []):
            cell |= {"source": as_assertions(text, names), "outputs": [], "metadata": {}}
    for cell in notebook["cells"]:
        for tag in cell["metadata"].get("tags", ()):
            for part in HIDDEN.get(tag, ()):
                cell["metadata"].setdefault("jupyter", {})[part] = True
        if cell["cell_type"] == "markdown":
            cell["source"] = plain("".join(cell["source"]), names)
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html")
            if html:
                output["data"]["text/html"] = numbered("".join(html), names)
    return notebook


def numbered(html: str, names: Names) -> str:
    """Put the number in front of the caption of a computed figure or table."""
    opening, caption = OPENING.match(html), CAPTION.search(html)
    if opening is None or caption is None or opening[2] not in names.numbers:
        return html
    return f"{html[: caption.end(1)]}<b>{names.numbers[opening[2]]}</b> {html[caption.end(1) :]}"


def offer_download(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Write the executed notebook to ``_sources`` and name it for the theme's button."""
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if not executed.is_file() or not is_notebook(app, pagename):
        return
    target = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    names = names_of(app.env, pagename, executed)
    source = Path(app.env.doc2path(pagename)).read_text(encoding="utf-8")
    notebook = readable(json.loads(executed.read_text(encoding="utf-8")), names, source)
    target.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    context["ipynb_source"] = f"{pagename}.ipynb"


def is_notebook(app: Sphinx, pagename: str) -> bool:
    """Whether the page has code cells that were run."""
    return "nb_metadata" in dir(app.env) and pagename in app.env.nb_metadata  # type: ignore


def setup(app: Sphinx) -> None:
    """Offer the notebook before the theme makes its buttons."""
    app.connect("html-page-context", offer_download, priority=10)
