"""Other ways to add and to average, each under its name, to be compared; no operator uses them.

Some look like the contract and differ from it in a few inputs of a million, some are what integer
hardware computes. Other ways to requantize are in :mod:`bitbybit.arithmetic.requantizers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _operands as operands
from ._bounds import centred
from ._operands import Codes, ScaleLike, ZeroPointLike
from ._qlinear_add import qlinear_add
from .requantizers import (
    Requantizer,
    fixed_point,
    floating,
    integer_multiplier,
    saturate,
    shift_half_up,
    twice_rounded,
)

Adder: TypeAlias = Callable[
    [
        Codes, ScaleLike, ZeroPointLike, Codes, ScaleLike, ZeroPointLike, ScaleLike, ZeroPointLike
    ],
    Codes,
]  # fmt: skip
"""``(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c_scale, c_zero_point)`` to codes."""

Numbers: TypeAlias = NDArray[Any]


def _mean(x: Numbers, pixels: Numbers, y: Numbers) -> Numbers:
    return np.asarray(x / (y * pixels))


_RUNTIME = "ONNX Runtime 1.31, QLinearGlobalAveragePool"
_PAPER = "the same mean on paper"

_AVERAGES = (
    floating("contract", "RNE(f32(a) * f32(x_scale / (y_scale * n))) + z", _RUNTIME, derive=_mean),
    floating(
        "divide-by-the-pixels-last",
        "RNE(f32(a) * f32((x_scale / y_scale) / n)) + z",
        _PAPER,
        derive=lambda x, n, y: (x / y) / n,
    ),
    floating(
        "float64",
        "RNE(a * x_scale / (y_scale * n)) + z in double precision",
        _PAPER,
        derive=_mean,
        dtype=np.float64,
    ),
    floating(
        "real-mean-then-quantize",
        "RNE(((f32(a) / n) * x_scale) / y_scale) + z",
        _PAPER,
        derive=lambda x, n, y: (x, n, y),
        real=lambda a, x, n, y: ((a / n) * x) / y,
    ),
    fixed_point(
        "double-rounding",
        "HAZ(HU(a * q / 2^31) / 2^(shift-31)) + z",
        "gemmlowp's multiplication, with the mean in the multiplier",
        whole=twice_rounded,
        real=_mean,
    ),
    floating(
        "half-up",
        "floor(f32(a) * m + 1/2) + z",
        "the usual idiom",
        derive=_mean,
        whole=lambda v, zero: np.floor(v + np.float32(0.5)) + zero,
    ),
    floating(
        "truncate",
        "trunc(f32(a) * m) + z",
        "C's conversion to int",
        derive=_mean,
        whole=lambda v, zero: np.trunc(v) + zero,
    ),
    floating(
        "mean-rounded-first",
        "RNE(RNE(f32(a) / n) * f32(x_scale / y_scale)) + z",
        "a mean of codes, then a change of scale",
        derive=lambda x, n, y: (n, x / y),
        real=lambda a, n, ratio: np.rint(a / n) * ratio,
    ),
)

AVERAGES: Mapping[str, Requantizer] = MappingProxyType({r.name: r for r in _AVERAGES})
"""Name to average; a requantizer whose ``w_scale`` is the number of pixels. Contract first."""


def real_sum(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
) -> NDArray[np.float64]:
    """Add as on paper: ``(a_scale * (a - a_zp) + b_scale * (b - b_zp)) / c_scale`` in float64.

    ``eq-add-real`` of the book, in steps of the output; neither rounded nor saturated.

    Parameters
    ----------
    a, b : int8 or uint8, broadcastable
    a_scale, b_scale, c_scale : float32, shape ``()``
    a_zero_point, b_zero_point : dtype of ``a`` and ``b``, shape ``()``

    Returns
    -------
    float64, broadcast shape
        Output steps from the output's zero point.
    """
    real_a = centred(a, a_zero_point) * float(a_scale)
    return np.asarray((real_a + centred(b, b_zero_point) * float(b_scale)) / float(c_scale))


def centred_adder(whole: Callable[[Numbers, Numbers, Any, Any, Any], Numbers]) -> Adder:
    """Make an adder that subtracts the zero points first, and adds the output's last.

    Parameters
    ----------
    whole : ``(a, b, a_scale, b_scale, c_scale)`` to whole numbers, not yet saturated
        Codes without their zero points, int64; scales as float32.

    Returns
    -------
    A function of the operands of :func:`~bitbybit.arithmetic.qlinear_add`.
    """

    def adder(
        a: Codes,
        a_scale: ScaleLike,
        a_zero_point: ZeroPointLike,
        b: Codes,
        b_scale: ScaleLike,
        b_zero_point: ZeroPointLike,
        c_scale: ScaleLike,
        c_zero_point: ZeroPointLike,
    ) -> Codes:
        zero = operands.output_zero_point(c_zero_point, "C_zero_point", operands.EIGHT_BIT)
        scales = (np.float32(scale) for scale in (a_scale, b_scale, c_scale))
        steps = whole(centred(a, a_zero_point), centred(b, b_zero_point), *scales)
        return saturate(steps + zero, zero.dtype)

    return adder


def shift_adder(places: int) -> Adder:
    """Make ``(ka * a + kb * b + 2^(places-1)) >> places`` with ``k = RNE(2^places * ratio)``.

    ``eq-add-shift`` of the book: two small multipliers, one adder, one shift.

    Parameters
    ----------
    places : int, 0 to 30
        Binary places of the ratios.

    Returns
    -------
    A function of the operands of :func:`~bitbybit.arithmetic.qlinear_add`.
    """

    def whole(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
        ka, kb = (int(np.rint(s / c_scale * 2.0**places)) for s in (a_scale, b_scale))
        return shift_half_up(ka * a + kb * b, places)

    return centred_adder(whole)


def _real_numbers(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
    """Return the sum of the book's ``eq-add-real`` in float64, rounded."""
    return np.asarray(np.rint(real_sum(a, a_scale, 0, b, b_scale, 0, c_scale)))


