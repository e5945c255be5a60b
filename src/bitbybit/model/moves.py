"""Operators that move codes: Reshape as a layer, others as islands without float arithmetic."""

from __future__ import annotations

import math

from bitbybit.model.graph import Node, Shape
from bitbybit.model.onnx_file import wrong
from bitbybit.model.operands import (
    Found,
    Match,
    keeps,
)
from bitbybit.model.parameters import No, check_axis
from bitbybit.model.rewrite import Step, View
from bitbybit.model.types import (
    FloatIsland,
    Reshape,
)


def moved(found: Found, step: Step) -> Match | No:
    """Read Reshape as a layer, other moves of codes as islands that need no float arithmetic."""
    if step.why is not None:
        return step.why
    view, node = found.view, step.node
    value = view.value(step.inputs[0])
    if value is None:
        return No(f"{step.op} works on a constant")
    if keeps(step) == "order":
        shape = _reshaped(found, step)
        if not isinstance(shape, No):
            layer = Reshape(step.outputs[0], (value.edge,), shape=shape)
            return Match(layer, node, (node,))
        reason = f"{step.op}: {shape.why}"
    else:
        reason = f"{step.op} moves integers unchanged and is no layer of the contract"
    if not view.quantized:
        return No(reason)
    island = FloatIsland(step.outputs[0], (value.edge,), reason=reason)
    return Match(island, node, (node,), on_codes=True)


def _reshaped(found: Found, step: Step) -> Shape | No:
    """Return the output shape of Flatten, Reshape, Squeeze or Unsqueeze, checked."""
    x, y = (found.shapes[tensor] for tensor in (step.inputs[0], step.outputs[0]))
    _check_move(found.view, step, x)
    if x is None:
        return No("the shape of its input is open")
    if y is None and step.op == "Squeeze":
        return No("it drops dimensions that the file leaves open")
    if y is None or None in y[1:]:
        return No("its output shape is open beyond the batch")
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
