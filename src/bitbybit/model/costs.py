"""Shape and cost of each layer, the same for the float, QDQ and QOperator form of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitbybit.model.accumulators import Accumulator, accumulator
from bitbybit.model.island_contents import island_cost
from bitbybit.model.types import Conv, Dense, FloatIsland, Layer, QuantizedModel


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
    outputs = elements(edge.shape[1:])
    item = 1 if model.form == "float" else edge.dtype.itemsize
    return Cost(
        name=layer.name,
        kind=layer.kind,
        output_shape=edge.shape,
        macs=macs,
        weights=weights,
        biases=biases,
        weight_bytes=weights * width + biases * 4,
        activation_bytes=None if outputs is None else outputs * item,
        accumulator=accumulator(model, layer),
    )


def elements(dims: tuple[int | None, ...]) -> int | None:
    """Return the product of the dimensions, None if one is open."""
    known = [d for d in dims if d is not None]
    return math.prod(known) if len(known) == len(dims) else None
