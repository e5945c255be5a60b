"""QLinearAdd, fast: a short float32 formula where all 65,536 pairs prove it, else the table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.interleaved import Float, Scratch
from bitbybit.execution.layers import params
from bitbybit.model.types import Add, Edge


class FastAdd:
    """One residual addition, prepared: :meth:`run` computes a group of images.

    The operator is defined with fused multiply-adds of raw codes.  On centred codes, with plain
    products, ``RNE(clip(a * ra + b * rb))`` is shorter; whether it is the same function is
    settled here, for the scales of this layer, by comparing all 65,536 pairs.

    Parameters
    ----------
    layer, a, b, c
        The addition, its two input edges and its output edge: 8 bits, per tensor.
    """

    def __init__(self, layer: Add, a: Edge, b: Edge, c: Edge) -> None:
        first, second, total = (params(edge, layer) for edge in (a, b, c))
        self.ratios = first.scale / total.scale, second.scale / total.scale
        zero = np.float32(total.zero_point)
        self.low, self.high = np.float32(total.qmin) - zero, np.float32(total.qmax) - zero
        table = arithmetic.add_table(
            first.scale, first.zero_point, second.scale, second.zero_point,
            total.scale, total.zero_point,
        )  # fmt: skip
        self.table = table.astype(np.float32) - zero
        codes = np.arange(total.qmin, total.qmax + 1, dtype=np.float32)
        every_a, every_b = (codes - np.float32(p.zero_point) for p in (first, second))
        self.first_codes = every_a[0], every_b[0]
        formula = np.empty_like(self.table)
        self._formula(every_a[:, None], every_b[None, :], formula, np.empty_like(formula))
        self.proved = np.array_equal(formula, self.table)

    def run(self, inputs: list[Float], c: Float, scratch: Scratch) -> None:
        """Compute ``c`` from ``a`` and ``b``, all ``[C, H, W, images]``."""
        a, b = inputs
        if self.proved:
            self._formula(a, b, c, scratch.flat("part", c.shape, np.float32))
        else:
            self._look_up(a, b, c)

    def _formula(self, a: Float, b: Float, c: Float, memory: Float) -> None:
        np.multiply(a, self.ratios[0], out=c)
        np.multiply(b, self.ratios[1], out=memory)
        np.add(c, memory, out=c)
        np.clip(c, self.low, self.high, out=c)
        np.rint(c, out=c)

    def _look_up(self, a: Float, b: Float, c: Float) -> None:
        place: NDArray[Any] = (a - self.first_codes[0]) * np.float32(256)
        place += b - self.first_codes[1]
        np.take(self.table, place.astype(np.intp), out=c, mode="clip")
