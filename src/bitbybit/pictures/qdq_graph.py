"""A quantized file as a diagram: every node with its scales, every tensor with type and shape."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

from bitbybit.model.dataflow import Dataflow, FlowEdge, FlowNode
from bitbybit.text import printable

from .picture import ROLES, SOFT, asset, css, inline

INK = "#000001"
"""Stands for ``currentColor`` while Graphviz draws."""

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_COLOURS = {INK: "ink", "black": "ink", SOFT: "soft", "transparent": "none", "white": "none"} | {
    value: role for role, value in ROLES.items()
}
"""What Graphviz' colours stand for."""


def render(source: str, form: str = "svg") -> bytes:
    """Lay out DOT ``source`` with the ``dot`` that the pygraphviz wheel brings along.

    Returns
    -------
    The file, ``"svg"`` or ``"png"``.

    Raises
    ------
    ModuleNotFoundError
        If pygraphviz is not installed: it belongs to the extra `book`.
    """
    import pygraphviz

    with _without_warnings():
        drawn: bytes = pygraphviz.AGraph(string=source).draw(format=form, prog="dot")
    return drawn


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop what the libraries below Graphviz write to stderr, of which Python knows nothing.

    The fontconfig in the pygraphviz wheel complains about the settings of newer systems.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def of_page(document: bytes, label: str) -> ET.Element:
    """Turn Graphviz' SVG document into an element for a page.

    It takes the colours and the fonts of the page, text without a colour its ink. Its ids begin
    with ``label``. JupyterLab takes every ``<a>`` for one of HTML: links become groups with
    ``data-href``, of which the page makes links.
    """
    svg = ET.fromstring(document)  # noqa: S314 - made here
    svg.attrib = {"viewBox": svg.attrib["viewBox"]}
    for parent in list(svg.iter()):
        for title in parent.findall(f"{_SVG}title"):
            parent.remove(title)
    for item in svg.iter():
        item.tag = item.tag.removeprefix(_SVG)
        found = item.attrib
        found.pop("font-family", "")
        if "id" in found:
            found["id"] = f"{label}-{found['id']}"
        if item.tag == "a":
            item.tag, item.attrib = "g", {"data-href": found[f"{_XLINK}href"]}
        style = {name: found.pop(name) for name in ("fill", "stroke") if name in found}
        if item.tag == "text":
            style.setdefault("fill", "black")
        if style:
            roles = {name: _COLOURS.get(value.lower(), value) for name, value in style.items()}
            found["style"] = ";".join(f"{name}:{css(role)}" for name, role in roles.items())
    return svg


LONGEST = 44
"""Characters of a name that are drawn; of a longer one, its beginning and its end."""

SHAPES = {
    "QuantizeLinear": {"style": "bold"},
    "DequantizeLinear": {"style": "dashed"},
    "initializer": {"shape": "note"},
    "input": {"shape": "ellipse"},
    "output": {"shape": "ellipse"},
}

_ENDS = {"input": "graph input", "output": "graph output"}

GRAPH = {
    "rankdir": "TB", "ranksep": "0.14", "nodesep": "0.16", "newrank": "true", "pad": "0.05",
    "fontname": "sans-serif", "fontsize": "12", "color": SOFT, "bgcolor": "white",
}  # fmt: skip
NODES = {
    "shape": "box", "fontname": "sans-serif", "fontsize": "11", "height": "0.2",
    "margin": "0.08,0.04", "color": SOFT,
}  # fmt: skip
EDGES = {"fontname": "sans-serif", "fontsize": "10", "arrowsize": "0.5"}


def text_of(*lines: str) -> str:
    """Return ``lines`` as a label that shows them literally.

    Character references and backslashes are escaped, control and invisible characters written
    as escapes, and long lines shortened; the package ``graphviz`` adds the quotes.
    """
    import graphviz

    escaped = []
    for line in lines:
        cut = LONGEST // 2
        shown = printable(line if len(line) <= LONGEST else f"{line[:cut]}…{line[-cut:]}")
        escaped.append(str(graphviz.escape(shown.replace("&", "&amp;"))))
    label: str = graphviz.nohtml("\\n".join(escaped))
    return label


def qdq_source(flow: Dataflow, links: str = "") -> str:
    """Return the diagram in DOT.

    Parameters
    ----------
    flow
        The nodes and edges of a file.
    links
        If given, each node links to this address followed by the name of its layer.

    Returns
    -------
    DOT. Solid arrows are integers, dashed ones floats; clusters are the input quantization, the
    stacks (layers whose names share what stands before the last dot), the residual adds and the
    output dequantization. Names cannot leave their quotes.
    """
    from graphviz import Digraph

    members: dict[str, list[int]] = {}
    for index, node in enumerate(flow.nodes):
        members.setdefault(node.layer, []).append(index)
    graph = Digraph("qdq", graph_attr=GRAPH, node_attr=NODES, edge_attr=EDGES)
    sections: dict[str, list[str]] = {}
    for layer, kind in flow.layers.items():
        sections.setdefault(_section(layer, kind), []).append(layer)
    for number, (title, layers) in enumerate(sections.items()):
        with _cluster(graph, f"s{number}", title) as section:
            for layer in layers:
                inside = members.get(layer, [])
                adds = "residual add" if flow.layers[layer] == "add" and inside else ""
                with _cluster(section, f"l{min(inside, default=0)}", adds) as part:
                    for index in inside:
                        _add_node(part, flow.nodes[index], index, links)
    for index in members.get("", []):
        _add_node(graph, flow.nodes[index], index, links)
    for edge in flow.edges:
        _add_edge(graph, edge, flow.nodes)
    for above, below in _order(flow, members):
        graph.edge(f"n{above}", f"n{below}", style="invis", weight="0")
    return str(graph.source)


