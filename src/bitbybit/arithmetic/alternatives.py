"""Other requantizations, each under its name, to be compared with the contract's.

All are values of one interface, :data:`Requantizer`. Some look like the contract and differ from
it in a few accumulators of a million, some are the usual mistakes of rounding, some are what
integer hardware computes. No operator uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _operands as operands
from ._operands import Codes, Int32, ScaleLike, ZeroPointLike
from ._requantize import conv_multiplier, requantize

Requantizer: TypeAlias = Callable[
    [Int32, ScaleLike, ScaleLike, ScaleLike, ZeroPointLike, int | None], Codes
]
"""``(acc, x_scale, w_scale, y_scale, y_zero_point, axis)`` to codes, as :func:`contract`."""

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
    """Make a requantizer that multiplies by an integer ``q`` and shifts: ``M = q * 2^(e-bits)``.

    ``M = x_scale * w_scale / y_scale`` in float64, ``M = mantissa * 2^e`` with
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
        mantissa, e = np.frexp(operands.along(x * w / y, axis, acc.ndim))
        q = np.floor(mantissa * 2.0**bits + 0.5).astype(np.int64)
        is_one = q == 2**bits
        q, e = np.where(is_one, q // 2, q), np.where(is_one, e + 1, e).astype(np.int64)
        return _saturate(multiply(acc.astype(np.int64), q, e) + zero.astype(np.int64), zero.dtype)

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
        "half-up": floating(_standard, lambda v, zero: np.floor(v + np.float32(0.5)) + zero),
        "zero-point-before-rounding": floating(_standard, lambda v, zero: np.rint(v + zero)),
        "truncate": floating(_standard, lambda v, zero: np.trunc(v) + zero),
        "floor": floating(_standard, lambda v, zero: np.floor(v) + zero),
        "ceil": floating(_standard, lambda v, zero: np.ceil(v) + zero),
        # integers only
        "double-rounding": fixed_point(_double_rounding),
        "single-rounding": single_rounding(31),
        "single-rounding-16-bit": single_rounding(15),
    }
)
"""Name to requantizer; the first is the contract."""
