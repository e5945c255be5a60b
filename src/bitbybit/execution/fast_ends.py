"""QuantizeLinear and QLinearGlobalAveragePool, fast: where ResNet8's images enter and leave."""

from __future__ import annotations

import math

import numpy as np

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.execution.fast_conv import EXACT_FLOAT32
from bitbybit.execution.interleaved import Float, Scratch, centred_range, fill_group
from bitbybit.execution.layers import params
from bitbybit.model.types import Edge, GlobalPool, Quantize


class FastQuantize:
    """The quantization of images, prepared: :meth:`run` computes a group of images.

    Parameters
    ----------
    layer, y
        The layer and its output edge: 8 bits, per tensor.
    """

    def __init__(self, layer: Quantize, y: Edge) -> None:
        self.scale = params(y, layer).scale
        self.low, self.high = centred_range(params(y, layer))

    def run(self, inputs: list[Float], y: Float, scratch: Scratch) -> None:
        """Compute ``y`` ``[H, C, W, images]`` from at most so many images ``[n, C, H, W]``."""
        (x,) = inputs
        real = scratch.flat("part", x.shape, np.float32)
        np.divide(x, self.scale, out=real)
        np.clip(real, self.low, self.high, out=real)
        np.rint(real, out=real)
        if np.isnan(real.sum()):
            real[np.isnan(real)] = self.low
        fill_group(y, real)


class FastPool:
    """A global average pool, prepared: :meth:`run` computes a group of images.

    Parameters
    ----------
    layer, x, y
        The layer and its quantized edges.
    """

    def __init__(self, layer: GlobalPool, x: Edge, y: Edge) -> None:
        self.multiplier = pool_multiplier(layer, x, y)
        self.low, self.high = centred_range(params(y, layer))

    def run(self, inputs: list[Float], y: Float, scratch: Scratch) -> None:
        """Compute ``y`` ``[1, C, 1, images]`` from ``[H, C, W, images]``."""
        del scratch
        (x,) = inputs
        means = np.add.reduce(x, axis=0).sum(axis=1)
        np.multiply(means, self.multiplier, out=means)
        np.clip(means, self.low, self.high, out=means)
        np.rint(means, out=y.reshape(means.shape))


def pool_multiplier(layer: GlobalPool, x: Edge, y: Edge) -> Float:
    """Return the multiplier of a global average pool, float32 ``()``."""
    pixels = math.prod(size or 0 for size in x.shape[2:])
    return arithmetic.pool_multiplier(params(x, layer).scale, params(y, layer).scale, pixels)


def pool_is_exact(layer: GlobalPool, x: Edge, y: Edge) -> bool:
    """Whether the fast form of a global average pool equals its definition."""
    pixels = math.prod(size or 0 for size in x.shape[2:])
    try:
        pool_multiplier(layer, x, y)
    except UnsupportedError:  # the definition says so when it is computed, and names the layer
        return False
    return 255 * pixels < EXACT_FLOAT32
