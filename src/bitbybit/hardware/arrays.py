"""A layer on an array of multipliers: tiles, cycles, and the bytes that move.

The mapping is weight-stationary. The array has ``rows * columns`` multipliers; each holds one
weight of a tile: row = product ``k`` of the sum, column = output channel. A tile's weights enter
row by row, one row per cycle; then one output pixel after the other passes, one per cycle: its
codes along the rows, its sums down the columns. Where K exceeds the rows, each further tile adds to
the sums of the one before.
Counted are these cycles, and each byte that crosses the edge of the array. Not counted: filling
and draining of its pipeline, stalls of the memory, requantization, layers without weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitbybit.errors import UnsupportedError
from bitbybit.model.costs import elements
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel

SUM_BYTES = 4
"""Bytes of a partial sum outside the array: the int32 of the contract."""


@dataclass(frozen=True)
class Array:
    """An array of ``rows * columns`` multipliers.

    Raises
    ------
    UnsupportedError
        A side below 1.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise UnsupportedError(
                "an array needs rows and columns",
                where="array",
                expected="two integers >= 1",
                found=f"{self.rows} x {self.columns}",
                next_step="Give for example 16 rows and 16 columns.",
            )


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """One layer on an array, for one image.

    Attributes
    ----------
    array : the array
    groups : products of matrices, one after the other: the groups of a convolution
    taps : K, products of one sum
    channels : M/G, output channels of a group
    pixels : V, outputs of one channel: ``H_out * W_out``, or 1
    weight_width, input_width, output_width : bytes of one element
    """

    array: Array
    groups: int
    taps: int
    channels: int
    pixels: int
    weight_width: int
    input_width: int
    output_width: int

    @property
    def row_tiles(self) -> int:
        """``ceil(K / rows)``."""
        return -(-self.taps // self.array.rows)

    @property
    def column_tiles(self) -> int:
        """``ceil(M/G / columns)``."""
        return -(-self.channels // self.array.columns)

    @property
    def tiles(self) -> int:
        """All tiles of the layer."""
        return self.groups * self.row_tiles * self.column_tiles

    @property
    def macs(self) -> int:
        """Multiply-accumulates; padded taps count."""
        return self.groups * self.taps * self.channels * self.pixels

    @property
    def load_cycles(self) -> int:
        """Cycles in which weights enter: one for each row in use of each tile."""
        return self.groups * self.taps * self.column_tiles

    @property
    def cycles(self) -> int:
        """Loading, and one cycle for each tile and pixel."""
        return self.load_cycles + self.tiles * self.pixels

    @property
    def occupancy(self) -> float:
        """Share of the multipliers that hold a weight, over all tiles."""
        size = self.array.rows * self.array.columns
        return self.groups * self.taps * self.channels / (self.tiles * size)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates over what the array could do in all its cycles."""
        return self.macs / (self.cycles * self.array.rows * self.array.columns)

    @property
    def weight_bytes(self) -> int:
        """Weights that enter: each once."""
        return self.groups * self.taps * self.channels * self.weight_width

    @property
    def input_bytes(self) -> int:
        """Codes that enter: each row of im2col once per column tile, padding included."""
        return self.groups * self.taps * self.pixels * self.column_tiles * self.input_width

    @property
    def sum_bytes(self) -> int:
        """Partial sums that leave after each row tile but the last, and enter again."""
        sums = self.groups * self.channels * self.pixels
        return 2 * (self.row_tiles - 1) * sums * SUM_BYTES

    @property
    def output_bytes(self) -> int:
        """Codes that leave, after requantization."""
        return self.groups * self.channels * self.pixels * self.output_width

    @property
    def bytes_moved(self) -> int:
        """Weights, codes in and out, and partial sums."""
        return self.weight_bytes + self.input_bytes + self.sum_bytes + self.output_bytes


def mapping(model: QuantizedModel, layer: Layer, array: Array) -> Mapping | None:
    """Lay a convolution or dense layer into an array.

    Parameters
    ----------
    model, layer
        A network in any form and one of its layers; a float layer counts as its 8-bit twin.
    array
        Its rows and columns.

    Returns
    -------
    Mapping, or None for a layer without weights, for one of which none are left (a convolution
    without channels), and for one whose output's shape is open
    """
    if not isinstance(layer, (Conv, Dense)):
        return None
    edge, x = model.edges[layer.name], model.edges[layer.inputs[0]]
    pixels = elements(edge.shape[2:]) if edge.shape else None
    if pixels is None or not layer.weight.values.size:
        return None
    shape, group = layer.weight.values.shape, layer.group if isinstance(layer, Conv) else 1
    channels = shape[0] // group if isinstance(layer, Conv) else shape[1]
    kept = layer.weight.params is not None
    return Mapping(
        array=array,
        groups=group,
        taps=layer.weight.values[0].size if isinstance(layer, Conv) else shape[0],
        channels=channels,
        pixels=pixels,
        weight_width=layer.weight.values.dtype.itemsize if kept else 1,
        input_width=x.dtype.itemsize if kept else 1,
        output_width=edge.dtype.itemsize if kept else 1,
    )
