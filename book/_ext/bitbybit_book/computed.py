"""Figures and tables that a cell computed become numbered, referable ones.

``bitbybit.pictures`` returns HTML that starts with ``<figure class="bb-`` and carries its id and
caption.  A notebook shows it as it is.  Here it becomes a node that Sphinx counts, so that
``{numref}`` finds it and the page says "Figure 2.3".
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator

OPENING = re.compile(r'<figure class="bb-(figure|table)[^"]*" id="([\w.-]+)"')
CAPTION = re.compile(r"(<figcaption[^>]*>|<caption[^>]*>)(.*?)(?=</figcaption>|</caption>)", re.S)
LINKED = re.compile(r'<g data-href="([^"]*)"([^>]*)>(.*?)</g>', re.DOTALL)
"""A group of a drawing that leads somewhere."""
TAG = re.compile(r"<[^>]+>")


class ComputedFigure(nodes.Element):  # type: ignore[misc]
    """A figure whose HTML is in ``node["html"]``."""


class ComputedTable(nodes.Element):  # type: ignore[misc]
    """A table whose HTML is in ``node["html"]``."""


NODES = {"figure": ComputedFigure, "table": ComputedTable}


class NumberComputed(SphinxTransform):
    """Replace each output that is such HTML by its node, registered under its id."""

    default_priority = 10

    def apply(self, **kwargs: Any) -> None:
        """Replace the outputs of one page."""
        bundles = [
            node
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "mime_bundle"
        ]
        for bundle in bundles:
            for raw in list(bundle.findall(nodes.raw)):
                match = OPENING.match(raw.astext())
                if match:
                    bundle.replace_self(self.numbered(match, raw))
                    break

    def numbered(self, match: re.Match[str], raw: nodes.raw) -> nodes.Element:
        """Make the node and note its name as the target of references."""
        html, name = LINKED.sub(r'<a href="\1"\2>\3</a>', raw.astext()), match[2]
        caption = CAPTION.search(html)
        node = NODES[match[1]](html=html, names=[name])
        node["title"] = TAG.sub("", caption[2]) if caption else ""
        node.source, node.line = raw.source, raw.line
        node["ids"].append(name)
        self.document.note_explicit_target(node, node)
        return node


def title_of(node: nodes.Element) -> str:
    """Return the caption; Sphinx counts only nodes that have one."""
    return str(node["title"])


def visit(self: HTML5Translator, node: nodes.Element) -> None:
    """Write the HTML with the number in front of the caption."""
    caption = CAPTION.search(node["html"])
    cut = caption.end(1) if caption else 0
    self.body.append(node["html"][:cut])
    if caption:
        self.add_fignumber(node)
    self.body.append(node["html"][cut:] + "\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the transform and the two kinds of node."""
    for figtype, kind in NODES.items():
        app.add_enumerable_node(kind, figtype, title_of, html=(visit, None))
    app.add_transform(NumberComputed)
