"""What a layer reads and what follows it: its edges, weight, bias, activation and output.

Every function is pure; what is no part of an integer layer gives a :class:`No`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bitbybit.model.fold import quantize_constant
from bitbybit.model.graph import Node, Shape
from bitbybit.model.operators import OPERATORS
from bitbybit.model.parameters import No, at_lower_rail, make_bias
from bitbybit.model.rewrite import QUANTIZE, Step, View
from bitbybit.model.shapes import Shapes
from bitbybit.model.types import (
    Layer,
    QuantizedTensor,
    QuantParams,
)

_BYTE = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True, eq=False)
class Match:
    """A layer before naming.

    Attributes
    ----------
    layer : called like the tensor that stands for its output edge, reads those of its inputs
    main : the node that gives it its name and its place in graph order
    nodes : the nodes that compute it, input and constant DequantizeLinear nodes left out
    on_codes : for islands: whether the nodes read codes where the file has their real view
    at : its place in graph order where that is not the place of ``main``
    least : what its weights say of the shape of its output, where ONNX infers none
    """

    layer: Layer
    main: Node
    nodes: tuple[Node, ...]
    on_codes: bool = False
    at: int | None = None
    least: Shape | None = field(default=None, kw_only=True)

    @property
    def place(self) -> int:
        """Where the layer stands in graph order."""
        return self.main.index if self.at is None else self.at


class Found(NamedTuple):
    """What a matcher may ask: the rewritten graph and its shapes."""

    view: View
    shapes: Shapes


Matcher = Callable[[Found, Step], Match | No]


class Tail(NamedTuple):
    """What follows an operator: nodes, the tensor that stands for its edge, its parameters."""

    nodes: tuple[Node, ...]
    output: str
    params: QuantParams | None
    relu: bool


def follow(view: View, tensor: str) -> Tail | No:
    """Return activation and QuantizeLinear behind ``tensor`` (float files: the ReLU)."""
    reader = view.sole_reader(tensor)
    if not view.quantized:
        if reader is not None and reader.op == "Relu" and reader.node.domain == "":
            return Tail((reader.node,), reader.outputs[0], None, True)
        return Tail((), tensor, None, False)
    activation = None
    if reader is not None and reader.op in ("Relu", "Clip") and reader.node.domain == "":
        activation, tensor = reader, reader.outputs[0]
    quantizers = view.readers.get(tensor, [])
    if not quantizers or any(q.op != QUANTIZE for q in quantizers):
        return No("its output is used without a QuantizeLinear")
    if tensor in view.graph.output_set:
        return No("its float output is a graph output")
    first = quantizers[0]
    refused = [q.why for q in quantizers if q.why is not None]
    if first.params is None or refused:
        return refused[0] if refused else No("its output has no scale")
    if len(quantizers) > 1:
        return No("its output is quantized with two different scales")
    if activation is not None:
        why = _folds(view, activation, first.params)
        if why is not None:
            return why
    before = () if activation is None else (activation.node,)
    own = () if first.node in before or OPERATORS[first.node.op].twin else (first.node,)
    return Tail((*before, *own), first.outputs[0], first.params, at_lower_rail(first.params))


def _folds(view: View, step: Step, params: QuantParams) -> No | None:
    """Say why the saturation of QuantizeLinear does not do what an activation does."""
    limits = (0.0, float("inf")) if step.op == "Relu" else _clip_limits(view, step)
    if limits is None:
        return No("the limits of Clip are not constants")
    if params.axis is not None:
        return No("its output has one scale per channel")
    if params.dtype.itemsize > 2:
        return No(f"no integer kernel takes {params.dtype} activations")
    low, high = (int(code) for code in quantize_constant(np.array(limits, np.float32), params))
    if low != params.qmin:
        return No(
            f"{step.op} stands before a zero point of {int(params.zero_point)} "
            f"instead of {params.qmin}, so saturation does not replace it"
        )
    return None if high == params.qmax else No(f"{step.op} cuts off above code {high}")


def _clip_limits(view: View, step: Step) -> tuple[float, float] | None:
    limits = [float("-inf"), float("inf")]
    for position, name in enumerate(("min", "max")):
        if name in step.node.attributes:
            limits[position] = step.node.float(name, 0.0)
        elif step.input(position + 1):
            value = view.constants.plain(step.input(position + 1))
            if value is None or value.size != 1:
                return None
            limits[position] = float(value.reshape(-1)[0])
    return limits[0], limits[1]


def edge_of(view: View, name: str) -> str | No:
    """Return the edge behind the real input of a layer (float edge in a float file)."""
    value = view.value(name)
    if value is None:
        return No("one of its inputs is a constant")
    if value.kind != ("real" if view.quantized else "float"):
        return No("its input is not quantized")
    return value.edge


def check_types(x: QuantParams | None, y: QuantParams | None, w: QuantParams | None) -> No | None:
    """Require 8-bit codes of a combination for which there is a kernel, and scalar scales."""
    if x is None or y is None:
        return No("its input has no scale")
    for params in (x, y):
        if params.axis is not None:
            return No("an activation has one scale per channel")
        if params.dtype not in _BYTE:
            return No(f"no integer kernel takes {params.dtype} activations")
    if x.dtype != y.dtype:
        return No(f"its input is {x.dtype} and its output {y.dtype}")
    if w is not None and (w.dtype not in _BYTE or (x.dtype == np.int8 and w.dtype != np.int8)):
        return No(f"no integer kernel takes {x.dtype} inputs and {w.dtype} weights")
    return None


def _weight(view: View, name: str, rank: int) -> QuantizedTensor | No:
    """Return a constant weight of the given rank: codes with parameters, or float values."""
    weight = view.constant(name)
    if weight is None:
        return No("its weights are not constants")
    if weight.values.ndim != rank:
        return No(f"its weights have {weight.values.ndim} dimensions")
    if view.quantized and weight.params is None:
        return No("its weights are not quantized")
    if not view.quantized and weight.values.dtype != np.float32:
        return No(f"its weights are {weight.values.dtype}")
    return weight


def _bias(
    view: View, step: Step, name: str, x: QuantParams | None, weight: QuantizedTensor, axis: int
) -> QuantizedTensor | No | None:
    """Return the bias ``[M]``, None without one."""
    if not name:
        return None
    found = view.constant(name)
    if found is None:
        return No("its bias is not a constant")
    channels = weight.values.shape[axis]
    if x is not None and weight.params is not None:
        return make_bias(found, x, weight.params, channels, f"{step.node.where}, bias")
    if found.values.size != channels or found.values.dtype != np.float32:
        return No(f"its bias is {found.values.dtype} of shape {found.values.shape}")
    return QuantizedTensor(found.name, found.values.reshape(-1))


class Weighted(NamedTuple):
    """The operands of a layer with weights."""

    edge: str
    weight: QuantizedTensor
    bias: QuantizedTensor | None
    tail: Tail


def weighted(
    found: Found, step: Step, rank: int, axis: int, bias: str, last: Step
) -> Weighted | No:
    """Return all that Conv, Gemm and MatMul share; ``last`` makes their output."""
    view = found.view
    edge = edge_of(view, step.inputs[0])
    if isinstance(edge, No):
        return edge
    weight = _weight(view, step.input(1), rank)
    if isinstance(weight, No):
        return weight
    if weight.params is not None and weight.params.axis not in (None, axis):
        return No("its weight scales do not follow the output channels")
    tail = follow(view, last.outputs[0])
    if isinstance(tail, No):
        return tail
    x = view.codes[edge] if view.quantized else None
    why = check_types(x, tail.params, weight.params) if view.quantized else None
    if why is not None:
        return why
    vector = _bias(view, step, bias, x, weight, axis)
    if isinstance(vector, No):
        return vector
    return Weighted(edge, weight, vector, tail)


def keeps(step: Step) -> str:
    """Return what an operator keeps of its input, as the table says, "" if it computes."""
    row = OPERATORS.get(step.op)
    return "" if row is None else row.keeps
