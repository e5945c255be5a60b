"""Conv, Gemm, MatMul, Add and global pooling between Q and DQ, or in a float file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitbybit.model.constants import quantize_constant, quantize_params
from bitbybit.model.drafts import Draft, Value
from bitbybit.model.graph import Node
from bitbybit.model.parameters import NotIntegerError, make_bias, same_params
from bitbybit.model.recognise import Recogniser
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    GlobalPool,
    Layer,
    QuantizedTensor,
    QuantParams,
)

_BYTE = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True)
class Tail:
    """What follows an operator: nodes, the tensor that stands for its edge, its parameters.

    ``twins`` are further QuantizeLinear nodes that do the same as the last of ``nodes``.
    """

    nodes: list[Node]
    output: str
    params: QuantParams | None
    relu: bool
    twins: tuple[Node, ...] = ()


def follow(r: Recogniser, tensor: str) -> Tail:
    """Return activation and QuantizeLinear behind ``tensor`` (float files: the ReLU).

    Raises
    ------
    NotIntegerError : other readers, no QuantizeLinear, an activation that does not fold
    """
    nodes: list[Node] = []
    reader = r.graph.sole_consumer(tensor)
    if not r.quantized:
        if reader is not None and reader.op == "Relu" and reader.domain == "":
            return Tail([reader], reader.outputs[0], None, True)
        return Tail([], tensor, None, False)
    if reader is not None and reader.op in ("Relu", "Clip") and reader.domain == "":
        nodes.append(reader)
        tensor = reader.outputs[0]
    quantizers = r.graph.consumers.get(tensor, [])
    if not quantizers or any(q.op != "QuantizeLinear" for q in quantizers):
        raise NotIntegerError("its output is used without a QuantizeLinear")
    if tensor in r.graph.output_set:
        raise NotIntegerError("its float output is a graph output")
    first = quantizers[0]
    params = quantize_params(r.constants, first, None)
    for other in quantizers[1:]:
        if not same_params(params, quantize_params(r.constants, other, None)):
            raise NotIntegerError("its output is quantized with two different scales")
    for activation in nodes:
        _check_folds(r, activation, params)
    relu, twins = at_lower_rail(params), tuple(quantizers[1:])
    return Tail([*nodes, first], first.outputs[0], params, relu, twins)


def at_lower_rail(params: QuantParams) -> bool:
    """Tell whether saturation acts as a ReLU: the zero point is the lowest code."""
    return bool(np.all(params.zero_point == params.qmin))


def _check_folds(r: Recogniser, node: Node, params: QuantParams) -> None:
    """Require that the saturation of QuantizeLinear already does what ``node`` does."""
    low, high = 0.0, float("inf")
    if node.op == "Clip":
        low, high = _clip_limits(r, node)
    if params.axis is not None:
        raise NotIntegerError("its output has one scale per channel")
    ends = quantize_constant(np.array([low, high], np.float32), params)
    if int(ends[0]) != params.qmin:
        raise NotIntegerError(
            f"{node.op} stands before a zero point of {int(params.zero_point)} "
            f"instead of {params.qmin}, so saturation does not replace it"
        )
    if int(ends[1]) != params.qmax:
        raise NotIntegerError(f"{node.op} cuts off above code {int(ends[1])}")


def _clip_limits(r: Recogniser, node: Node) -> tuple[float, float]:
    limits = [float("-inf"), float("inf")]
    for position, name in enumerate(("min", "max")):
        if name in node.attributes:
            limits[position] = node.float(name, 0.0)
        elif node.input(position + 1):
            value = r.constants.plain(node.input(position + 1))
            if value is None or value.size != 1:
                raise NotIntegerError("the limits of Clip are not constants")
            limits[position] = float(value.reshape(-1)[0])
    return limits[0], limits[1]


def check_types(x: QuantParams | None, y: QuantParams | None, w: QuantParams | None = None) -> None:
    """Require 8-bit codes of one type, and scalar scales for activations.

    Raises
    ------
    NotIntegerError : a combination for which ONNX Runtime has no integer kernel
    """
    if x is None or y is None:
        raise NotIntegerError("its input has no scale")
    for params in (x, y):
        if params.axis is not None:
            raise NotIntegerError("an activation has one scale per channel")
        if params.dtype not in _BYTE:
            raise NotIntegerError(f"no integer kernel takes {params.dtype} activations")
    if x.dtype != y.dtype:
        raise NotIntegerError(f"its input is {x.dtype} and its output {y.dtype}")
    if w is not None and (w.dtype not in _BYTE or (x.dtype == np.int8 and w.dtype != np.int8)):
        raise NotIntegerError(f"no integer kernel takes {x.dtype} inputs and {w.dtype} weights")


def weight_of(r: Recogniser, name: str, rank: int) -> QuantizedTensor:
    """Return a constant weight of the given rank: codes with parameters, or float values.

    Raises
    ------
    NotIntegerError : not a constant, another rank, float beside integer layers
    """
    weight = r.constants.get(name)
    if weight is None:
        raise NotIntegerError("its weights are not constants")
    if weight.values.ndim != rank:
        raise NotIntegerError(f"its weights have {weight.values.ndim} dimensions")
    if r.quantized and weight.params is None:
        raise NotIntegerError("its weights are not quantized")
    if not r.quantized and weight.values.dtype != np.float32:
        raise NotIntegerError(f"its weights are {weight.values.dtype}")
    return weight


def require_axis(weight: QuantizedTensor, axis: int) -> None:
    """Require per-channel scales to lie on the output channels."""
    if weight.params is not None and weight.params.axis not in (None, axis):
        raise NotIntegerError("its weight scales do not follow the output channels")


def transposed(weight: QuantizedTensor) -> QuantizedTensor:
    """Return a matrix and its channel axis transposed."""
    params = weight.params
    if params is not None and params.axis is not None:
        names = (params.scale_name, params.zero_point_name)
        params = QuantParams(params.scale, params.zero_point, 1 - params.axis, *names)
    return QuantizedTensor(weight.name, np.ascontiguousarray(weight.values.T), params)


def _bias(
    r: Recogniser, node: Node, name: str, x: QuantParams | None, weight: QuantizedTensor, axis: int
) -> QuantizedTensor | None:
    if not name:
        return None
    found = r.constants.get(name)
    if found is None:
        raise NotIntegerError("its bias is not a constant")
    channels = weight.values.shape[axis]
    if x is not None and weight.params is not None:
        return make_bias(found, x, weight.params, channels, f"{node.where}, bias")
    if found.values.size != channels or found.values.dtype != np.float32:
        raise NotIntegerError(f"its bias is {found.values.dtype} of shape {found.values.shape}")
    return QuantizedTensor(found.name, found.values.reshape(-1))


def conv(r: Recogniser, node: Node) -> None:
    """Read Conv with constant weights."""
    edge = r.edge(node.inputs[0])
    weight = weight_of(r, node.inputs[1], 4)
    require_axis(weight, 0)
    tail = follow(r, node.outputs[0])
    x = r.params[edge] if r.quantized else None
    if r.quantized:
        check_types(x, tail.params, weight.params)
    bias = _bias(r, node, node.input(2), x, weight, 0)
    _add(r, Conv, node, tail, [edge], weight, bias)


def gemm(r: Recogniser, node: Node) -> None:
    """Read Gemm as a dense layer."""
    if node.float("alpha", 1.0) != 1.0 or node.int("transA", 0):
        raise NotIntegerError("its alpha is not 1 or its input is transposed")
    if node.input(2) and node.float("beta", 1.0) != 1.0:
        raise NotIntegerError("its beta is not 1")
    edge = r.edge(node.inputs[0])
    weight = weight_of(r, node.inputs[1], 2)
    if node.int("transB", 0):
        weight = transposed(weight)
    _dense(r, node, node, edge, weight, node.input(2), [])


def matmul(r: Recogniser, node: Node) -> None:
    """Read MatMul, with the Add of a constant behind it, as a dense layer."""
    edge = r.edge(node.inputs[0])
    weight = weight_of(r, node.inputs[1], 2)
    add = r.graph.sole_consumer(node.outputs[0])
    bias = ""
    if add is not None and add.op == "Add" and add.domain == "":
        others = [n for n in add.inputs if n != node.outputs[0]]
        if len(others) == 1 and others[0] in r.constants:
            bias = others[0]
    if add is not None and bias:
        _dense(r, node, add, edge, weight, bias, [add])
    else:
        _dense(r, node, node, edge, weight, "", [])


def _dense(
    r: Recogniser,
    node: Node,
    last: Node,
    edge: str,
    weight: QuantizedTensor,
    bias_name: str,
    between: list[Node],
) -> None:
    require_axis(weight, 1)
    tail = follow(r, last.outputs[0])
    x = r.params[edge] if r.quantized else None
    if r.quantized:
        check_types(x, tail.params, weight.params)
    bias = _bias(r, node, bias_name, x, weight, 1)
    tail = replace(tail, nodes=[*between, *tail.nodes])
    _add(r, Dense, node, tail, [edge], weight, bias)


def add(r: Recogniser, node: Node) -> None:
    """Read the Add of two edges."""
    edges = [r.edge(name) for name in node.inputs]
    tail = follow(r, node.outputs[0])
    if r.quantized:
        for edge in edges:
            check_types(r.params[edge], tail.params)
    _add(r, Add, node, tail, edges)


def global_pool(r: Recogniser, node: Node) -> None:
    """Read GlobalAveragePool, or in a float file ReduceMean over the image."""
    if node.op == "ReduceMean" and not _means_image(r, node):
        raise NotIntegerError("ReduceMean is no integer layer of the contract")
    edge = r.edge(node.inputs[0])
    tail = follow(r, node.outputs[0]) if r.quantized else Tail([], node.outputs[0], None, False)
    if r.quantized:
        if len(tail.nodes) > 1:
            raise NotIntegerError(f"{tail.nodes[0].op} follows it")
        check_types(r.params[edge], tail.params)
    _add(r, GlobalPool, node, tail, [edge])


def _means_image(r: Recogniser, node: Node) -> bool:
    axes = node.ints("axes", ())
    if node.input(1):
        given = r.constants.plain(node.input(1))
        axes = () if given is None else tuple(int(a) for a in given.reshape(-1))
    return not r.quantized and axes in ((2, 3), (-2, -1)) and node.int("keepdims", 1) == 1


def _add(
    r: Recogniser,
    layer: type[Layer],
    node: Node,
    tail: Tail,
    edges: list[str],
    weight: QuantizedTensor | None = None,
    bias: QuantizedTensor | None = None,
) -> None:
    body = [node, *tail.nodes]
    for twin in tail.twins:
        r.values[twin.outputs[0]] = Value("codes", tail.output)
        r.claim(twin)
    r.add(Draft(layer, node, body, edges, tail.output, tail.params, weight, bias, tail.relu))
