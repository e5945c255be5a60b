"""Matchers: from a step of the rewritten graph to an integer layer, or why it is none.

A matcher is a pure function of the view, the shapes and the step.  Names of layers and edges are
still those of tensors.
"""

from __future__ import annotations

import math
from dataclasses import replace

from bitbybit.model.fold import NoLayerError, check_axis
from bitbybit.model.graph import Node, Shape, Step
from bitbybit.model.match_operations import OPERATIONS, mean, moving, requantized
from bitbybit.model.onnx_file import wrong
from bitbybit.model.operands import (
    READS,
    Match,
    Matcher,
    Tail,
    Weighted,
    check_types,
    check_window,
    conv_pads,
    edge_of,
    follow,
    keeps,
    weighted,
)
from bitbybit.model.operators import QUANTIZE, operator
from bitbybit.model.rewrite import View
from bitbybit.model.types import Add, Conv, Dense, FloatIsland, GlobalPool, Layer, Reshape


def moved(view: View, step: Step) -> Match:
    """Read what moves codes as a layer, or as an island that needs no float arithmetic."""
    value = view.value(step.inputs[0])
    if value is None:
        raise NoLayerError(f"{step.op} works on a constant")
    try:
        layer: Layer
        if keeps(step) == "order":
            layer = Reshape(step.outputs[0], (value.edge,), shape=_reshaped(view, step))
        else:
            layer = moving(view, step, value)
        return Match(layer, step.node, (step.node,))
    except NoLayerError as error:
        reason = f"{step.op}: {error.why}"
    if not view.quantized:
        raise NoLayerError(reason)
    island = FloatIsland(step.outputs[0], (value.edge,), reason=reason)
    return Match(island, step.node, (step.node,), on_codes=True)


def _reshaped(view: View, step: Step) -> Shape:
    """Return the output shape of Flatten, Reshape, Squeeze or Unsqueeze, checked."""
    x, y = (view.shapes[tensor] for tensor in (step.inputs[0], step.outputs[0]))
    _check_move(view, step, x)
    if x is None:
        raise NoLayerError("the shape of its input is open")
    if y is None and step.op == "Squeeze":
        raise NoLayerError("it drops dimensions that the file leaves open")
    if y is None or None in y[1:]:
        raise NoLayerError("its output shape is open beyond the batch")
    return y


def _check_move(view: View, step: Step, x: Shape | None) -> None:
    """Refuse axes and sizes that contradict the input.

    Raises
    ------
    ModelError : an axis out of range, another number of elements
    """
    node = step.node
    if step.op == "Reshape":
        _check_target(node, x, view.constants.ints(node, 1, "") or ())
    if x is None or step.op == "Reshape":
        return
    if step.op == "Flatten":
        axis = node.int("axis", 1)
        check_axis(0 if axis == len(x) else axis, len(x), f"{node.where}, axis")
        return
    axes = view.constants.ints(node, 1, "axes") or ()
    rank = len(x) + (len(axes) if step.op == "Unsqueeze" else 0)
    places = [check_axis(a, rank, f"{node.where}, axes") for a in axes]
    kept = [x[p] for p in places if step.op == "Squeeze" and x[p] not in (1, None)]
    if kept:
        raise wrong(node.where, "Squeeze drops a dimension that is not 1", found=kept[0])


def _check_target(node: Node, x: Shape | None, target: tuple[int, ...]) -> None:
    if min(target, default=0) < -1 or target.count(-1) > 1:
        raise wrong(node.where, "a shape may hold one -1", found=list(target))
    if x is None or None in x:
        return
    copied = (0 in target) and not node.int("allowzero", 0)
    out = [x[i] if d == 0 and copied and i < len(x) else d for i, d in enumerate(target)]
    have = math.prod(d for d in x if d is not None)
    want = math.prod(d for d in out if d is not None and d != -1)
    if -1 in out and (want == 0 or have % want):
        raise wrong(node.where, "Reshape cannot fill this shape", x, list(target))
    if -1 not in out and have != want:
        raise wrong(node.where, "Reshape changes the number of elements", x, out)


