"""Shape, cost and accumulator of each layer, the same for every form of a network.

How wide an accumulator must be is told by the bounds of :mod:`bitbybit.arithmetic`; what a float
island holds and costs by its model, which is parsed and not run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.model.graph import Node, declared_shape
from bitbybit.model.operands import limits_of_clip
from bitbybit.model.operators import OPERATORS
from bitbybit.model.shapes import inferred
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Edge,
    FloatIsland,
    GlobalPool,
    Layer,
    QuantizedModel,
)


@dataclass(frozen=True)
class Accumulator:
    """Widths in bits of a signed accumulator that cannot overflow.

    Attributes
    ----------
    type_bits : from the dtypes, :func:`bitbybit.arithmetic.type_bound`
    weight_bits : from the weights, :func:`bitbybit.arithmetic.weight_bound`, over all channels;
        enough for every partial sum in every order
    bits : from the exact interval of the sum, :func:`bitbybit.arithmetic.sum_interval`; enough for
        every partial sum that begins with the bias
    low, high : that interval, over all channels, bias included
    """

    type_bits: int
    weight_bits: int
    bits: int
    low: int
    high: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Bounds:
    """What the sums of one layer can reach, for each of its M output channels.

    Attributes
    ----------
    terms : products K of one sum; the pixels, of a global pool
    weights : int64 ``[M, K]``, ``w - w_zp``; of a global pool ``[1, 1]``, its pixels
    x_range : smallest and largest ``x - x_zp``
    bias : int32 ``[M]``, zeros where the layer has none
    by_type : no sum is larger in absolute value, :func:`bitbybit.arithmetic.type_bound`
    by_weights : int64 ``[M]``, likewise, :func:`bitbybit.arithmetic.weight_bound`
    low, high : int64 ``[M]``, the exact interval, :func:`bitbybit.arithmetic.sum_interval`
    """

    terms: int
    weights: NDArray[np.int64]
    x_range: tuple[int, int]
    bias: NDArray[np.int32]
    by_type: int
    by_weights: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def over_all_channels(self) -> Accumulator:
        """The widths that serve every channel."""
        by_weights, low, high = map(int, (self.by_weights.max(), self.low.min(), self.high.max()))
        return Accumulator(
            type_bits=arithmetic.signed_width(-self.by_type, self.by_type),
            weight_bits=arithmetic.signed_width(-by_weights, by_weights),
            bits=arithmetic.signed_width(low, high),
            low=low,
            high=high,
        )


def accumulator(model: QuantizedModel, layer: Layer) -> Accumulator | None:
    """Return the bounds of a layer over all channels; None where it has none within 64 bits."""
    try:
        found = bounds(model, layer)
    except UnsupportedError:
        return None
    return None if found is None else found.over_all_channels


def bounds(model: QuantizedModel, layer: Layer) -> Bounds | None:
    """Return the bounds of a layer that accumulates integers, None of any other.

    A global pool accumulates ``x - x_zp`` over the image: one weight for all pixels, their number.

    Raises
    ------
    UnsupportedError
        No bound fits 64 bits.
    """
    if not isinstance(layer, (Conv, Dense, GlobalPool)):
        return None
    x = model.edges[layer.inputs[0]]
    if x.params is None or x.params.per_channel:
        return None
    bias: NDArray[np.int32] = np.zeros(1, np.int32)
    if isinstance(layer, GlobalPool):
        height, width = x.shape[2:] if len(x.shape) == 4 else (None, None)
        if height is None or width is None:
            return None
        terms, w_range = height * width, (0, 1)
        weights = np.array([[min(terms, np.iinfo(np.int64).max)]])
    else:
        if layer.weight.params is None:
            return None
        weights = centred_rows(layer)
        if not len(weights):  # no channel, no accumulator
            return None
        terms = weights.shape[1]
        w_range = arithmetic.code_range(layer.weight.params.zero_point)
        bias = np.zeros(len(weights), np.int32) if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(x.params.zero_point)
    largest_bias = int(np.abs(bias.astype(np.int64)).max())
    by_type = arithmetic.type_bound(terms, w_range, x_range, largest_bias)
    if by_type > np.iinfo(np.int64).max:
        raise UnsupportedError(
            "no bound of its sums fits 64 bits",
            where=layer.name,
            expected="at most 63 bits and a sign",
            found=f"{terms:,} products, which can reach {by_type:,}",
            next_step="Check its shapes; a sum this long is cut into parts.",
        )
    low, high = arithmetic.sum_interval(weights, x_range, bias)
    return Bounds(
        terms=terms,
        weights=weights,
        x_range=x_range,
        bias=bias,
        by_type=by_type,
        by_weights=arithmetic.weight_bound(weights, x_range, bias),
        low=low,
        high=high,
    )


def centred_rows(layer: Conv | Dense) -> NDArray[np.int64]:
    """Return ``w - w_zp`` as int64 ``[M, K]``: one row of K products per output channel."""
    codes, p = layer.weight.values, layer.weight.params
    weights = arithmetic.centred(codes, *(() if p is None else (p.zero_point, p.axis)))
    rows = (len(weights), math.prod(weights.shape[1:]))
    return weights.reshape(rows) if isinstance(layer, Conv) else weights.T


def island_tensors(layer: FloatIsland) -> dict[str, AnyArray]:
    """Return the constants of an island's nodes by name, in the order of its model."""
    graph = onnx.ModelProto.FromString(layer.model).graph
    return {
        item.name: numpy_helper.to_array(item)
        for item in graph.initializer
        if item.data_type != TensorProto.UNDEFINED
    }


