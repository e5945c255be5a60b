"""QLinearAdd, fast: a short float32 formula where all 65,536 pairs prove it, else the table."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.interleaved import Float, Scratch, centred_range
from bitbybit.execution.layers import params
from bitbybit.model.types import Add, Edge

BAND = 2**16
"""Bytes of the output that are computed together: few enough for the first cache."""


class FastAdd:
    """One residual addition, prepared: :meth:`run` computes a group of images.

    The operator is defined with fused multiply-adds of raw codes.  On centred codes, with plain
    products, ``RNE(clip(a * ra + b * rb))`` is shorter.  For all but about one of 65,536 pairs it
    is the same; often a ratio an ulp away makes it the same for all.  Whether it is, is settled
    here by comparing all of them.

    Parameters
    ----------
    layer, a, b, c
        The addition, its two input edges and its output edge: 8 bits, per tensor.

    Attributes
    ----------
    ratios : ``ra`` and ``rb`` of a formula that equals the table, None if none was found
    """

    def __init__(self, layer: Add, a: Edge, b: Edge, c: Edge) -> None:
        first, second, total = (params(edge, layer) for edge in (a, b, c))
        self.low, self.high = centred_range(total)
        table = arithmetic.add_table(
            first.scale, first.zero_point, second.scale, second.zero_point,
            total.scale, total.zero_point,
        )  # fmt: skip
        self.table = table.astype(np.float32) - np.float32(total.zero_point)
        codes = np.arange(total.qmin, total.qmax + 1, dtype=np.float32)
        every_a, every_b = (codes - np.float32(p.zero_point) for p in (first, second))
        self.first_codes = every_a[0], every_b[0]
        self.ratios: tuple[np.float32, np.float32] | None = None
        pairs, made = (every_a[:, None], every_b[None, :]), np.empty_like(self.table)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            exact = first.scale / total.scale, second.scale / total.scale
            for steps in _NEARBY:
                near = [np.float32(r * (1 + n * _ULP)) for r, n in zip(exact, steps, strict=True)]
                self._formula(*pairs, (near[0], near[1]), made, np.empty_like(made))
                if np.array_equal(made, self.table):
                    self.ratios = near[0], near[1]
                    break

    def run(self, inputs: list[Float], c: Float, scratch: Scratch) -> None:
        """Compute ``c`` from ``a`` and ``b``, all ``[H, C, W, images]``."""
        a, b = inputs
        if self.ratios is None:
            self._look_up(a, b, c)
            return
        rows = max(1, BAND // c[0].nbytes)
        part = scratch.flat("part", (rows, *c.shape[1:]), np.float32)
        for first in range(0, len(c), rows):
            band = slice(first, first + rows)
            self._formula(a[band], b[band], self.ratios, c[band], part[: len(c[band])])

    def _formula(
        self, a: Float, b: Float, ratios: tuple[np.float32, np.float32], c: Float, memory: Float
    ) -> None:
        np.multiply(a, ratios[0], out=c)
        np.multiply(b, ratios[1], out=memory)
        np.add(c, memory, out=c)
        np.clip(c, self.low, self.high, out=c)
        np.rint(c, out=c)

    def _look_up(self, a: Float, b: Float, c: Float) -> None:
        place: NDArray[Any] = (a - self.first_codes[0]) * np.float32(256)
        place += b - self.first_codes[1]
        np.take(self.table, place.astype(np.intp), out=c, mode="clip")


_ULP = np.float32(2.0**-23)

_NEARBY = sorted(product(range(-2, 3), repeat=2), key=lambda steps: sum(map(abs, steps)))
"""Steps of an ulp, about, to add to both ratios; none first."""
