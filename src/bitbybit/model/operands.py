"""What a layer reads and what follows it: edges, weight, bias, window, activation and output.

Every function is pure; what is no part of an integer layer raises :class:`NoLayerError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bitbybit.arithmetic import OperandError, window_output_size, window_pads
from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.fold import NoLayerError, quantize_constant
from bitbybit.model.graph import Node, Shape, Step
from bitbybit.model.onnx_file import wrong
from bitbybit.model.operators import OPERATORS, QUANTIZE
from bitbybit.model.rewrite import View
from bitbybit.model.types import AnyArray, Layer, QuantizedTensor, QuantParams, bias_params

BIAS_SCALE_TOLERANCE = (1e-6, 1e-2)
"""Absolute and relative distance of a bias scale from ``x_scale * w_scale`` up to which ONNX
Runtime 1.31 fuses the node, and then uses ``x_scale * w_scale`` whatever the file says."""

READS = "Check which tensor this node should read."
"""What to do about an input of another shape."""

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


Matcher = Callable[[View, Step], Match]


class Tail(NamedTuple):
    """What follows an operator: nodes, the tensor that stands for its edge, its parameters."""

    nodes: tuple[Node, ...]
    output: str
    params: QuantParams | None
    relu: bool


def follow(view: View, tensor: str) -> Tail:
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
        raise NoLayerError("its output is used without a QuantizeLinear")
    if tensor in view.graph.output_set:
        raise NoLayerError("its float output is a graph output")
    first = quantizers[0]
    refused = [q.why for q in quantizers if q.why]
    if first.params is None or refused:
        raise NoLayerError(refused[0] if refused else "its output has no scale")
    if len(quantizers) > 1:
        raise NoLayerError("its output is quantized with two different scales")
    if activation is not None:
        _check_folds(view, activation, first.params)
    before = () if activation is None else (activation.node,)
    own = () if first.node in before or OPERATORS[first.node.op].twin else (first.node,)
    return Tail((*before, *own), first.outputs[0], first.params, first.params.at_lower_rail)


def _check_folds(view: View, step: Step, params: QuantParams) -> None:
    """Require that the saturation of QuantizeLinear does what an activation does."""
    limits: tuple[float, float] | None = (0.0, float("inf"))
    if step.op == "Clip":
        limits = limits_of_clip(step.node, view.constants.plain)
        _check_single_numbers(view, params)
    if limits is None:
        raise NoLayerError("the limits of Clip are not constants")
    if params.axis is not None:
        raise NoLayerError("its output has one scale per channel")
    if params.dtype.itemsize > 2:
        raise NoLayerError(f"no integer kernel takes {params.dtype} activations")
    low, high = (int(code) for code in quantize_constant(np.array(limits, np.float32), params))
    if low != params.qmin:
        raise NoLayerError(
            f"{step.op} stands before a zero point of {int(params.zero_point)} "
            f"instead of {params.qmin}, so saturation does not replace it"
        )
    if high != params.qmax:
        raise NoLayerError(f"{step.op} cuts off above code {high}")


def _check_single_numbers(view: View, params: QuantParams) -> None:
    """Require scale and zero point of rank 0: ONNX Runtime 1.31 keeps a Clip before any other."""
    for name in (params.scale_name, params.zero_point_name):
        value = view.constants.plain(name) if name else None
        if value is not None and value.ndim:
            raise NoLayerError(
                f"its Clip stands before a scale or zero point of shape {value.shape} instead of "
                "(), which ONNX Runtime does not replace by saturation"
            )


def limits_of_clip(
    node: Node, constant: Callable[[str], AnyArray | None]
) -> tuple[float, float] | None:
    """Return the limits of a Clip, infinite where it has none; None if one is not constant."""
    limits = [float("-inf"), float("inf")]
    for position, name in enumerate(("min", "max")):
        if name in node.attributes:  # before opset 11
            limits[position] = node.float(name, 0.0)
        elif node.input(position + 1):
            value = constant(node.input(position + 1))
            if value is None or value.size != 1:
                return None
            limits[position] = float(value.reshape(-1)[0])
    return limits[0], limits[1]


def edge_of(view: View, name: str, op: str = "") -> str:
    """Return the edge behind the real input of a layer (float edge in a float file).

    ``op`` is an operator that ONNX Runtime computes on codes only if these are its inputs: where
    it does not carry a DequantizeLinear over what stands between, it computes real values.
    """
    value = view.value(name)
    if value is None:
        raise NoLayerError("one of its inputs is a constant")
    if value.kind != ("real" if view.quantized else "float"):
        raise NoLayerError("its input is not quantized")
    node = view.graph.producer.get(name)
    while op and node is not None and node.row is not None and node.row.keeps and view.quantized:
        if node.op not in _CARRIED and (node.op, op) not in _FUSED:
            raise NoLayerError(
                f"{node.op} without a quantizer stands before it, so ONNX Runtime takes real values"
            )
        node = view.graph.producer.get(node.input(0))
    return value.edge


_CARRIED = ("Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_FUSED = (("Pad", "Conv"), ("Pad", "AveragePool"))


def check_types(x: QuantParams | None, y: QuantParams | None, w: QuantParams | None) -> None:
    """Require 8-bit codes of a combination for which there is a kernel, and scalar scales."""
    if x is None or y is None:
        raise NoLayerError("its input has no scale")
    for params in (x, y):
        if params.axis is not None:
            raise NoLayerError("an activation has one scale per channel")
        if params.dtype not in _BYTE:
            raise NoLayerError(f"no integer kernel takes {params.dtype} activations")
    if x.dtype != y.dtype:
        raise NoLayerError(f"its input is {x.dtype} and its output {y.dtype}")
    if w is not None and (w.dtype not in _BYTE or (x.dtype == np.int8 and w.dtype != np.int8)):
        raise NoLayerError(f"no integer kernel takes {x.dtype} inputs and {w.dtype} weights")


def _weight(view: View, name: str, rank: int) -> QuantizedTensor:
    """Return a constant weight of the given rank: codes with parameters, or float values."""
    weight = view.constants.get(name)
    if weight is None:
        raise NoLayerError("its weights are not constants")
    if weight.values.ndim != rank:
        raise NoLayerError(f"its weights have {weight.values.ndim} dimensions")
    if view.quantized and weight.params is None:
        raise NoLayerError("its weights are not quantized")
    if not view.quantized and weight.values.dtype != np.float32:
        raise NoLayerError(f"its weights are {weight.values.dtype}")
    return weight


def _bias(
    view: View, step: Step, name: str, x: QuantParams | None, weight: QuantizedTensor, axis: int
) -> QuantizedTensor | None:
    """Return the bias ``[M]``, None without one."""
    if not name:
        return None
    found = view.constants.get(name)
    if found is None:
        raise NoLayerError("its bias is not a constant")
    channels = weight.values.shape[axis]
    if x is not None and weight.params is not None:
        return _integer_bias(found, x, weight.params, channels, f"{step.node.where}, bias")
    if found.values.size != channels or found.values.dtype != np.float32:
        raise NoLayerError(f"its bias is {found.values.dtype} of shape {found.values.shape}")
    return QuantizedTensor(found.name, found.values.reshape(-1))


def _integer_bias(
    found: QuantizedTensor, x: QuantParams, weight: QuantParams, channels: int, where: str
) -> QuantizedTensor:
    """Return the int32 bias ``[M]`` at scale ``x_scale * w_scale``, zero point 0.

    A float bias beside integer weights is quantized as ONNX Runtime does when it fuses the
    node: ``RNE(b / (x_scale * w_scale))``.

    Raises
    ------
    NoLayerError : codes that are not int32, or a scale that is not ``x_scale * w_scale``: ONNX
        Runtime then computes in float, even where all codes are zero
    ModelError : a zero point other than 0, a wrong number of values
    """
    scale = bias_params(x, weight).scale
    values = _bias_vector(found.values, channels, where)
    if found.params is None:
        if not np.issubdtype(values.dtype, np.floating):
            raise NoLayerError(f"its bias is {values.dtype} without a scale")
        with np.errstate(all="ignore"):
            codes = np.rint(values.astype(np.float32) / scale)
        if not (np.abs(codes) < 2**31).all():
            raise NoLayerError("its float bias does not fit into int32")
        return QuantizedTensor(found.name, codes.astype(np.int32), bias_params(x, weight))
    names = (found.params.scale_name, found.params.zero_point_name)
    if found.params.dtype != np.int32:
        raise NoLayerError(f"its bias is {found.params.dtype}, not int32")
    if np.any(found.params.zero_point != 0):
        next_step = "Quantize the model again: a bias is symmetric."
        raise wrong(where, "the zero point of a bias must be 0", next_step=next_step)
    absolute, relative = BIAS_SCALE_TOLERANCE
    with np.errstate(all="ignore"):
        error = np.abs(found.params.scale.astype(np.float64) - scale) - relative * scale
    if not np.all(error <= absolute):
        worst = int(np.argmax(np.broadcast_to(error, scale.shape)))
        expected = scale.reshape(-1)[worst]
        there = np.broadcast_to(found.params.scale, scale.shape).reshape(-1)[worst]
        why = f"its bias has the scale {there}, not x_scale * w_scale = {expected}"
        raise NoLayerError(why)
    return QuantizedTensor(found.name, values, bias_params(x, weight, names))


def _bias_vector(values: AnyArray, channels: int, where: str) -> AnyArray:
    """Return a bias as ``[M]``: leading dimensions of 1 dropped, one value repeated."""
    flat = values.reshape(-1)
    if flat.size == channels:
        return flat
    if flat.size == 1:
        return np.repeat(flat, channels)
    next_step = "Give one bias for each output channel."
    what = "the bias has another length than the output channels"
    raise wrong(where, what, channels, flat.size, next_step)


class Weighted(NamedTuple):
    """The operands of a layer with weights."""

    edge: str
    weight: QuantizedTensor
    bias: QuantizedTensor | None
    tail: Tail


def weighted(view: View, step: Step, rank: int, axis: int, bias: str, last: Step) -> Weighted:
    """Return all that Conv, Gemm and MatMul share; ``last`` makes their output."""
    edge = edge_of(view, step.inputs[0], step.op)
    weight = _weight(view, step.input(1), rank)
    if weight.params is not None and weight.params.axis not in (None, axis):
        raise NoLayerError("its weight scales do not follow the output channels")
    tail = follow(view, last.outputs[0])
    x = view.codes[edge] if view.quantized else None
    if view.quantized:
        check_types(x, tail.params, weight.params)
    return Weighted(edge, weight, _bias(view, step, bias, x, weight, axis), tail)


def keeps(step: Step) -> str:
    """Return what an operator keeps of its input, as the table says, "" if it computes."""
    row = OPERATORS.get(step.op)
    return "" if row is None else row.keeps


def check_window(node: Node, shape: tuple[int, ...], x: Shape | None) -> None:
    """Require that weights ``[M, C/G, kH, kW]``, groups and an input agree.

    Raises
    ------
    NoLayerError : no output channel
    ModelError : anything else that contradicts the node
    """
    channels, inner, *kernel = shape
    declared, group = list(node.ints("kernel_shape", tuple(kernel))), node.int("group", 1)
    if declared != kernel:
        next_step = "Remove the attribute, or correct it: the weights say what it is."
        what = "kernel_shape differs from the weights"
        raise wrong(node.where, what, tuple(kernel), tuple(declared), next_step)
    for name in ("strides", "dilations"):
        values = node.ints(name, (1, 1))
        if len(values) != 2 or min(values) < 1:
            raise wrong(node.where, f"{name} must be 2 positive integers", found=values)
    if channels == 0:
        raise NoLayerError("it has no output channel")
    if group < 1 or channels % group:
        what = "the output channels cannot be divided into groups"
        raise wrong(node.where, what, f"a divisor of {channels}", group)
    if x is not None and x[1] not in (None, inner * group):
        what = "the input has another number of channels than the weights"
        raise wrong(node.where, what, inner * group, x[1], READS)


def conv_pads(node: Node, kernel: tuple[int, ...], size: Shape) -> tuple[int, int, int, int]:
    """Return pads (top, left, bottom, right), auto_pad resolved, and check that a window fits."""
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    mode = node.text("auto_pad", "NOTSET") or "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER", "VALID") and "pads" in node.attributes:
        what, next_step = (
            "pads and auto_pad exclude each other",
            "Remove one of them from the node.",
        )
        raise wrong(node.where, what, found=mode, next_step=next_step)
    if mode.startswith("SAME") and None in size:
        raise NoLayerError("its SAME padding depends on an open image size")
    given = node.ints("pads", (0, 0, 0, 0))
    length = tuple(2**40 if d is None else d for d in size)
    try:
        pads = window_pads(length, kernel, strides, dilations, given, mode)
        window_output_size(length, kernel, strides, dilations, pads)
    except UnsupportedError as error:
        raise NoLayerError(error.what) from None
    except OperandError as error:
        raise _contradiction(node, error) from None
    return pads[0], pads[1], pads[2], pads[3]


def _contradiction(node: Node, error: OperandError) -> ModelError:
    """Return an error of the arithmetic as one of the file."""
    if error.where == "kernel shape":
        what = "the kernel is larger than the padded input"
        next_step = "Check the kernel and the pads of this node against its input."
        return wrong(node.where, what, error.expected, error.found, next_step)
    where = f"{node.where}, {error.where}"
    return wrong(where, error.what, error.expected, error.found, error.next_step)
