"""How accumulators become codes: each scheme under its usual name, with its multiplier and output.

A :class:`Requantizer` owns both steps: what is made of the three scales, once and offline, and what
is made of every accumulator with that. One of them is the contract, one is the same function in
integers, some are what other engines and hardware compute, the rest are usual mistakes. No operator
uses them. Every one of them is monotone: a larger accumulator never gets a smaller code.

``M = x_scale * w_scale / y_scale`` is the real multiplier, ``a`` an accumulator with its bias,
``z`` the output's zero point; what a formula gives is saturated to the range of the codes. RNE
rounds halves to even, HU upwards, ``floor(v + 1/2)``, HAZ away from zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _operands as operands
from ._operands import Codes, Float32, Int32, ScaleLike, ZeroPointLike
from ._requantize import conv_multiplier, requantize

Numbers: TypeAlias = NDArray[Any]
Int64: TypeAlias = NDArray[np.int64]
Multiplier: TypeAlias = Any
"""One array, or a tuple of arrays: ``()`` or ``[C]`` each; of the thresholds ``[..., 255]``."""

Derive: TypeAlias = Callable[[Float32, Float32, Float32, Codes], Multiplier]
Apply: TypeAlias = Callable[[Int32, Multiplier, Codes, int | None], Codes]

INT32 = np.iinfo(np.int32)


class FixedPoint(NamedTuple):
    """An integer multiplier and the places that its product is shifted: ``M = q * 2^-shift``.

    Attributes
    ----------
    q : int64, ``()`` or ``[C]``, 0 to 2^31 - 1
    shift : int64, same shape, at most 62; below 0 the accumulator is shifted left instead
        TensorFlow Lite's own shift is ``31 - shift``, positive to the left.
    """

    q: Int64
    shift: Int64


@dataclass(frozen=True, kw_only=True)
class Requantizer:
    """One way to requantize.

    Attributes
    ----------
    name : its usual name, the key of :data:`REQUANTIZERS`
    formula : what it makes of an accumulator, before saturation
    source : who computes so, or wrote it down
    integers : whether an accumulator meets integers only
    derive : scales, as float32, and the output's zero point to the multiplier
    apply : accumulators, multiplier, zero point and channel axis to codes
    """

    name: str
    formula: str
    source: str
    integers: bool
    derive: Derive
    apply: Apply

    def multiplier(
        self,
        x_scale: ScaleLike,
        w_scale: ScaleLike,
        y_scale: ScaleLike,
        y_zero_point: ZeroPointLike,
    ) -> Multiplier:
        """Return what this scheme keeps of the scales: its constants.

        Parameters
        ----------
        x_scale, y_scale : float32, shape ``()``
        w_scale : float32, shape ``()``, or ``[C]``
        y_zero_point : int8 or uint8, shape ``()``
            Only the thresholds depend on it.

        Returns
        -------
        An array (float32 or float64 ``[C]``, thresholds int64 ``[C, 255]``), or a tuple of arrays
        (:class:`FixedPoint`); without the ``C`` where ``w_scale`` is one number.

        Raises
        ------
        OperandError
            A scale or zero point of another dtype or shape, a scale that is not finite and > 0.
        """
        x, y = operands.scale(x_scale, "x_scale"), operands.scale(y_scale, "y_scale")
        w = operands.scale_of_any_shape(w_scale, "w_scale")
        with np.errstate(over="ignore", under="ignore"):
            return self.derive(x, w, y, _zero(y_zero_point))

    def codes(
        self,
        acc: Int32,
        multiplier: Multiplier,
        y_zero_point: ZeroPointLike,
        axis: int | None = None,
    ) -> Codes:
        """Return the codes of accumulators.

        Parameters
        ----------
        acc : int32, any shape
            Accumulators with bias.
        multiplier
            From :meth:`multiplier`.
        y_zero_point : int8 or uint8, shape ``()``
            Its dtype is the dtype of the result.
        axis : int or None
            The channel axis of ``acc``.

        Returns
        -------
        codes, shape of ``acc``, saturated to the range of their dtype

        Raises
        ------
        OperandError
            Accumulators or a zero point of another dtype.
        """
        acc = operands.array(acc, "accumulator", (np.int32,))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return self.apply(acc, multiplier, _zero(y_zero_point), axis)

    def __call__(
        self,
        acc: Int32,
        x_scale: ScaleLike,
        w_scale: ScaleLike,
        y_scale: ScaleLike,
        y_zero_point: ZeroPointLike,
        axis: int | None = None,
    ) -> Codes:
        """Derive the multiplier, then return the codes: both steps in one, operands as theirs."""
        multiplier = self.multiplier(x_scale, w_scale, y_scale, y_zero_point)
        return self.codes(acc, multiplier, y_zero_point, axis)


def floating(
    name: str,
    formula: str,
    source: str,
    *,
    derive: Callable[[Numbers, Numbers, Numbers], Multiplier] = lambda x, w, y: (x * w) / y,
    real: Callable[..., Numbers] = np.multiply,
    whole: Callable[[Numbers, Numbers], Numbers] = lambda v, zero: np.rint(v) + zero,
    dtype: type[np.floating[Any]] = np.float32,
) -> Requantizer:
    """Make a requantizer that computes in floating point.

    Parameters
    ----------
    name, formula, source
        As of :class:`Requantizer`.
    derive : ``(x_scale, w_scale, y_scale)``, all of ``dtype``, to the multiplier or a tuple
    real : ``(acc, *multiplier)`` to the output in units of one code
    whole : ``(real, y_zero_point)`` to whole numbers, not yet saturated
    dtype : float32 or float64
        What all three compute in.
    """

    def apply(acc: Int32, multiplier: Multiplier, zero: Codes, axis: int | None) -> Codes:
        v = real(acc.astype(dtype), *_along(multiplier, axis, acc.ndim))
        return saturate(whole(v, zero.astype(dtype)), zero.dtype)

    return Requantizer(
        name=name,
        formula=formula,
        source=source,
        integers=False,
        derive=lambda x, w, y, _: derive(*(np.asarray(s, dtype) for s in (x, w, y))),
        apply=apply,
    )


def integer_multiplier(real: ArrayLike, bits: int = 31, *, one_shift: bool = False) -> FixedPoint:
    """Write a real multiplier as ``q * 2^-shift`` with a ``q`` of so many bits.

    ``M = mantissa * 2^e`` with ``1/2 <= mantissa < 1``; ``q = HU(mantissa * 2^bits)``, halved if it
    is ``2^bits``; ``shift = bits - e``: with 31 bits TensorFlow Lite's ``QuantizeMultiplier``.

    Parameters
    ----------
    real : float64, shape ``()`` or ``[C]``, finite and >= 0
    bits : int, 1 to 31
        Bits of ``q``, which is not negative: a signed register needs one more.
    one_shift : bool
        Whether all channels share the shift of the largest multiplier, so that their ``q`` differ
        in length.

    Returns
    -------
    FixedPoint
        ``q = 0`` where more than 62 places would have to be shifted.

    Raises
    ------
    OperandError
        ``bits`` outside its range.

    Examples
    --------
    >>> [int(part) for part in integer_multiplier(0.375, bits=4)]
    [12, 5]
    """
    if not 1 <= bits <= 31:
        raise operands.OperandError(
            "wrong number of bits",
            where="bits",
            expected="1 to 31",
            found=bits,
            next_step="Choose a number in this range.",
        )
    value = np.asarray(real, np.float64)
    e = np.frexp(value.max(initial=0) if one_shift else value)[1]
    q = _nearest(np.ldexp(value, bits - e))
    # A mantissa that rounds to 1 takes the next exponent.
    e = e + ((q.max(initial=0) if one_shift else q) == 2**bits)
    q = _nearest(np.ldexp(value, bits - e))
    shift = np.broadcast_to(bits - e, q.shape)
    vanishes = shift > 62
    return FixedPoint(
        np.where(vanishes, 0, q).astype(np.int64), np.where(vanishes, bits, shift).astype(np.int64)
    )


def fixed_point(
    name: str,
    formula: str,
    source: str,
    *,
    whole: Callable[[Int64, Int64, Int64], Int64],
    derive: Callable[[Numbers], FixedPoint] = integer_multiplier,
    real: Callable[[Numbers, Numbers, Numbers], Numbers] = lambda x, w, y: x * w / y,
) -> Requantizer:
    """Make a requantizer that multiplies by an integer and shifts.

    Parameters
    ----------
    name, formula, source
        As of :class:`Requantizer`.
    whole : ``(acc, q, shift)``, all int64, to whole numbers, zero point not yet added
    derive : the real multiplier, float64, to integers
    real : ``(x_scale, w_scale, y_scale)``, all float64, to the real multiplier
        TensorFlow Lite's product in double precision, unless another is given.
    """

    def apply(acc: Int32, multiplier: Multiplier, zero: Codes, axis: int | None) -> Codes:
        q, shift = _along(multiplier, axis, acc.ndim)
        return saturate(whole(acc.astype(np.int64), q, shift) + zero, zero.dtype)

    return Requantizer(
        name=name,
        formula=formula,
        source=source,
        integers=True,
        derive=lambda x, w, y, _: derive(real(*(np.asarray(s, np.float64) for s in (x, w, y)))),
        apply=apply,
    )


def thresholds(
    codes: Callable[[Int32], Codes], low: ArrayLike, high: ArrayLike, dtype: np.dtype[Any]
) -> Int64:
    """Find by binary search the first accumulator of each code: all that a monotone scheme does.

    Parameters
    ----------
    codes : int32 ``[..., 255]`` to codes of the same shape, monotone along each row
    low, high : int, or int64 ``[C]``, within int32
        The accumulators to search in.
    dtype : int8 or uint8
        The dtype of the codes.

    Returns
    -------
    int64 ``[255]``, or ``[C, 255]``
        The smallest accumulator whose code is at least ``qmin + 1``, ``qmin + 2``, ... ``qmax``;
        ``high + 1`` where there is none.
    """
    info = np.iinfo(dtype)
    wanted = np.arange(info.min + 1, info.max + 1)
    first, last = (np.asarray(end, np.int64)[..., None] for end in (low, high))
    below, above = (np.broadcast_to(end, (*end.shape[:-1], 255)) for end in (first - 1, last + 1))
    while (searched := above - below > 1).any():
        middle = (below + above) // 2
        reached = codes(np.clip(middle, first, last).astype(np.int32)) >= wanted
        above = np.where(searched & reached, middle, above)
        below = np.where(searched & ~reached, middle, below)
    return above


def single_rounding(bits: int, *, one_shift: bool = False) -> Requantizer:
    """Make ``(a * q + 2^(shift-1)) >> shift``, one rounding, with a multiplier of so many bits.

    A multiplier of one bit is a power of two.

    Parameters
    ----------
    bits, one_shift
        As of :func:`integer_multiplier`.

    Raises
    ------
    OperandError
        ``bits`` outside its range.
    """
    integer_multiplier(1.0, bits)
    shared = ", one shift for all channels" if one_shift else ""
    return fixed_point(
        f"{bits}-bit-multiplier" + "-one-shift" * one_shift,
        f"HU(a * q / 2^shift) + z, q of {bits} bits{shared}",
        "hardware with a narrow multiplier",
        derive=lambda m: integer_multiplier(m, bits, one_shift=one_shift),
        whole=_once,
    )


def saturate(whole: Numbers, dtype: np.dtype[Any]) -> Codes:
    """Clip whole numbers to the range of ``dtype``; NaN becomes its minimum."""
    info = np.iinfo(dtype)
    return np.fmin(np.fmax(whole, info.min), info.max).astype(dtype)


def shift_half_up(value: Int64, places: int | Int64) -> Int64:
    """Return ``floor(value / 2^places + 1/2)`` of int64; 0 to 62 places."""
    return np.asarray((value + (1 << places >> 1)) >> places)


def twice_rounded(acc: Int64, q: Int64, shift: Int64) -> Int64:
    """Gemmlowp's ``HAZ(HU(a * q / 2^31) / 2^(shift-31))``, TensorFlow Lite's double rounding.

    Parameters
    ----------
    acc : int64, within int32
    q, shift : int64
        From :func:`integer_multiplier`. With a shift below 31 the accumulator is shifted left
        first; where it leaves int32, which TensorFlow Lite leaves undefined, it saturates.
    """
    return _away_from_zero(shift_half_up(_to_the_left(acc, 31 - shift) * q, 31), shift - 31)


def _nearest(value: Numbers) -> Numbers:
    """Round halves upwards, exactly."""
    return np.asarray(np.floor(value) + (value % 1 >= 0.5))


def _twice_upward(acc: Int64, q: Int64, shift: Int64) -> Int64:
    high = shift_half_up(_to_the_left(acc, 31 - shift) * q, 31)
    return shift_half_up(high, np.maximum(shift - 31, 0))


def _shift_for_division(acc: Int64, q: Int64, shift: Int64) -> Int64:
    """Nudge as gemmlowp, then shift where it divides towards zero."""
    product = _to_the_left(acc, 31 - shift) * q
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return _away_from_zero(nudged >> 31, shift - 31)


def _once(acc: Int64, q: Int64, shift: Int64) -> Int64:
    return shift_half_up(_to_the_left(acc, -shift) * q, np.maximum(shift, 0))


def _to_the_left(acc: Int64, places: Int64) -> Int64:
    """Shift where ``places`` is above 0, and saturate to int32."""
    return np.asarray(np.clip(acc << np.clip(places, 0, 31), INT32.min, INT32.max))


def _away_from_zero(value: Int64, places: Int64) -> Int64:
    """Divide by ``2^places``, halves away from zero; by nothing where ``places`` is below 0."""
    return np.asarray(np.sign(value) * shift_half_up(np.abs(value), np.maximum(places, 0)))


def _sixteen_bit(real: Numbers) -> FixedPoint:
    """Shorten TensorFlow Lite's 31 bits to the 15 of an int16, upper end saturated."""
    q, shift = integer_multiplier(real)
    return FixedPoint(np.minimum(shift_half_up(q, 16), 0x7FFF), shift - 16)


