"""Other ways to requantize, to add and to average, each under its name, to be compared.

The requantizations and averages are values of one interface, :data:`Requantizer`, the adders of
another, :data:`Adder`. Some look like the contract and differ from it in a few inputs of a million,
some are the usual mistakes of rounding, some are what integer hardware computes. No operator uses
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _operands as operands
from ._bounds import centred
from ._operands import Codes, Int32, ScaleLike, ZeroPointLike
from ._qlinear_add import qlinear_add
from ._requantize import conv_multiplier, requantize

Requantizer: TypeAlias = Callable[
    [Int32, ScaleLike, ScaleLike, ScaleLike, ZeroPointLike, int | None], Codes
]
"""``(acc, x_scale, w_scale, y_scale, y_zero_point, axis)`` to codes, as :func:`contract`."""

Adder: TypeAlias = Callable[
    [
        Codes, ScaleLike, ZeroPointLike, Codes, ScaleLike, ZeroPointLike, ScaleLike, ZeroPointLike
    ],
    Codes,
]  # fmt: skip
"""``(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c_scale, c_zero_point)`` to codes."""

Numbers: TypeAlias = NDArray[Any]


def contract(
    acc: Int32,
    x_scale: ScaleLike,
    w_scale: ScaleLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    axis: int | None = None,
) -> Codes:
    """Requantize as ONNX Runtime: ``RNE(f32(acc) * ((x_scale * w_scale) / y_scale)) + zp``.

    Parameters
    ----------
    acc : int32, any shape
        Accumulators with bias.
    x_scale, y_scale : float32, shape ``()``
    w_scale : float32, shape ``()``, or ``[C]`` with C = ``acc.shape[axis]``
    y_zero_point : int8 or uint8, shape ``()``
        Its dtype is the dtype of the result.
    axis : int or None
        The channel axis of ``acc``.

    Returns
    -------
    codes, shape of ``acc``, saturated to the range of their dtype
    """
    return requantize(acc, conv_multiplier(x_scale, w_scale, y_scale), y_zero_point, axis)


def floating(
    real: Callable[[Numbers, Numbers, Numbers, Numbers], Numbers],
    to_codes: Callable[[Numbers, Numbers], Numbers],
    dtype: type[np.floating[Any]] = np.float32,
) -> Requantizer:
    """Make a requantizer that computes in floating point.

    Parameters
    ----------
    real : ``(acc, x_scale, w_scale, y_scale)`` to the output in units of one code
    to_codes : ``(real, y_zero_point)`` to whole numbers, not yet saturated
    dtype : float32 or float64
        What both compute in.

    Returns
    -------
    A function of ``acc, x_scale, w_scale, y_scale, y_zero_point, axis``, as :func:`contract`.
    """

    def requantizer(
        acc: Int32,
        x_scale: ScaleLike,
        w_scale: ScaleLike,
        y_scale: ScaleLike,
        y_zero_point: ZeroPointLike,
        axis: int | None = None,
    ) -> Codes:
        zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
        x, w, y = (np.asarray(s, np.float32).astype(dtype) for s in (x_scale, w_scale, y_scale))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            v = real(acc.astype(dtype), x, operands.along(w, axis, acc.ndim), y)
            return _saturate(to_codes(v, zero.astype(dtype)), zero.dtype)

    return requantizer


def fixed_point(
    multiply: Callable[[Numbers, Numbers, Numbers], Numbers], bits: int = 31
) -> Requantizer:
    """Make a requantizer that multiplies by an integer ``q`` and shifts: ``m = q * 2^(e-bits)``.

    ``m = x_scale * w_scale / y_scale`` in float64, ``m = mantissa * 2^e`` with
    ``1/2 <= mantissa < 1``, ``q = round(mantissa * 2^bits)``: TensorFlow Lite's derivation.

    Parameters
    ----------
    multiply : ``(acc, q, e)``, all int64, to whole numbers
    bits : int, 1 to 31
        Bits of the multiplier.

    Returns
    -------
    A function of ``acc, x_scale, w_scale, y_scale, y_zero_point, axis``, as :func:`contract`.

    Raises
    ------
    OperandError
        ``bits`` outside its range.
    """
    if not 1 <= bits <= 31:
        raise operands.OperandError(
            "wrong number of bits",
            where="bits",
            expected="1 to 31",
            found=bits,
            next_step="Choose a number in this range.",
        )

    def requantizer(
        acc: Int32,
        x_scale: ScaleLike,
        w_scale: ScaleLike,
        y_scale: ScaleLike,
        y_zero_point: ZeroPointLike,
        axis: int | None = None,
    ) -> Codes:
        zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
        x, w, y = (np.asarray(s, np.float64) for s in (x_scale, w_scale, y_scale))
        q, e = _integer_multiplier(operands.along(x * w / y, axis, acc.ndim), bits)
        return _saturate(multiply(acc.astype(np.int64), q, e) + zero, zero.dtype)

    return requantizer


def single_rounding(bits: int) -> Requantizer:
    """Make ``(acc * q + 2^(bits-1-e)) >> (bits - e)``: one rounding, half up.

    TensorFlow Lite's option for ``bits = 31``; CMSIS-NN multiplies 64-bit accumulators so with
    ``bits = 15``.

    Parameters
    ----------
    bits : int, 1 to 31
        Bits of the multiplier.

    Returns
    -------
    A function of ``acc, x_scale, w_scale, y_scale, y_zero_point, axis``, as :func:`contract`.
    """
    return fixed_point(lambda acc, q, e: _shift_half_up(acc * q, bits - e), bits)


def _integer_multiplier(real: Numbers, bits: int) -> tuple[Numbers, Numbers]:
    """Return ``q`` and ``e`` with ``real = q * 2^(e-bits)``, ``q`` rounded to ``bits`` bits."""
    mantissa, e = np.frexp(real)
    q = np.floor(mantissa * 2.0**bits + 0.5).astype(np.int64)
    is_one = q == 2**bits
    return np.where(is_one, q // 2, q), np.where(is_one, e + 1, e).astype(np.int64)


def _double_rounding(acc: Numbers, q: Numbers, e: Numbers) -> Numbers:
    """Gemmlowp: round ``(acc << e) * q / 2^31`` half up, then ``/ 2^-e`` half away from zero."""
    high = _shift_half_up((acc << np.maximum(e, 0)) * q, 31)
    return np.asarray(np.sign(high) * _shift_half_up(np.abs(high), np.maximum(-e, 0)))


def _shift_half_up(value: Numbers, shift: int | Numbers) -> Numbers:
    """Return ``floor(value / 2^shift + 1/2)`` of int64; 0 to 62 places."""
    places = np.clip(shift, 0, 62)
    return np.asarray((value + (1 << places >> 1)) >> places)


def _saturate(whole: Numbers, dtype: np.dtype[Any]) -> Codes:
    """Clip whole numbers to the range of ``dtype``; NaN becomes its minimum."""
    info = np.iinfo(dtype)
    return np.fmin(np.fmax(whole, info.min), info.max).astype(dtype)


def _half_away_from_zero(v: Numbers, zero: Numbers) -> Numbers:
    whole = np.trunc(v)
    return np.asarray(whole + np.trunc(2 * (v - whole)) + zero)


def _standard(acc: Numbers, x: Numbers, w: Numbers, y: Numbers) -> Numbers:
    return np.asarray(acc * ((x * w) / y))


def _mean(acc: Numbers, x: Numbers, pixels: Numbers, y: Numbers) -> Numbers:
    return np.asarray(acc * (x / (y * pixels)))


def _half_up(v: Numbers, zero: Numbers) -> Numbers:
    return np.asarray(np.floor(v + np.float32(0.5)) + zero)


def _truncate(v: Numbers, zero: Numbers) -> Numbers:
    return np.asarray(np.trunc(v) + zero)


def _half_even(v: Numbers, zero: Numbers) -> Numbers:
    return np.asarray(np.rint(v) + zero)


REQUANTIZERS: Mapping[str, Requantizer] = MappingProxyType(
    {
        "contract": contract,
        # the right rounding of a product in another order or precision
        "weight-over-output-first": floating(lambda a, x, w, y: a * (x * (w / y)), _half_even),
        "input-over-output-first": floating(lambda a, x, w, y: a * ((x / y) * w), _half_even),
        "reciprocal-of-output": floating(lambda a, x, w, y: a * ((x * w) * (1 / y)), _half_even),
        "divide-last": floating(lambda a, x, w, y: (a * (x * w)) / y, _half_even),
        "float64": floating(_standard, _half_even, np.float64),
        # the right product, another rounding
        "half-away-from-zero": floating(_standard, _half_away_from_zero),
        "half-up": floating(_standard, _half_up),
        "zero-point-before-rounding": floating(_standard, lambda v, zero: np.rint(v + zero)),
        "truncate": floating(_standard, _truncate),
        "floor": floating(_standard, lambda v, zero: np.floor(v) + zero),
        "ceil": floating(_standard, lambda v, zero: np.ceil(v) + zero),
        # integers only
        "double-rounding": fixed_point(_double_rounding),
        "single-rounding": single_rounding(31),
        "single-rounding-16-bit": single_rounding(15),
    }
)
"""Name to requantizer; the first is the contract."""


AVERAGES: Mapping[str, Requantizer] = MappingProxyType(
    {
        "contract": floating(_mean, _half_even),
        "divide-by-the-pixels-last": floating(lambda a, x, n, y: a * ((x / y) / n), _half_even),
        "float64": floating(_mean, _half_even, np.float64),
        "real-mean-then-quantize": floating(lambda a, x, n, y: ((a / n) * x) / y, _half_even),
        "half-up": floating(_mean, _half_up),
        "truncate": floating(_mean, _truncate),
        "mean-rounded-first": floating(lambda a, x, n, y: np.rint(a / n) * (x / y), _half_even),
    }
)
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
        return _saturate(steps + zero, zero.dtype)

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
        return _shift_half_up(ka * a + kb * b, places)

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
        _double_rounding(codes << 20, *_integer_multiplier(np.asarray(float(scale) / twice), 31))
        for codes, scale in ((a, a_scale), (b, b_scale))
    ]
    to_output = np.asarray(twice / 2**20 / float(c_scale))
    return _double_rounding(shifted[0] + shifted[1], *_integer_multiplier(to_output, 31))


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
    return _saturate(np.rint(a.astype(np.float32) * ratio_a + inner), zero.dtype)


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
    }
)
"""Name to adder; the first is the contract. :func:`shift_adder` makes more."""