def conv(view: View, step: Step) -> Match:
    """Read Conv with constant weights."""
    o, node = weighted(view, step, 4, 0, step.input(2), step), step.node
    x, shape = view.shapes[o.edge], o.weight.values.shape
    if x is not None and len(x) != 4:
        next_step = "Give it an image: [N, C, H, W]."
        what = "the input has another number of dimensions"
        raise wrong(node.where, what, 4, f"shape {x}", next_step)
    check_window(node, shape, x)
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    layer = Conv(
        o.tail.output,
        (o.edge,),
        o.weight,
        o.bias,
        strides=(strides[0], strides[1]),
        pads=conv_pads(node, shape[2:], (None, None) if x is None else x[2:]),
        dilations=(dilations[0], dilations[1]),
        group=node.int("group", 1),
        relu=o.tail.relu,
    )
    match = Match(layer, node, (node, *o.tail.nodes), least=(None, shape[0], None, None))
    return _pixel(view, match) or match


def _pixel(view: View, conv: Match) -> Match | None:
    """Return Reshape, 1x1 Conv, Reshape on one pixel as the dense layer that it is.

    That is how files with standard ONNX operators carry the bias of a dense layer: QLinearMatMul
    has none, QLinearConv has.  Both compute ``m = (x_scale * w_scale) / y_scale`` in float32, so
    the integers are equal.
    """
    layer = conv.layer
    first, last = view.maker.get(layer.inputs[0]), _only_reader(view, layer.name)
    if not isinstance(layer, Conv) or first is None or last is None:
        return None
    if any(s.why or keeps(s) != "order" for s in (first, last)):
        return None
    channels, features, *kernel = layer.weight.values.shape
    inside = [(features,), (features, 1, 1), (channels, 1, 1), (channels,)]
    edges = (first.inputs[0], first.outputs[0], layer.name, last.outputs[0])
    if kernel != [1, 1] or layer.group != 1 or any(layer.pads):
        return None
    if [(view.shapes[edge] or ())[1:] for edge in edges] != inside:
        return None
    if _only_reader(view, first.outputs[0]) is None:
        return None
    image = replace(layer.weight, values=layer.weight.values[:, :, 0, 0])
    weight = image.transposed((1, 0))
    dense = Dense(last.outputs[0], (first.inputs[0],), weight, layer.bias, relu=layer.relu)
    return Match(dense, conv.main, (first.node, *conv.nodes, last.node))


def _only_reader(view: View, edge: str) -> Step | None:
    """Return the only step behind an edge, its real views looked through."""
    steps = list(view.readers.get(edge, []))
    ends = {view.resolve(name) for name in view.graph.outputs}
    for step in steps:
        if step.outputs[0] in view.real:
            steps.extend(view.readers.get(step.outputs[0], []))
    kept = [s for s in steps if s.outputs[0] not in view.real]
    seen = {edge} | {s.outputs[0] for s in steps if s.outputs[0] in view.real}
    return kept[0] if len(kept) == 1 and not seen & ends else None


def gemm(view: View, step: Step) -> Match:
    """Read Gemm as a dense layer."""
    node = step.node
    if node.float("alpha", 1.0) != 1.0 or node.int("transA", 0):
        raise NoLayerError("its alpha is not 1 or its input is transposed")
    if step.input(2) and node.float("beta", 1.0) != 1.0:
        raise NoLayerError("its beta is not 1")
    axis = 0 if node.int("transB", 0) else 1
    o = weighted(view, step, 2, axis, step.input(2), step)
    return _dense(view, step, o if axis else o._replace(weight=o.weight.transposed((1, 0))))


def matmul(view: View, step: Step) -> Match:
    """Read MatMul, with the Add of a constant behind it, as a dense layer."""
    add = view.sole_reader(step.outputs[0])
    bias, last = "", step
    between: tuple[Node, ...] = ()
    if add is not None and add.op == "Add" and add.node.domain == "":
        others = [n for n in add.inputs if n != step.outputs[0]]
        if len(others) == 1 and others[0] in view.constants:
            bias, last, between = others[0], add, (add.node,)
    return _dense(view, step, weighted(view, step, 2, 1, bias, last), between)


