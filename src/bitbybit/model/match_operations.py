"""Matchers of operators without weights: pools, functions of one code, products, what moves codes.

Some of them ONNX Runtime computes on codes (com.microsoft's QLinear operators), some on real
values, one by one or in an order that it keeps: of each :mod:`bitbybit.arithmetic` has the
definition, equal bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bitbybit.arithmetic import HEADROOM, LANES
from bitbybit.model.fold import NoLayerError
from bitbybit.model.graph import Node, Shape, Step
from bitbybit.model.moves import attributes_of
from bitbybit.model.operands import (
    Match,
    Matcher,
    Tail,
    check_types,
    conv_pads,
    edge_of,
    follow,
    limits_of_clip,
)
from bitbybit.model.operators import DEQUANTIZE, ONNX_DOMAIN, QUANTIZE
from bitbybit.model.rewrite import Value, View
from bitbybit.model.types import (
    AveragePool,
    Concat,
    Lookup,
    MaxPool,
    Mean,
    Move,
    Mul,
    Operation,
    QuantParams,
    Softmax,
)

_BYTE = (np.dtype(np.int8), np.dtype(np.uint8))


def moving(view: View, step: Step, value: Value) -> Operation:
    """Return the layer of an operator that moves codes, or takes the largest."""
    params = view.codes.get(value.edge)
    name, edges = step.outputs[0], (value.edge,)
    if not view.quantized:
        raise NoLayerError(f"{step.op} works on float values here")
    if step.op != "MaxPool":
        attributes = attributes_of(view.constants, step, params, on_codes=not step.on_codes)
        return Move(name, edges, step.op, attributes)
    dtype = view.dtypes.get(value.edge)
    if dtype not in _BYTE:
        raise NoLayerError(f"no integer kernel takes {dtype} activations")
    if step.node.int("storage_order", 0):
        raise NoLayerError("it counts columns first")
    return MaxPool(name, edges, step.op, _window(step.node, view.shapes[value.edge]))


def _window(node: Node, x: Shape | None) -> dict[str, Any]:
    """Return the window of a 2-D pool, auto_pad resolved."""
    kernel = node.ints("kernel_shape", ())
    if len(kernel) != 2 or min(kernel) < 1:
        raise NoLayerError(f"its window has {len(kernel)} dimensions")
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    if len(strides) != 2 or len(dilations) != 2 or min(*strides, *dilations) < 1:
        raise NoLayerError("its strides and dilations are not two positive integers")
    ceil_mode = node.int("ceil_mode", 0)
    if ceil_mode and node.text("auto_pad", "NOTSET").startswith("SAME"):
        raise NoLayerError("it has both SAME padding and ceil_mode")
    pads = conv_pads(node, kernel, (None, None) if x is None else x[2:])
    if any(pad >= size for pad, size in zip(pads, kernel * 2, strict=True)):
        raise NoLayerError("its pads are as wide as its window")
    found = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    return found | {"ceil_mode": ceil_mode}


def _tail(view: View, step: Step, *, alone: bool = True) -> Tail:
    """Return the QuantizeLinear behind an operator; ``alone``: without an activation before it."""
    if not view.quantized:
        raise NoLayerError(f"{step.op} is no integer layer of the contract")
    tail = follow(view, step.outputs[0])
    if alone and tail.nodes and tail.nodes[0].op != QUANTIZE:
        raise NoLayerError(f"{tail.nodes[0].op} follows it")
    return tail


def _check_bytes(*known: QuantParams | None) -> None:
    """Require 8-bit codes with one scale; the types may differ."""
    for params in known:
        if params is None:
            raise NoLayerError("its input has no scale")
        if params.per_channel:
            raise NoLayerError("an activation has one scale per channel")
        if params.dtype not in _BYTE:
            raise NoLayerError(f"no integer kernel takes {params.dtype} activations")


def _made(step: Step, layer: Operation, tail: Tail) -> Match:
    return Match(layer, step.node, (step.node, *tail.nodes))


def requantized(view: View, step: Step) -> Match:
    """Read a QuantizeLinear of dequantized codes: the same real values at another scale."""
    edge = view.real[step.inputs[0]]
    _check_bytes(view.codes[edge], step.params)
    layer = Lookup(step.outputs[0], (edge,), "Identity")
    return Match(layer, step.node, (step.node,))


_DEFAULTS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.01},
    "Sigmoid": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "HardSwish": {},
    "Tanh": {},
}
"""Function of one code → its attributes and what they are by default."""


def lookup(view: View, step: Step) -> Match:
    """Read a function of one number."""
    value = view.value(step.inputs[0])
    if value is not None and value.kind == "codes":
        raise NoLayerError(f"{step.op} is no integer layer of the contract")
    tail, edge = _tail(view, step, alone=False), edge_of(view, step.inputs[0])
    _check_bytes(view.codes[edge], tail.params)
    if step.op == "Clip":
        limits = limits_of_clip(step.node, view.constants.plain)
        if limits is None:
            raise NoLayerError("the limits of Clip are not constants")
        ends = zip(("min", "max"), limits, strict=True)
        found = {name: limit for name, limit in ends if np.isfinite(limit)}
    else:
        defaults = _DEFAULTS[step.op].items()
        found = {name: step.node.float(name, default) for name, default in defaults}
    return _made(step, Lookup(tail.output, (edge,), step.op, found), tail)


def mul(view: View, step: Step) -> Match:
    """Read the product of two edges."""
    tail = _tail(view, step)
    edges = tuple(edge_of(view, name, step.op) for name in step.inputs)
    for edge in edges:
        check_types(view.codes[edge], tail.params, None)
    return _made(step, Mul(tail.output, edges, step.op), tail)


def concat(view: View, step: Step) -> Match:
    """Read edges, or codes of equal parameters, side by side."""
    output, axis = step.outputs[0], {"axis": step.node.int("axis", 1)}
    if output in view.codes:
        edges, tail = step.inputs, Tail((), output, view.codes[output], False)
    else:
        tail = _tail(view, step, alone=False)
        edges = tuple(edge_of(view, name) for name in step.inputs)
    _check_bytes(*(view.codes[edge] for edge in edges), tail.params)
    return _made(step, Concat(tail.output, edges, step.op, axis), tail)


def average_pool(view: View, step: Step) -> Match:
    """Read AveragePool."""
    tail, edge = _tail(view, step), edge_of(view, step.inputs[0], step.op)
    check_types(view.codes[edge], tail.params, None)
    if step.node.int("channels_last", 0):
        raise NoLayerError("its channels come last")
    found = _window(step.node, view.shapes[edge])
    if max(found.pop("dilations")) > 1:
        raise NoLayerError("its window is dilated")
    found["count_include_pad"] = step.node.int("count_include_pad", 0)
    return _made(step, AveragePool(tail.output, (edge,), step.op, found), tail)


def softmax(view: View, step: Step) -> Match:
    """Read Softmax along one axis."""
    tail, edge = _tail(view, step), edge_of(view, step.inputs[0], step.op)
    check_types(view.codes[edge], tail.params, None)
    opset = step.node.int("opset", view.graph.file.opsets[ONNX_DOMAIN])
    axis, x = step.node.int("axis", -1 if opset >= 13 else 1), view.shapes[edge]
    if opset < 13 and (x is None or axis % len(x) != len(x) - 1):
        raise NoLayerError("before opset 13 it sums over several axes")
    terms = None if x is None or not -len(x) <= axis < len(x) else x[axis]
    if tail.params is not None and HEADROOM * (terms or 1) <= 1 / float(tail.params.scale):
        raise NoLayerError("ONNX Runtime overflows: its output scale is too small for its terms")
    return _made(step, Softmax(tail.output, (edge,), step.op, {"axis": axis}), tail)


def mean(view: View, step: Step) -> Match:
    """Read ReduceMean over the image."""
    tail, edge = _tail(view, step, alone=False), edge_of(view, step.inputs[0])
    _check_bytes(view.codes[edge], tail.params)
    axes = view.constants.ints(step.node, 1, "axes")
    x = view.shapes[edge]
    if axes not in ((2, 3), (-2, -1)) or x is None or len(x) != 4:
        raise NoLayerError("it averages over other axes than those of an image")
    maker = view.graph.producer.get(step.inputs[0])
    before = view.maker.get(edge)
    moved = before is not None and before.op == "Transpose"
    if maker is None or maker.op != DEQUANTIZE or moved:
        raise NoLayerError("ONNX Runtime may sum moved values in another order")
    sizes = [size for size in x[1:] if size is not None]
    if len(sizes) != 3 or np.prod(sizes) % LANES:
        raise NoLayerError(
            f"an image has {sizes} values: the order of its sum depends on the batch"
        )
    found = {"keepdims": step.node.int("keepdims", 1)}
    return _made(step, Mean(tail.output, (edge,), step.op, found), tail)


OPERATIONS: dict[str, Matcher] = {
    "Clip": lookup,
    **dict.fromkeys(_DEFAULTS, lookup),
    "Mul": mul,
    "Concat": concat,
    "AveragePool": average_pool,
    "Softmax": softmax,
}
"""Operator of the rewritten graph → its matcher."""
