"""A layer on analog arrays: cut into row tiles, each sum read by a converter.

A tile holds up to ``rows`` rows of the packed weights. All its rows are driven at once with
``x - x_zp``, each column adds its products, and one converter reads the sum; the numbers that the
tiles give are added in digital logic, where the bias joins them and the contract requantizes.
Everything but the converter is exact: no noise, no drift, no resistance of the wires (IR drop), no
non-linear converter, no temperature, no slicing of inputs or weights into bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import Trace, compute, params
from bitbybit.execution.feed import Input, feed
from bitbybit.model.types import AnyArray, Layer, QuantizedModel

from .matrices import input_rows, layer_sums, matrix_layer, packed_weights


@dataclass(frozen=True)
class Converter:
    """Reads a sum with so many bits: symmetric about 0, ties to even, beyond its reach it clips.

    Attributes
    ----------
    bits : B, 2 or more
    reach : R, the largest magnitude that it can tell, > 0

    Raises
    ------
    UnsupportedError
        Fewer bits, or no reach.
    """

    bits: int
    reach: float

    def __post_init__(self) -> None:
        if self.bits < 2 or not 0 < self.reach < np.inf:
            raise UnsupportedError(
                "a converter needs two bits and a reach",
                where="converter",
                expected="bits >= 2 and a finite reach > 0",
                found=f"{self.bits} bits, reach {self.reach}",
                next_step="Give for example 8 bits and the full scale of the layer.",
            )

    @property
    def top(self) -> int:
        """The largest of its codes, ``2^(B-1) - 1``; the smallest is its negative."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """One LSB, ``R / (2^(B-1) - 1)``; at least 1, since sums are whole numbers."""
        return max(self.reach / self.top, 1.0)

    def __call__(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is read instead of the sums, in their unit: a code times the step."""
        return np.clip(np.rint(sums / self.step), -self.top, self.top) * self.step


def tile_sums(model: QuantizedModel, layer: Layer, x: AnyArray, rows: int) -> NDArray[np.float64]:
    """Return what every column of every tile adds up, exactly.

    Parameters
    ----------
    model, layer
        A network and one of its convolutions or dense layers.
    x : codes of the layer's input
    rows
        Of one tile, >= 1.

    Returns
    -------
    float64, ``[T, G, V, M/G]``: whole numbers below 2^53; ``T = ceil(K / rows)``, and the rest as
    for :func:`~bitbybit.hardware.input_rows` and :func:`~bitbybit.hardware.packed_weights`

    Raises
    ------
    UnsupportedError
        A layer of another kind.
    """
    weighted = matrix_layer(layer)
    # in float64 the products run in BLAS, and are exact
    inputs = input_rows(model, weighted, x).astype(np.float64)
    weights = packed_weights(weighted).astype(np.float64)
    tops = range(0, weights.shape[1], rows)
    return np.stack([inputs[..., k : k + rows] @ weights[:, k : k + rows] for k in tops])


def full_scale(model: QuantizedModel, layer: Layer, rows: int) -> int:
    """Return the largest magnitude that a column of a tile reaches for some input.

    Parameters
    ----------
    model, layer, rows
        As for :func:`tile_sums`.
    """
    weights = packed_weights(matrix_layer(layer)).swapaxes(1, 2)
    x_range = arithmetic.code_range(params(model.edges[layer.inputs[0]], layer).zero_point)
    flat = weights.reshape(-1, weights.shape[2])  # every channel of every group
    tops = range(0, flat.shape[1], rows)
    ends = [arithmetic.sum_interval(flat[:, k : k + rows], x_range) for k in tops]
    return int(np.abs(ends).max(initial=0))


def analog_accumulators(
    model: QuantizedModel,
    layer: Layer,
    x: AnyArray,
    rows: int,
    converter: Converter | None = None,
) -> NDArray[np.int32]:
    """Return a layer's accumulators, with bias, as the tiles and their converters give them.

    Parameters
    ----------
    model, layer, x, rows
        As for :func:`tile_sums`.
    converter
        One kind for all columns of the layer; None is ideal and gives the exact accumulators.

    Returns
    -------
    int32, shape of the layer's output: the sum over the tiles, rounded to even where it is no
    whole number
    """
    weighted, sums = matrix_layer(layer), tile_sums(model, layer, x, rows)
    read = sums if converter is None else converter(sums)
    return layer_sums(weighted, np.rint(read.sum(axis=0)), x.shape)


def analog_codes(
    model: QuantizedModel,
    layer: Layer,
    x: AnyArray,
    rows: int,
    converter: Converter | None = None,
) -> AnyArray:
    """Return a layer's output: :func:`analog_accumulators`, requantized by the contract.

    Parameters
    ----------
    model, layer, x, rows, converter
        As for :func:`analog_accumulators`.

    Returns
    -------
    codes of the layer's output

    Raises
    ------
    UnsupportedError
        A layer without weights, or one whose output is float.
    """
    source, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    scale = params(matrix_layer(layer).weight, layer).scale
    multiplier = arithmetic.conv_multiplier(source.scale, scale, y.scale)
    acc = analog_accumulators(model, layer, x, rows, converter)
    return arithmetic.requantize(acc, multiplier, y.zero_point, axis=1)


def analog_trace(
    model: QuantizedModel, x: Input, rows: int, converters: Mapping[str, Converter | None]
) -> Trace:
    """Compute a network of which some layers run on analog arrays, and the rest exactly.

    Parameters
    ----------
    model, x
        As for :func:`~bitbybit.execution.engine.trace`.
    rows
        As for :func:`tile_sums`.
    converters
        Layer name → its converter, None for an ideal one; layers that are missing are exact.

    Raises
    ------
    UnsupportedError
        As for :func:`analog_codes`.
    """
    values = dict(feed(model, x))
    for layer in model.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.name in converters:
            convert = converters[layer.name]
            values[layer.name] = analog_codes(model, layer, inputs[0], rows, convert)
        else:
            values[layer.name] = compute(model, layer, inputs)
    return Trace(model, values)
