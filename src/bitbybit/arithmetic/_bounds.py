"""How wide must an accumulator be? Three bounds, each tighter than the one before.

Let ``x`` run over all codes of its dtype. A padded tap holds the zero point and adds 0, so no
window at the border of an image goes beyond these bounds. The bound by the weights is that of
A2Q (Colbert et al. 2023, https://arxiv.org/abs/2308.13504). The tightest, the interval of the final
sum, is attained (:func:`interval_inputs`), and holds the partial sums too: each product can be 0,
so that what is still to come can only widen the interval of what is there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._operands import Codes, ZeroPointLike, along

Int64: TypeAlias = NDArray[np.int64]
Range: TypeAlias = tuple[int, int]


def centred(codes: Codes, zero_point: ZeroPointLike, axis: int | None = None) -> Int64:
    """Subtract the zero point: ``int64(code) - zero_point``, the integer that is multiplied.

    Parameters
    ----------
    codes : integers, any shape
    zero_point : integers, shape ``()`` or ``[C]`` with C = ``codes.shape[axis]``
    axis : int or None
        The channel axis, -rank to rank-1; None means per tensor.

    Returns
    -------
    int64, shape of ``codes``

    Examples
    --------
    >>> import numpy as np
    >>> centred(np.int8([[-128, 127], [-128, 127]]), np.int8([-128, 127]), axis=0)
    array([[   0,  255],
           [-255,    0]])
    """
    zero = along(np.asarray(zero_point, np.int64), axis, np.ndim(codes))
    return np.asarray(np.asarray(codes).astype(np.int64) - zero)


def code_range(zero_point: Codes | np.integer[Any]) -> Range:
    """Return the smallest and the largest ``code - zero_point`` of a dtype.

    Parameters
    ----------
    zero_point : int8, uint8, int16, uint16 or int32, shape ``()`` or ``[C]``
        Its dtype is the dtype of the codes. Of several zero points the widest range counts.

    Returns
    -------
    (int, int) : ``(qmin - zero_point, qmax - zero_point)``

    Examples
    --------
    >>> import numpy as np
    >>> code_range(np.int8(-128)), code_range(np.uint8(3))
    ((0, 255), (-3, 252))
    """
    info = np.iinfo(zero_point.dtype)
    return int(info.min) - int(zero_point.max()), int(info.max) - int(zero_point.min())


def type_bound(terms: int, w_range: Range, x_range: Range, largest_bias: int = 0) -> int:
    """Bound a sum by its types: ``K * max|w - w_zp| * max|x - x_zp| + max|b|``.

    ``eq-accumulator-types`` of the book.

    Parameters
    ----------
    terms : int, >= 0
        Products K of one sum.
    w_range, x_range : (int, int)
        Ranges of the two factors, from :func:`code_range`.
    largest_bias : int, >= 0
        The largest absolute bias.

    Returns
    -------
    int : no partial sum is larger in absolute value
    """
    return terms * _reach(w_range) * _reach(x_range) + largest_bias


def weight_bound(weights: Int64, x_range: Range, bias: Codes | int = 0) -> Int64:
    """Bound each channel's sum by its weights: ``|b| + max|x - x_zp| * Σ|w - w_zp|``.

    It holds for every partial sum in every order of summation (``eq-accumulator-weights`` of the
    book): what an adder, or a float32 that sums integers, has to hold.

    Parameters
    ----------
    weights : int64, ``[M, K]``
        Centred weights, one row per output channel.
    x_range : (int, int)
        The range of ``x - x_zp``, from :func:`code_range`.
    bias : int32, ``[M]``, or 0

    Returns
    -------
    int64, ``[M]``, >= 0
    """
    return np.asarray(np.abs(weights).sum(axis=1) * _reach(x_range) + np.abs(np.int64(bias)))


def sum_interval(weights: Int64, x_range: Range, bias: Codes | int = 0) -> tuple[Int64, Int64]:
    """Return the smallest and the largest sum that some input reaches, channel by channel.

    ``b + Σ min(w * low, w * high)`` and ``b + Σ max(w * low, w * high)``: the signs of the
    weights count (``eq-accumulator-interval`` of the book). Where ``low <= 0 <= high``, as for all
    codes, no partial sum that begins with the bias lies outside, in whatever order.

    Parameters
    ----------
    weights : int64, ``[M, K]``
        Centred weights, one row per output channel.
    x_range : (int, int)
        The range ``low .. high`` of ``x - x_zp``, from :func:`code_range`.
    bias : int32, ``[M]``, or 0

    Returns
    -------
    two int64 arrays, ``[M]``

    Examples
    --------
    >>> import numpy as np
    >>> sum_interval(np.array([[2, -1]]), (0, 255), np.int32([10]))
    (array([-245]), array([520]))
    """
    low, high = x_range
    negative, positive = np.minimum(weights, 0).sum(axis=1), np.maximum(weights, 0).sum(axis=1)
    b = np.int64(bias)
    return np.asarray(negative * high + positive * low + b), np.asarray(
        negative * low + positive * high + b
    )


def interval_inputs(weights: Int64, x_range: Range) -> tuple[Int64, Int64]:
    """Return the inputs that attain the two ends of :func:`sum_interval`, channel by channel.

    Parameters
    ----------
    weights : int64, ``[M, K]``
        Centred weights, one row per output channel.
    x_range : (int, int)
        The range ``low .. high`` of ``x - x_zp``, from :func:`code_range`.

    Returns
    -------
    two int64 arrays, ``[M, K]``
        ``x - x_zp`` at one of its ends each: for the smallest sum, and for the largest.

    Examples
    --------
    >>> import numpy as np
    >>> interval_inputs(np.array([[2, -1]]), (0, 255))
    (array([[  0, 255]]), array([[255,   0]]))
    """
    low, high = x_range
    return np.where(weights > 0, low, high), np.where(weights > 0, high, low)


def wrapped(values: Int64, bits: int) -> Int64:
    """Return what a two's complement register of ``bits`` bits holds that wraps: modulo ``2^bits``.

    Parameters
    ----------
    values : integers, any shape
        Sums; whether they overflowed before their end makes no difference.
    bits : int, 1 to 63

    Returns
    -------
    int64, shape of ``values``, ``-2^(bits-1) .. 2^(bits-1) - 1``

    Examples
    --------
    >>> import numpy as np
    >>> wrapped(np.array([127, 128, -129]), 8)
    array([ 127, -128,  127])
    """
    half = np.int64(1 << (bits - 1))
    return np.asarray(((np.asarray(values, np.int64) + half) & (2 * half - 1)) - half)


def saturated(values: Int64, bits: int) -> Int64:
    """Return sums cut off at the ends of a two's complement register of ``bits`` bits.

    Parameters
    ----------
    values : integers, any shape
    bits : int, 1 to 63

    Returns
    -------
    int64, shape of ``values``, ``-2^(bits-1) .. 2^(bits-1) - 1``

    Examples
    --------
    >>> import numpy as np
    >>> saturated(np.array([127, 128, -129]), 8)
    array([ 127,  127, -128])
    """
    half = 1 << (bits - 1)
    return np.clip(np.asarray(values, np.int64), -half, half - 1)


def signed_width(low: int, high: int) -> int:
    """Return the bits of the narrowest two's complement integer that holds ``low .. high``.

    Parameters
    ----------
    low, high : int, low <= high

    Returns
    -------
    int, >= 1

    Examples
    --------
    >>> signed_width(-128, 127), signed_width(0, 128)
    (8, 9)
    """
    return 1 + max((end if end >= 0 else ~end).bit_length() for end in (low, high))


def _reach(values: Range) -> int:
    """Return the largest absolute value of a range."""
    return max(values[1], -values[0])
