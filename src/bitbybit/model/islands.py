"""All layers of a rewritten graph: what matchers read, and float islands of what is left.

An island is a connected piece of nodes that make no integer layer, as small as possible.  In a
quantized file it grows from an edge backwards, over every float tensor that only it reads, to the
integer edges that feed it; so it has one output.  In a float file every node is an island of its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bitbybit.model.graph import Graph, Node, is_known
from bitbybit.model.match import matched
from bitbybit.model.onnx_file import unsupported
from bitbybit.model.operands import Match
from bitbybit.model.operators import DEQUANTIZE, QUANTIZE
from bitbybit.model.rewrite import View
from bitbybit.model.types import Dequantize, FloatIsland, Quantize
from bitbybit.text import shortened

DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul")
"""Operators that compute a scale from the values that they are given."""


def all_layers(view: View) -> list[Match]:
    """Return all layers of a rewritten graph in its order, islands included.

    Raises
    ------
    ModelError : a node that contradicts its inputs
    UnsupportedError : an operator that neither ONNX nor ONNX Runtime defines
    """
    layers, reasons = matched(view)
    claimed = {node.index for match in layers for node in match.nodes}
    # not left: what became no step, or the real view of an edge
    kept = {s.node.index for s in view.steps if s.op != DEQUANTIZE or s.why} - claimed
    left = [node for node in view.graph.nodes if node.index in kept]
    layers += _islands(view, left, reasons) + _dequantizers(view) + _constant_outputs(view)
    layers.sort(key=lambda match: match.place)
    _check_known(view.graph, layers)
    return layers


def _check_known(graph: Graph, layers: Iterable[Match]) -> None:
    """Refuse an operator that neither ONNX nor ONNX Runtime defines.

    Raises
    ------
    UnsupportedError : names the node, the operator and what was read before it
    """
    node = next((n for n in graph.nodes if not is_known(n, graph.file.opsets)), None)
    if node is None:
        return
    before = [m for m in layers if m.place < node.index and not isinstance(m.layer, FloatIsland)]
    so_far = "no layer was read before it"
    if before:
        last = shortened(before[-1].main.name or before[-1].main.op)
        so_far = f"{len(before)} layers were read before it, the last one '{last}'"
    full = shortened(f"{node.domain}.{node.op}" if node.domain else node.op)
    next_step = "Give the network up to there, or write this part with ONNX operators."
    raise unsupported(node.where, f"unsupported operator {full}; {so_far}", next_step=next_step)


def _dequantizers(view: View) -> list[Match]:
    """Return a Dequantize layer for each graph output that is the real view of an edge."""
    found = {}
    for name in view.graph.outputs:
        value = view.value(name)
        if value is not None and value.kind == "real":
            node = view.maker[view.resolve(name)].node
            place = view.graph.producer[name].index
            found[name] = Match(Dequantize(name, (value.edge,)), node, (node,), at=place)
    return list(found.values())


def _constant_outputs(view: View) -> list[Match]:
    """Return a float island without inputs for each graph output that is a constant."""
    added = [step for step in view.steps if step.node.index >= len(view.graph.nodes)]
    reason = "it is a constant of the file: no integer layer makes it"
    return [
        Match(FloatIsland(step.outputs[0], (), reason=reason), step.node, (step.node,))
        for step in added
    ]


def _islands(view: View, left: Sequence[Node], reasons: dict[int, str]) -> list[Match]:
    """Return one match per island, and a Quantize layer for a QuantizeLinear left alone.

    ``left`` are the nodes of no layer, in graph order.
    """
    graph = view.graph
    groups: dict[str, list[Node]] = {}
    group_of: dict[int, str] = {}
    for node in reversed(left):
        used = [o for o in node.outputs if o in graph.consumers or o in graph.output_set]
        roots = used
        if all(_joins(view, tensor) for tensor in used):
            owners = {group_of.get(c.index, "") for tensor in used for c in graph.consumers[tensor]}
            roots = [*owners] if len(owners) == 1 and "" not in owners else used
        if len(roots) == 1:
            group_of[node.index] = roots[0]
        for root in roots:
            groups.setdefault(root, []).append(node)
    return [_island(view, root, members[::-1], reasons) for root, members in groups.items()]


def _joins(view: View, tensor: str) -> bool:
    """Tell whether the maker of a tensor belongs to the island of its reader."""
    value = view.value(tensor)
    if tensor in view.graph.output_set or value is None or value.kind == "codes":
        return False
    return view.quantized or tensor in view.shape_tensors


def _island(view: View, root: str, nodes: list[Node], reasons: dict[int, str]) -> Match:
    first = nodes[0]
    if len(nodes) == 1 and first.op == QUANTIZE and root in view.codes:
        value = view.value(first.inputs[0])
        if value is not None and value.kind == "float" and first.index not in reasons:
            return Match(Quantize(root, (value.edge,)), first, (first,))
    core = [n for n in nodes if n.op not in (QUANTIZE, DEQUANTIZE)] or nodes
    refused = next((n for n in nodes if n.index in reasons), None)
    node, why = core[0], "it works on float values"
    if refused is not None:
        node, why = refused, reasons[refused.index]
    text = _dynamic(view, node) or (why if why.startswith(node.op) else f"{node.op}: {why}")
    layer = FloatIsland(root, _inputs(view, nodes), reason=text)
    return Match(layer, core[-1], tuple(nodes))


def _dynamic(view: View, node: Node) -> str:
    """Say of a node of dynamic quantization that it is one, "" of others."""
    makers = [view.graph.producer.get(name) for name in node.inputs]
    ops = {node.op, *(m.op for m in makers if m is not None)}
    if ops.isdisjoint((*DYNAMIC, "MatMulIntegerToFloat")):
        return ""
    return (
        f"{node.op} belongs to dynamic quantization: the scale of its activations is computed "
        "from each input"
    )


def _inputs(view: View, nodes: list[Node]) -> tuple[str, ...]:
    """Return the edges that feed an island, each once, in order of first use."""
    inside = {o for n in nodes for o in n.outputs}
    values = [view.value(n) for node in nodes for n in node.inputs if n not in inside]
    return tuple(dict.fromkeys(value.edge for value in values if value is not None))