def _zero(y_zero_point: ZeroPointLike) -> Codes:
    return operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)


def _along(multiplier: Multiplier, axis: int | None, rank: int) -> Iterable[Numbers]:
    """Return the parts of a multiplier, each to broadcast along the channels."""
    parts = multiplier if isinstance(multiplier, tuple) else (multiplier,)
    return (operands.along(np.asarray(part), axis, rank) for part in parts)


def _search(x: Float32, w: Float32, y: Float32, zero: Codes) -> Int64:
    multiplier = conv_multiplier(x, w, y)
    axis = 0 if multiplier.ndim else None
    low, high = (np.full(w.shape, end, np.int64) for end in (INT32.min, INT32.max))
    return thresholds(lambda acc: requantize(acc, multiplier, zero, axis), low, high, zero.dtype)


def _count(acc: Int32, firsts: Multiplier, zero: Codes, axis: int | None) -> Codes:
    """Count the thresholds that an accumulator reaches."""
    rows = np.moveaxis(acc, axis, 0) if firsts.ndim > 1 and axis is not None else acc[None]
    found = [
        np.searchsorted(first, row, side="right")
        for first, row in zip(firsts.reshape(-1, 255), rows, strict=True)
    ]
    counted = np.stack(found) + np.iinfo(zero.dtype).min
    moved = np.moveaxis(counted, 0, axis) if firsts.ndim > 1 and axis is not None else counted[0]
    return moved.astype(zero.dtype)


