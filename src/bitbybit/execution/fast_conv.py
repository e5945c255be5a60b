"""QLinearConv, fast: exact integer arithmetic by float32 matrix products.

A float32 holds every integer up to 2^24.  While ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|`` stays
below that, every partial sum of the product is an exact integer, whatever the order of summation;
up to 2^31, where int32 would wrap, float64 does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.interleaved import Float, FloatType, Scratch
from bitbybit.execution.layers import params
from bitbybit.model.types import Conv, Edge

EXACT_FLOAT32 = 2**24
EXACT_INT32 = 2**31

FEW_TAPS = 64
"""Up to so many inputs of an output, one product for all of them is faster than several."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some taps of a convolution, and the products that read them.

    Row ``ky`` of the kernel meets the input rows ``ky, ky + sy, ...``: the same as row ``ky + sy``
    does, one row further on.  So kernel rows that are ``sy`` apart share their copied taps.

    Attributes
    ----------
    taps : ``(ky, kx)`` of each copied tap
    rows : rows of outputs for which they are copied
    products : weights ``[M, taps * C + 1]``, the last column the bias or 0, and the row of the
        block where their columns begin
    """

    taps: list[tuple[int, int]]
    rows: int
    products: list[tuple[NDArray[Any], int]]


class FastConv:
    """One convolution, prepared: :meth:`run` computes a group of images.

    Parameters
    ----------
    layer, x, y
        The convolution and its quantized input and output edge.
    """

    def __init__(self, layer: Conv, x: Edge, y: Edge) -> None:
        self.pads, self.strides = layer.pads, layer.strides
        self.dtype: FloatType = (
            np.float32 if accumulator_bound(layer, x) < EXACT_FLOAT32 else np.float64
        )
        weight = centred_weight(layer).astype(self.dtype)
        bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.values
        self.blocks = _blocks(weight, bias, layer.strides[0], y.shape[2] or 0)
        multiplier = conv_multiplier(layer, x, y).reshape(-1, 1)
        self.multiplier = np.broadcast_to(multiplier, (len(weight), 1)).copy()
        y_params = params(y, layer)
        self.low = np.float32(y_params.qmin - int(y_params.zero_point))
        self.high = np.float32(y_params.qmax - int(y_params.zero_point))

    def run(self, inputs: list[Float], y: Float, scratch: Scratch) -> None:
        """Compute ``y`` ``[M, H_out, W_out, images]`` from ``[C, H, W, images]``."""
        (x,) = inputs
        codes = y.reshape(len(y), -1)
        acc = codes if self.dtype is np.float32 else scratch.flat("sum", codes.shape, self.dtype)
        self._accumulate(scratch.padded(x, self.pads), acc, y.shape[2], scratch)
        if acc is not codes:
            codes[...] = acc
        np.multiply(codes, self.multiplier, out=codes)
        np.clip(codes, self.low, self.high, out=codes)
        np.rint(codes, out=codes)

    def _accumulate(self, x: Float, acc: NDArray[Any], width: int, scratch: Scratch) -> None:
        """Write the accumulators ``[M, H_out * W_out * images]``."""
        first = True
        for block in self.blocks:
            columns = self._columns(block, x, width, scratch)
            for weight, row in block.products:
                begin = row * width * x.shape[3]
                taps = columns[:, begin : begin + acc.shape[1]]
                part = acc if first else scratch.flat("part", acc.shape, self.dtype)
                np.matmul(weight, taps, out=part)
                if not first:
                    np.add(acc, part, out=acc)
                first = False

    def _columns(self, block: Block, x: Float, width: int, scratch: Scratch) -> NDArray[Any]:
        """Return what the taps of a block meet: ``[taps * C + 1, rows * width * images]``."""
        channels, images, (sy, sx) = len(x), x.shape[3], self.strides
        shape = (len(block.taps), channels, block.rows, width, images)
        columns = scratch.flat(
            "columns", (shape[0] * channels + 1, block.rows * width * images), self.dtype
        )
        columns[-1] = 1  # meets the bias
        target = columns[:-1].reshape(shape)
        if target.dtype == x.dtype:
            # All images of a pixel as one item: NumPy copies few long items faster.
            pixel = np.dtype((np.void, images * x.itemsize))
            target, x = target.view(pixel), x.view(pixel)
        for tap, (ky, kx) in zip(target, block.taps, strict=True):
            rows = slice(ky, ky + (block.rows - 1) * sy + 1, sy)
            tap[...] = x[:, rows, kx : kx + (width - 1) * sx + 1 : sx]
        return columns


def _blocks(weight: NDArray[Any], bias: NDArray[Any], sy: int, height: int) -> list[Block]:
    """Split a convolution into products, whose sum is the accumulator.

    With few taps there is one product, else one per kernel row.

    Parameters
    ----------
    weight : ``w - w_zp`` ``[M, C, kH, kW]``, of the dtype of the products
    bias : ``[M]``
    sy : vertical stride
    height : rows of the output
    """
    _, _, kh, kw = weight.shape
    every = list(range(kh))
    one_product = weight[0].size <= FEW_TAPS
    shared = [every] if one_product else [every[phase::sy] for phase in range(min(sy, kh))]
    blocks: list[Block] = []
    for kys in shared:
        products: list[tuple[NDArray[Any], int]] = []
        for row, group in enumerate([kys] if one_product else [[ky] for ky in kys]):
            taps = weight[:, :, group].transpose(0, 2, 3, 1).reshape(len(bias), -1)
            last = np.zeros_like(bias) if blocks or products else bias
            products.append((np.column_stack([taps, last]).astype(weight.dtype), row))
        copied = kys if one_product else kys[:1]
        taps_of_block = [(ky, kx) for ky in copied for kx in range(kw)]
        blocks.append(Block(taps_of_block, height + len(products) - 1, products))
    return blocks


def centred_weight(layer: Conv) -> NDArray[np.int64]:
    """Return ``w - w_zp``, int64 ``[M, C/G, kH, kW]``."""
    zero = params(layer.weight, layer).zero_point.astype(np.int64)
    return layer.weight.values.astype(np.int64) - zero.reshape(-1, 1, 1, 1)


def accumulator_bound(layer: Conv, x: Edge) -> int:
    """Return ``max_m Σ|w - w_zp| * max|x - x_zp| + |b|``: no partial sum is larger."""
    x_params = params(x, layer)
    zero = int(x_params.zero_point)
    reach = max(x_params.qmax - zero, zero - x_params.qmin)
    sums = np.abs(centred_weight(layer)).sum(axis=(1, 2, 3)) * reach
    if layer.bias is not None:
        sums = sums + np.abs(layer.bias.values.astype(np.int64))
    return int(sums.max())


def conv_multiplier(layer: Conv, x: Edge, y: Edge) -> Float:
    """Return the multiplier of a convolution: float32 ``()`` or ``[M]``."""
    return arithmetic.conv_multiplier(
        params(x, layer).scale, params(layer.weight, layer).scale, params(y, layer).scale
    )