def _qdq_literally(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
    """Dequantize both operands to float32, add, quantize."""
    real = a.astype(np.float32) * a_scale + b.astype(np.float32) * b_scale
    return np.asarray(np.rint(real / c_scale))


def _each_rounded(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
    """Bring each operand to the output's grid, round it there, add integers."""
    return np.asarray(np.rint(a * (a_scale / c_scale)) + np.rint(b * (b_scale / c_scale)))


def _shifted_left(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
    """TensorFlow Lite: 20 places to the left, each to twice the larger scale, sum to the output."""
    twice = 2 * max(float(a_scale), float(b_scale))
    shifted = [
        twice_rounded(codes << 20, *integer_multiplier(float(scale) / twice))
        for codes, scale in ((a, a_scale), (b, b_scale))
    ]
    to_output = integer_multiplier(twice / 2**20 / float(c_scale))
    return twice_rounded(shifted[0] + shifted[1], *to_output)


def _twenty_two_bits(a: Numbers, b: Numbers, a_scale: Any, b_scale: Any, c_scale: Any) -> Numbers:
    """ONNX Runtime on ARM64: both ratios in at most 22 bits, their sum rounded half away."""
    ratios = [np.float64(s / c_scale) for s in (a_scale, b_scale)]
    places = min(max(22 - int(np.frexp(max(ratios))[1]), 0), 62)
    ka, kb = (int(np.rint(np.ldexp(ratio, places))) for ratio in ratios)
    total = ka * a + kb * b
    return np.asarray(np.sign(total) * shift_half_up(np.abs(total), places))


def _without_fma(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
    c_zero_point: ZeroPointLike,
) -> Codes:
    """Return the contract's sum with a multiplication and an addition for each multiply-add."""
    zero = operands.output_zero_point(c_zero_point, "C_zero_point", operands.EIGHT_BIT)
    ratio_a, ratio_b = (np.float32(scale) / np.float32(c_scale) for scale in (a_scale, b_scale))
    zeros = ratio_a * np.float32(a_zero_point) + ratio_b * np.float32(b_zero_point)
    inner = b.astype(np.float32) * ratio_b + (zero.astype(np.float32) - zeros)
    return saturate(np.rint(a.astype(np.float32) * ratio_a + inner), zero.dtype)


ADDERS: Mapping[str, Adder] = MappingProxyType(
    {
        "contract": qlinear_add,
        # the right sum in another order or precision
        "real-numbers": centred_adder(_real_numbers),
        "qdq-literally": centred_adder(_qdq_literally),
        "without-fma": _without_fma,
        # cheaper
        "each-operand-rounded": centred_adder(_each_rounded),
        "shifted-left": centred_adder(_shifted_left),
        "22-bit-multipliers": centred_adder(_twenty_two_bits),
    }
)
"""Name to adder; the first is the contract. :func:`shift_adder` makes more."""