def _half_away(v: Numbers, zero: Numbers) -> Numbers:
    whole = np.trunc(v)
    return np.asarray(whole + np.trunc(2 * (v - whole)) + zero)


def _in_float32(x: Numbers, w: Numbers, y: Numbers) -> Numbers:
    product = np.asarray(x, np.float32) * np.asarray(w, np.float32)
    return np.asarray(product / np.asarray(y, np.float32), np.float64)


_ORT = "ONNX Runtime 1.31 on x86-64, MlasRequantizeOutput"
_TFLITE = "TensorFlow Lite Micro, kernels/internal/common.cc"
_SLIP = "a reading of the ONNX text"

_SCHEMES = (
    Requantizer(
        name="contract",
        formula="RNE(f32(a) * m) + z, m = f32((x_scale * w_scale) / y_scale)",
        source=_ORT,
        integers=False,
        derive=lambda x, w, y, _: conv_multiplier(x, w, y),
        apply=requantize,
    ),
    Requantizer(
        name="thresholds",
        formula="qmin + |{k : T[k] <= a}|, T[k] the first accumulator whose code is above qmin + k",
        source="FINN's threshold units, finn-hlslib activations.hpp; T by search in the contract",
        integers=True,
        derive=_search,
        apply=_count,
    ),
    floating(
        "xnnpack-fp32",
        "RNE(f32(a) * m) + z, m = f32((x_scale * w_scale) / y_scale)",
        "XNNPACK requantization.h, xnn_qs8_requantize_fp32: LiteRT's default",
    ),
    # the right rounding of a product in another order or precision
    floating(
        "weight-over-output-first",
        "RNE(f32(a) * m) + z, m = f32(x_scale * (w_scale / y_scale))",
        _SLIP,
        derive=lambda x, w, y: x * (w / y),
    ),
    floating(
        "input-over-output-first",
        "RNE(f32(a) * m) + z, m = f32((x_scale / y_scale) * w_scale)",
        _SLIP,
        derive=lambda x, w, y: (x / y) * w,
    ),
    floating(
        "reciprocal-of-output",
        "RNE(f32(a) * m) + z, m = f32((x_scale * w_scale) * (1 / y_scale))",
        _SLIP,
        derive=lambda x, w, y: (x * w) * (1 / y),
    ),
    floating(
        "divide-last",
        "RNE((f32(a) * f32(x_scale * w_scale)) / y_scale) + z",
        _SLIP,
        derive=lambda x, w, y: (x * w, y),
        real=lambda a, product, y: (a * product) / y,
    ),
    floating(
        "float64", "RNE(a * M) + z in double precision", "NumPy without a dtype", dtype=np.float64
    ),
    # the right product, another rounding
    floating("half-away-from-zero", "HAZ(f32(a) * m) + z", "C's roundf", whole=_half_away),
    floating(
        "half-up",
        "floor(f32(a) * m + 1/2) + z",
        "the usual idiom",
        whole=lambda v, zero: np.floor(v + np.float32(0.5)) + zero,
    ),
    floating(
        "zero-point-before-rounding",
        "RNE(f32(a) * m + z)",
        "the order of ONNX's QLinearMul",
        whole=lambda v, zero: np.rint(v + zero),
    ),
    floating(
        "truncate",
        "trunc(f32(a) * m) + z",
        "C's conversion to int",
        whole=lambda v, zero: np.trunc(v) + zero,
    ),
    floating(
        "floor",
        "floor(f32(a) * m) + z",
        "an arithmetic shift without rounding",
        whole=lambda v, zero: np.floor(v) + zero,
    ),
    floating(
        "ceil",
        "ceil(f32(a) * m) + z",
        "the other end of the interval",
        whole=lambda v, zero: np.ceil(v) + zero,
    ),
    # integers only: q of 31 bits, then fewer
    fixed_point(
        "double-rounding",
        "HAZ(HU(a * q / 2^31) / 2^(shift-31)) + z",
        f"gemmlowp fixedpoint.h; {_TFLITE}, its default",
        whole=twice_rounded,
    ),
    fixed_point(
        "double-rounding-upward",
        "HU(HU(a * q / 2^31) / 2^(shift-31)) + z",
        "ruy apply_multiplier.cc: LiteRT's convolutions without a delegate",
        whole=_twice_upward,
    ),
    fixed_point(
        "shift-for-division",
        "HAZ(((a * q + nudge) >> 31) / 2^(shift-31)) + z, nudge = 2^30, or 1 - 2^30 below 0",
        "re-implementations of double-rounding: C's / rounds towards zero there",
        whole=_shift_for_division,
    ),
    fixed_point(
        "single-rounding",
        "HU(a * q / 2^shift) + z",
        f"{_TFLITE} with TFLITE_SINGLE_ROUNDING",
        whole=_once,
    ),
    fixed_point(
        "xnnpack-rndnu",
        "HU(a * q / 2^shift) + z, q the 24 bits of m = f32((x_scale * w_scale) / y_scale)",
        "XNNPACK requantization.h, xnn_qs8_requantize_rndnu",
        derive=lambda m: integer_multiplier(m, 24),
        whole=_once,
        real=lambda x, w, y: np.minimum(_in_float32(x, w, y), np.finfo(np.float32).max),
    ),
    fixed_point(
        "single-rounding-16-bit",
        "HU(a * q / 2^shift) + z, q = min(HU(q31 / 2^16), 2^15 - 1)",
        f"{_TFLITE}, 64-bit accumulators; CMSIS-NN arm_nn_requantize_s64",
        derive=_sixteen_bit,
        whole=_once,
    ),
    *(single_rounding(bits) for bits in (16, 15, 12, 8)),
    replace(single_rounding(1), name="power-of-two", formula="HU(a / 2^shift) + z"),
)

REQUANTIZERS: Mapping[str, Requantizer] = MappingProxyType({r.name: r for r in _SCHEMES})
"""Name to requantizer; the first is the contract. :func:`single_rounding` makes more."""
