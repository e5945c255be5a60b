"""How the taps of a convolution lie in the planes of its input, and which products need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bitbybit.execution.planes import Float, Geometry
from bitbybit.model.types import Conv

FEW_TAPS = 64
"""Up to so many inputs of an output, one product for all of them is faster than several."""


@dataclass(frozen=True)
class Window:
    """A convolution laid over planes.

    One output cell follows the other as in the output's own plane.  Of the input, row ``ky`` of
    the kernel meets every ``sy``-th row from row ``ky`` on: row phase ``ky % sy``, from its row
    ``ky // sy`` on.

    Attributes
    ----------
    kernel, strides : (height, width)
    height, width : of the output
    row : cells of an output row; those behind the first ``width`` get garbage
    first : the cell of the input that the first tap of the first output reads
    x_row : cells of an input row
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    height: int
    width: int
    row: int
    first: int
    x_row: int

    @classmethod
    def of(cls, conv: Conv, x: Geometry, y_row: int) -> Window:
        """Lay ``conv`` over its input; ``y_row`` is the row that its output prefers."""
        (kh, kw), (sy, sx) = conv.weight.values.shape[2:], conv.strides
        top, left, bottom, right = conv.pads
        height = (x.height + top + bottom - kh) // sy + 1
        width = (x.width + left + right - kw) // sx + 1
        row = x.row if (sy, sx) == (1, 1) else max(width, y_row)
        first = x.start - top * x.row - left
        return cls((kh, kw), (sy, sx), height, width, row, first, x.row)

    @property
    def cells(self) -> int:
        """Cells of the output's rows."""
        return self.height * self.row

    @property
    def phases(self) -> int:
        """Row phases that are read."""
        return min(self.kernel[0], self.strides[0])

    @property
    def rows(self) -> int:
        """Rows of a phase: those of the output, and those that the kernel reaches below."""
        return self.height + (self.kernel[0] - 1) // self.strides[0]

    @property
    def last(self) -> int:
        """The last cell of the input that is read."""
        (sy, sx), (kh, kw) = self.strides, self.kernel
        row = max((self.rows - 1) * sy + self.phases - 1, (self.height - 1) * sy + kh - 1)
        return self.first + row * self.x_row + (self.row - 1) * sx + kw - 1

    def copy_tap(self, x: Float, first: int, rows: int, taps: NDArray[Any]) -> None:
        """Copy what one tap meets in ``rows`` rows of outputs.

        Parameters
        ----------
        x : planes ``[C, size, images]``
        first : the cell that the tap of the first output reads
        rows : how many rows of outputs
        taps : ``[C, rows * row * images]``, is written
        """
        channels, _, images = x.shape
        if self.strides == (1, 1):
            taps[...] = x[:, first : first + rows * self.row].reshape(channels, -1)
            return
        source, target = x[:, first:], taps.reshape(channels, rows, self.row, images)
        if target.dtype == source.dtype:
            # A cell as one item: NumPy copies a few long items faster than many short runs.
            cell = np.dtype((np.void, images * source.itemsize))
            source, target = source.view(cell), target.view(cell)
        channel, step, image = source.strides
        strides = (channel, self.strides[0] * self.x_row * step, self.strides[1] * step, image)
        target[...] = as_strided(source, target.shape, strides)


@dataclass(frozen=True, eq=False)
class Product:
    """One matrix product: some taps of all channels with their weights.

    Attributes
    ----------
    weight : ``[M, taps * C + 1]``, the last column is the bias or 0
    block : which block of taps
    row : the row of the block with the first columns
    """

    weight: NDArray[Any]
    block: int
    row: int


@dataclass(frozen=True, eq=False)
class Split:
    """A convolution as products; their sum is the accumulator.

    Attributes
    ----------
    rows : rows of outputs for which each tap is copied
    blocks : for each block of taps the cells that the taps of the first output read
    products : the products
    """

    rows: int
    blocks: list[list[int]]
    products: list[Product]

    @classmethod
    def of(cls, window: Window, weight: NDArray[Any], bias: NDArray[Any]) -> Split:
        """Split a convolution into one product per kernel row, or into one if that is small.

        Parameters
        ----------
        window : where its taps lie
        weight : ``w - w_zp`` ``[M, C, kH, kW]``, of the dtype of the products
        bias : ``[M]``
        """
        (kh, kw), sy = window.kernel, window.strides[0]
        every = list(range(kh))
        if weight[0].size <= FEW_TAPS:
            groups, blocks, rows = [every], [every], window.height
        else:
            groups, rows = [[ky] for ky in every], window.rows
            blocks = [[phase] for phase in range(window.phases)]
        products: list[Product] = []
        for group in groups:
            taps = weight[:, :, group].transpose(0, 2, 3, 1).reshape(len(bias), -1)
            last = np.zeros_like(bias) if products else bias
            matrix = np.column_stack([taps, last]).astype(weight.dtype)
            products.append(Product(matrix, group[0] % sy, group[0] // sy))
        firsts = [
            [window.first + ky * window.x_row + kx for ky in block for kx in range(kw)]
            for block in blocks
        ]
        return cls(rows, firsts, products)