def clip_limits(layer: FloatIsland) -> tuple[float, float] | None:
    """Return the constant limits of an island that is one Clip, None of any other island.

    A limit that the node leaves open is infinite.
    """
    nodes = onnx.ModelProto.FromString(layer.model).graph.node
    if len(nodes) != 1 or nodes[0].op_type != "Clip":
        return None
    node = Node(nodes[0], layer.name, 0, tuple(nodes[0].input))
    return limits_of_clip(node, island_tensors(layer).get)


def island_cost(layer: FloatIsland) -> tuple[int | None, int, int]:
    """Return multiply-accumulates (None if a shape is open), weights and biases of an island.

    Weights are what a multiplying operator of the table reads as weight, and the matrices of
    operators that the table does not know; factors of a batch norm, limits and sizes are none.
    """
    proto = onnx.ModelProto.FromString(layer.model)
    tensors = {t.name: t for t in proto.graph.initializer}
    origin = {n: n for n in tensors}
    infos = inferred(proto)
    macs: int | None = 0
    weights, biases = set(), set()
    for node in proto.graph.node:
        row = OPERATORS.get(node.op_type)
        read = [origin.get(name, "") for name in node.input]
        if read and (node.op_type in _CONVERT or (row is not None and row.keeps)):
            origin[node.output[0]] = read[0]  # the same constant, moved or converted
        elif row is None:
            weights |= {name for name in read if name and _is_matrix(tensors[name])}
        elif row.weight is not None:
            weight = read[row.weight] if row.weight < len(read) else ""
            weights.add(weight)
            biases.add(read[row.bias] if row.bias is not None and row.bias < len(read) else "")
            more = _macs(node, tensors.get(weight), infos)
            macs = None if macs is None or more is None else macs + more
    counts = (sum(math.prod(tensors[n].dims) for n in names - {""}) for names in (weights, biases))
    return macs, *counts


_CONVERT = ("DequantizeLinear", "QuantizeLinear", "Cast")


def _is_matrix(tensor: TensorProto) -> bool:
    """Whether a constant is long in more than one dimension, as the weights of an LSTM are."""
    return len([size for size in tensor.dims if size > 1]) > 1


def _macs(
    node: NodeProto, weight: TensorProto | None, infos: dict[str, onnx.ValueInfoProto]
) -> int | None:
    """Return output elements of one image times products per element.

    A transposed convolution spreads each input element instead, over ``M/G * kH * kW``.
    """
    spread = node.op_type == "ConvTranspose"
    info = infos.get(node.input[0] if spread else node.output[0])
    shape = None if info is None else declared_shape(info)
    pixels = None if shape is None else elements(shape[1:])
    if pixels is None or weight is None:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    channels = weight.dims[0 if "Conv" in node.op_type or transposed else -1]
    return int(math.prod(weight.dims) // max(int(channels), 1)) * pixels


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one layer for one image (a batch of 1).

    Attributes
    ----------
    name, kind : the layer's
    output_shape : dimensions of the output, None where the file leaves one open
    macs : multiply-accumulate operations, None if a shape is open
    weights, biases : numbers of parameters; scales and zero points are not parameters
    weight_bytes : storage of weights and biases: weights at the width of their codes, biases
        at 4 bytes; a float layer counts as its 8-bit twin
    activation_bytes : storage of the output likewise (in a quantized file 4 bytes for what is
        float there), None if a shape is open
    accumulator : its bounds; None for float layers and layers that do not accumulate
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    macs: int | None
    weights: int
    biases: int
    weight_bytes: int
    activation_bytes: int | None
    accumulator: Accumulator | None

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


def costs(model: QuantizedModel) -> tuple[Cost, ...]:
    """Return the cost of every layer, in graph order."""
    return tuple(cost(model, layer) for layer in model.layers)


def cost(model: QuantizedModel, layer: Layer) -> Cost:
    """Return the cost of one layer.

    A convolution takes ``M * C/G * kH * kW * H * W`` multiply-accumulates, a dense layer
    ``K * M``; other layers none.
    """
    edge = model.edges[layer.name]
    weights = biases = width = 0
    macs: int | None = 0
    if isinstance(layer, (Conv, Dense)):
        weights = layer.weight.values.size
        biases = 0 if layer.bias is None else layer.bias.values.size
        width = 1 if layer.weight.params is None else layer.weight.values.dtype.itemsize
        pixels = elements(edge.shape[1:]) if isinstance(layer, Conv) else edge.shape[1]
        shape = layer.weight.values.shape
        taps = math.prod(shape[1:]) if isinstance(layer, Conv) else shape[0]
        macs = None if pixels is None else pixels * taps
    elif isinstance(layer, FloatIsland):
        macs, weights, biases = island_cost(layer)
        width = 1
    return Cost(
        name=layer.name,
        kind=layer.kind,
        output_shape=edge.shape,
        macs=macs,
        weights=weights,
        biases=biases,
        weight_bytes=weights * width + biases * 4,
        activation_bytes=edge_bytes(model, edge),
        accumulator=accumulator(model, layer),
    )


def edge_bytes(model: QuantizedModel, edge: Edge) -> int | None:
    """Return the bytes of an edge for one image, None if its shape is open.

    A float network counts as its 8-bit twin; what is float in a quantized file takes 4 bytes.
    """
    count = elements(edge.shape[1:]) if edge.shape else None
    item = 1 if model.form == "float" else edge.dtype.itemsize
    return None if count is None else count * item


def elements(dims: tuple[int | None, ...]) -> int | None:
    """Return the product of the dimensions, None if one is open."""
    known = [d for d in dims if d is not None]
    return math.prod(known) if len(known) == len(dims) else None