def _dense(view: View, step: Step, o: Weighted, between: tuple[Node, ...] = ()) -> Match:
    x = view.shapes[o.edge]
    features, channels = o.weight.values.shape
    if x is not None and len(x) != 2:
        raise NoLayerError(f"its input has {len(x)} dimensions")
    if channels == 0:
        raise NoLayerError("it has no output channel")
    if x is not None and x[1] not in (None, features):
        what = "the input has another number of features than the weights"
        raise wrong(step.node.where, what, features, x[1], READS)
    layer = Dense(o.tail.output, (o.edge,), o.weight, o.bias, relu=o.tail.relu)
    nodes = (step.node, *between, *o.tail.nodes)
    return Match(layer, step.node, nodes, least=(None, channels))


def add(view: View, step: Step) -> Match:
    """Read the Add of two edges."""
    edges = tuple(edge_of(view, name, step.op) for name in step.inputs)
    tail = follow(view, step.outputs[0])
    for edge in edges if view.quantized else ():
        check_types(view.codes[edge], tail.params, None)
    _check_addends(step.node, *(view.shapes[edge] for edge in edges))
    layer = Add(tail.output, edges, relu=tail.relu)
    return Match(layer, step.node, (step.node, *tail.nodes))


def _check_addends(node: Node, a: Shape | None, b: Shape | None) -> None:
    """Require a sum that repeats none of its inputs.

    Raises
    ------
    ModelError : shapes that do not agree
    """
    if a is None or b is None:
        return
    for left, right in zip(reversed(a), reversed(b), strict=False):
        if left is not None and right is not None and left != right and 1 not in (left, right):
            next_step = "Check which tensors this node should read."
            raise wrong(node.where, "the inputs have different shapes", a, b, next_step)
    if len(a) != len(b) or any(None not in (p, q) and p != q for p, q in zip(a, b, strict=True)):
        raise NoLayerError(f"it repeats an input to add shapes {a} and {b}")


def global_pool(view: View, step: Step) -> Match:
    """Read GlobalAveragePool, or in a float file ReduceMean over the image."""
    node = step.node
    if step.op == "ReduceMean":
        if view.quantized:
            return mean(view, step)
        if not _means_image(view, step):
            raise NoLayerError(f"{step.op} is no integer layer of the contract")
    if node.int("channels_last", 0):
        raise NoLayerError("its channels come last")
    edge = edge_of(view, step.inputs[0], step.op)
    tail = Tail((), step.outputs[0], None, False)
    if view.quantized:
        tail = follow(view, step.outputs[0])
        if len(tail.nodes) > 1:
            raise NoLayerError(f"{tail.nodes[0].op} follows it")
        check_types(view.codes[edge], tail.params, None)
    x = view.shapes[edge]
    if x is not None and len(x) != 4:
        raise NoLayerError(f"its input has {len(x)} dimensions")
    layer = GlobalPool(tail.output, (edge,))
    return Match(layer, node, (node, *tail.nodes), least=(None, None, 1, 1))


def _means_image(view: View, step: Step) -> bool:
    axes = view.constants.ints(step.node, 1, "axes")
    kept = step.node.int("keepdims", 1) == 1
    return kept and axes in ((2, 3), (-2, -1))


MATCHERS: dict[str, Matcher] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": add,
    "GlobalAveragePool": global_pool,
    "ReduceMean": global_pool,
    **OPERATIONS,
}
"""Operator of the rewritten graph → its matcher."""


def matched(view: View) -> tuple[list[Match], dict[int, str]]:
    """Return the layers, and for each node that makes none why that is so."""
    matches: list[Match] = []
    reasons: dict[int, str] = {}
    claimed: set[int] = set()
    order = [s for s in view.steps if not keeps(s)] + [s for s in view.steps if keeps(s)]
    for step in order:
        if step.node.index in claimed and step.node.op != "Split":
            continue
        if step.params is not None and not step.why:
            continue
        try:
            match = _match(view, step)
        except NoLayerError as error:
            reasons.setdefault(step.node.index, error.why)
            continue
        matches.append(match)
        claimed.update(node.index for node in match.nodes)
    return matches, reasons


def _match(view: View, step: Step) -> Match:
    if step.op == QUANTIZE and step.params is not None and step.inputs[0] in view.real:
        return requantized(view, step)
    if step.why:
        raise NoLayerError(step.why)
    known = step.node.domain == "" or operator(step.node.op, step.node.domain) is not None
    matcher = moved if keeps(step) else MATCHERS.get(step.op) if known else None
    if matcher is None:
        raise NoLayerError(f"{step.node.op} is no integer layer of the contract")
    return matcher(view, step)