def _section(layer: str, kind: str) -> str:
    """Return the title of the section of the diagram in which a layer stands, "" for none."""
    titles = {"quantize": "input quantization", "dequantize": "output dequantization"}
    return titles.get(kind, layer.rpartition(".")[0])


def _cluster(graph: Any, name: str, title: str) -> AbstractContextManager[Any]:
    """Return a frame with a title within a graph; without a title the graph itself."""
    if not title:
        return nullcontext(graph)
    attributes = {"label": text_of(title), "labeljust": "l", "margin": "6"}
    frame: AbstractContextManager[Any] = graph.subgraph(
        name=f"cluster_{name}", graph_attr=attributes
    )
    return frame


def _add_node(graph: Any, node: FlowNode, index: int, links: str) -> None:
    """Add one node: operator, name, then a line for each scale and zero point."""
    lines = [_ENDS.get(node.op, node.op)] if node.op != "initializer" else []
    lines += [node.name] if node.name else []
    for scale, zero_point in node.parameters:
        lines += [scale, zero_point or "zero point 0"]
    style = dict(SHAPES.get(node.op, {"style": "bold", "color": INK}))
    if node.op in {"QuantizeLinear", "DequantizeLinear", "initializer"}:
        style["color"] = ROLES[node.role]
    if links and node.layer:
        style["URL"] = text_of(links + node.layer)
    graph.node(f"n{index}", text_of(*lines), **style)


def _add_edge(graph: Any, edge: FlowEdge, nodes: tuple[FlowNode, ...]) -> None:
    """Add one arrow, labelled with type and shape; floats are dashed."""
    shape = "shape unknown"
    if edge.shape is not None:
        shape = "×".join("N" if d is None else str(d) for d in edge.shape) or "scalar"
    style = "solid" if "int" in edge.dtype else "dashed"
    colour = ROLES.get(nodes[edge.source].role, INK)
    label = text_of(f" {edge.dtype or 'type unknown'} {shape} ")
    graph.edge(f"n{edge.source}", f"n{edge.target}", label, style=style, color=colour)


def _order(flow: Dataflow, members: dict[str, list[int]]) -> list[tuple[int, int]]:
    """Return the ends of invisible arrows that put each layer below the one before it.

    A layer's constants stand beside the quantizer of the layer before it, unless a section ends
    between the two.
    """
    pairs: list[tuple[int, int]] = []
    main: int | None = None
    last: int | None = None
    section = ""
    for layer, kind in flow.layers.items():
        inside = members.get(layer, [])
        constants = [i for i in inside if flow.nodes[i].op == "initializer"]
        flowing = [i for i in inside if flow.nodes[i].role == "activation" and i not in constants]
        if not flowing:
            continue
        same = _section(layer, kind) == section
        above, below = (main, constants or flowing[:1]) if same else (last, inside)
        if above is not None:
            pairs += [(above, i) for i in below]
        section, main, last = _section(layer, kind), flowing[0], flowing[-1]
    return pairs


@dataclass(frozen=True)
class QdqGraph:
    """The diagram with its label, caption and alternative text; its nodes are links.

    A row of switches above it sets its size; it needs no script. Raises ModuleNotFoundError when
    shown without pygraphviz.
    """

    source: str
    label: str
    caption: str
    alt: str

    def _repr_html_(self) -> str:
        """Show the figure on a page and in a notebook."""
        svg = of_page(render(self.source), self.label)
        width = float(svg.attrib["viewBox"].split()[2])
        svg.attrib |= {"role": "group", "aria-label": self.alt}
        label = escape(self.label)
        switches = "".join(
            f'<input type="radio" name="{label}-zoom" id="{label}-zoom-{number}"'
            f"{' checked' if number == 1 else ''}>"
            f'<label for="{label}-zoom-{number}">{title}</label>'
            for number, title in enumerate(("whole", "page width", "large"))
        )
        return (
            f'<figure class="bb-figure bb-graph" id="{label}" style="--bb-width:{width:.0f}px">'
            f"<style>{asset('graph.css')}</style>{switches}"
            f'<div class="bb-frame bb-zoom">{ET.tostring(svg, encoding="unicode")}</div>'
            f"<figcaption>{inline(self.caption)}</figcaption></figure>"
        )


def qdq_graph(flow: Dataflow, *, label: str, caption: str, links: str = "") -> QdqGraph:
    """Draw a quantized file with every quantizer, dequantizer, scale and zero point.

    Parameters
    ----------
    flow
        The nodes and edges of a file, from ``inspection.dataflow``.
    label, caption
        As for :class:`Picture`.
    links
        If given, each node links to this address followed by the name of its layer.
    """
    counts = {
        op: sum(node.op == op for node in flow.nodes)
        for op in ("QuantizeLinear", "DequantizeLinear")
    }
    alt = (
        f"Graph of {printable(flow.file)}: {counts['QuantizeLinear']} QuantizeLinear and "
        f"{counts['DequantizeLinear']} DequantizeLinear nodes around {len(flow.layers)} layers; "
        "the tables of this page hold the same nodes, scales and zero points as text"
    )
    return QdqGraph(qdq_source(flow, links), label, caption, alt)
