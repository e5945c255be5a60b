"""Checked sentences: evaluated with the chapter, marked on the page, fatal where false.

A reader of notebooks appends one hidden cell that evaluates what the prose says; a transform puts
the values into the text and a mark behind each checked sentence.  See ``bitbybit_sentences``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import bitbybit_sentences as said
import nbformat
from docutils import nodes
from docutils.parsers.rst import Directive
from myst_nb import sphinx_ as myst_nb
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

TAG = "bitbybit-sentences"
LOGGER = logging.getLogger(__name__)


class Value(nodes.Inline, nodes.TextElement):  # type: ignore[misc]
    """The place of a value: ``node["source"]`` is its expression."""


class Mark(nodes.Inline, nodes.TextElement):  # type: ignore[misc]
    """The mark behind a checked sentence."""


class Summary(nodes.General, nodes.Element):  # type: ignore[misc]
    """How many sentences of the page were checked, and which."""


# --- the cell -------------------------------------------------------------------------------


def with_evaluation(notebook: nbformat.NotebookNode, text: str) -> nbformat.NotebookNode:
    """Append the cell that evaluates what the source ``text`` says, where it says anything."""
    wanted = [[claim.kind, claim.source] for claim in said.claims(text)]
    if wanted:
        source = (
            "import IPython.display, bitbybit_sentences\n"
            f"said = bitbybit_sentences.evaluate(dict(globals()), {json.dumps(wanted)})\n"
            f"IPython.display.display({{{said.MIME!r}: said}}, raw=True)"
        )
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell", TAG]})
        notebook.cells.append(cell)
        if "source_map" in notebook.metadata:
            notebook.metadata["source_map"].append(text.count("\n"))
    return notebook


def results(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the last cell of an executed notebook found; nothing where it did not run."""
    for cell in notebook["cells"][-1:]:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(said.MIME)
            if found is not None:
                return list(found)
    return []


def extend_reader(create: Callable[..., Any]) -> Callable[..., Any]:
    """Return MyST-NB's maker of readers, whose readers append the cell."""

    def make(*arguments: Any) -> Any:
        reader = create(*arguments)
        if reader is not None:
            read = reader.read
            reader.read = lambda text: with_evaluation(read(text), text)
        return reader

    return make


@contextmanager
def with_outputs(client: Any, notebook: nbformat.NotebookNode) -> Iterator[Any]:
    """Run a client; then give its outputs to the notebook that MyST-NB writes for the page.

    It writes the one that it read, which has no outputs where they came from the cache.
    """
    with client as running:
        yield running
    for mine, executed in zip(notebook.cells, running.notebook.cells, strict=True):
        mine.update(executed)


def extend_client(create: Callable[..., Any]) -> Callable[..., Any]:
    """Return MyST-NB's maker of clients, whose clients do so."""

    def make(notebook: nbformat.NotebookNode, *arguments: Any) -> Any:
        return with_outputs(create(notebook, *arguments), notebook)

    return make


# --- the page -------------------------------------------------------------------------------


def role(kind: type[nodes.Element]) -> Callable[..., tuple[list[nodes.Node], list[nodes.Node]]]:
    """Return a role that leaves a node for the transform."""

    def run(
        name: str, raw: str, text: str, line: int, inliner: Any,
        options: object = None, content: object = (),
    ) -> tuple[list[nodes.Node], list[nodes.Node]]:  # fmt: skip
        return [kind(source=" ".join(nodes.unescape(text).split()))], []

    return run


class Checked(Directive):  # type: ignore[misc]
    """``{checked}``: the last words of a chapter."""

    def run(self) -> list[nodes.Node]:
        """Leave a node for the transform."""
        return [Summary()]


class Fill(SphinxTransform):  # type: ignore[misc]
    """Put the values into the page, number its marks, and report what is false."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        """Fill one page."""
        places = [*self.document.findall(lambda n: isinstance(n, (Value, Mark, Summary)))]
        if not places:
            return
        text = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        path = Path(self.app.outdir).parent / "jupyter_execute" / f"{self.env.docname}.ipynb"
        ran = path.is_file() and results(json.loads(path.read_text(encoding="utf-8")))
        if not ran:
            self.warn("nothing of what this page says was evaluated", 1)
        found = {(r["kind"], r["source"]): r for r in ran or []}
        texts = {s: r["text"] for (kind, s), r in found.items() if kind == "val" and "text" in r}
        self.report(text, found, texts)
        numbers = iter(range(1, len(places) + 1))
        for node in places:
            if isinstance(node, Value):
                node.replace_self(written(texts.get(node["source"], "?")))
            elif isinstance(node, Mark):
                attach(node, found.get(("check", node["source"])), next(numbers))
            else:
                written_here = said.sentences(text)
                node["sentences"] = [
                    (said.filled(s.text, texts), [check.source for check in s.checks])
                    for s in written_here
                    if s.checks
                ]
                node["count"] = said.count(written_here)

    def report(self, text: str, found: dict[Any, Any], texts: dict[str, str]) -> None:
        """Warn of each claim that is false or cannot be evaluated, where it stands."""
        for sentence in said.sentences(text):
            for claim in sentence.claims:
                record = found.get((claim.kind, claim.source))
                if record and (record["error"] or not record.get("true", True)):
                    self.warn(said.complaint(sentence.text, record, texts), claim.line)

    def warn(self, message: str, line: int) -> None:
        """Warn, and so let the build fail."""
        LOGGER.warning(message, location=(self.env.docname, line), type="bitbybit")


def written(text: str) -> list[nodes.Node]:
    """Return a value as nodes: what stands in backticks is code."""
    parts = text.split("`")
    return [
        nodes.literal(part, part) if i % 2 else nodes.inline(part, part, classes=["pasted-text"])
        for i, part in enumerate(parts)
        if part
    ]


def attach(node: Mark, record: dict[str, Any] | None, number: int) -> None:
    """Number a mark, let it stand close to its sentence, and give it what it shows."""
    node["number"], node["parts"] = number, record["parts"] if record else []
    parent = node.parent
    place = next(i for i, child in enumerate(parent) if child is node)  # equal texts are not it
    while place and isinstance(parent[place - 1], nodes.Text):
        place -= 1
        if kept := str(parent[place]).rstrip():  # nodes are true, even empty ones
            parent[place] = nodes.Text(kept)
            break
        del parent[place]


def visit_mark(self: HTML5Translator, node: Mark) -> None:
    """Write a button that opens expression and values, without a script."""
    name = f"checked-{node['number']}"
    rows = "".join(
        f'<span class="bb-part"><code>{escape(part)}</code> is <code>{escape(value)}</code></span>'
        for part, value in node["parts"]
    )
    self.body.append(
        f'<span class="bb-check"><button type="button" id="mark-{name}" popovertarget="{name}">'
        '<span aria-hidden="true">✓</span><span class="bb-hidden">Why this is true</span></button>'
        f'<span popover id="{name}" class="bb-why"><span class="bb-part">Checked when this page '
        f"was built: <code>{escape(node['source'])}</code></span>{rows}</span></span>"
    )
    raise nodes.SkipNode


def visit_summary(self: HTML5Translator, node: Summary) -> None:
    """Write the count, and the list behind it."""
    items, number = "", 1
    for sentence, sources in node["sentences"]:
        codes = "".join(f"<br><code>{escape(source)}</code>" for source in sources)
        items += f'<li><a href="#mark-checked-{number}">{escape(sentence)}</a>{codes}</li>'
        number += len(sources)
    self.body.append(
        f'<p class="bb-checked"><strong>{node["count"]}</strong> '
        "Each has a mark that opens the expression that makes it true. A false one stops the "
        f'build.</p>\n<details class="bb-checked"><summary>All of them</summary><ol>{items}</ol>'
        "</details>\n"
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Let kernels find the evaluation, and MyST-NB read chapters with it."""
    folder = str(Path(said.__file__).parent)
    others = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([folder, *others]))
    for name, extend in (("create_nb_reader", extend_reader), ("create_client", extend_client)):
        create = getattr(myst_nb, name)
        if create.__module__ != __name__:  # not by an earlier build of this process
            setattr(myst_nb, name, extend(create))
    app.add_node(Mark, html=(visit_mark, None))
    app.add_node(Summary, html=(visit_summary, None))
    app.add_role("val", role(Value))
    app.add_role("check", role(Mark))
    app.add_directive("checked", Checked)
    app.add_transform(Fill)
