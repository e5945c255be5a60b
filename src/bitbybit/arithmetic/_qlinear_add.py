"""QLinearAdd: the sum of two quantized tensors, each with its own scale.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAdd
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._fused_multiply_add import fma32
from ._operands import Codes, Float32, ScaleLike, ZeroPointLike


def qlinear_add(
    a: Codes,
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
    c_zero_point: ZeroPointLike,
) -> Codes:
    """Add: ``c = sat(RNE(fma(a, ra, fma(b, rb, fixed))))`` with ``ra = a_scale / c_scale``.

    ``rb = b_scale / c_scale`` and ``fixed = f32(c_zp) - fma(ra, a_zp, f32(rb * b_zp))``: the
    zero points are folded into one constant, and the codes enter raw (``eq-add-ratios``,
    ``eq-add-constant`` and ``eq-add-sum`` of the book). This is ONNX Runtime on
    x86-64 with AVX2 and FMA; on ARM it computes in fixed point. Sums of 2^31 and more and NaN,
    which only extreme scales reach, become qmin. The order is not symmetric: a first operand
    that is broadcast along the innermost dimension, or is a single number, swaps places with
    the second, also inside ``fixed``.

    Parameters
    ----------
    a, b : int8 or uint8, the same dtype, broadcastable
    a_scale, b_scale, c_scale : float32, shape ``()``
        Finite and > 0.
    a_zero_point, b_zero_point, c_zero_point : dtype of ``a``, shape ``()``

    Returns
    -------
    dtype of ``a``, broadcast shape

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> a, zero = np.int8([1, 2, 100]), np.int8(0)
    >>> qlinear_add(a, 0.5, zero, a, 1.0, zero, 1.0, zero)
    array([  2,   3, 127], dtype=int8)
    """
    a, b = operands.pair(a, b)
    zero = operands.output_zero_point(c_zero_point, "C_zero_point", (a.dtype.type,))
    swapped = _swaps(a.shape, b.shape)
    a_ratio, b_ratio, fixed = add_constants(
        a_scale, a_zero_point, b_scale, b_zero_point, c_scale, zero, swapped=swapped
    )
    if swapped:
        a, a_ratio, b, b_ratio = b, b_ratio, a, a_ratio
    inner = fma32(b, b_ratio, fixed)
    return operands.codes_of_whole(np.rint(fma32(a, a_ratio, inner)), a.dtype)


def add_constants(
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
    c_zero_point: Codes | np.int8 | np.uint8,
    *,
    swapped: bool = False,
) -> tuple[Float32, Float32, Float32]:
    """Return ``ra``, ``rb`` and ``fixed`` of :func:`qlinear_add`: what depends on no code.

    Parameters
    ----------
    a_scale, a_zero_point, b_scale, b_zero_point, c_scale, c_zero_point
        As for :func:`qlinear_add`.
    swapped : bool
        Whether the second operand takes the place of the first inside ``fixed``.

    Returns
    -------
    three float32, shape ``()``
        Ratios may be 0 or infinite, and ``fixed`` then NaN: scales can under- and overflow.

    Raises
    ------
    OperandError
        As :func:`qlinear_add`.
    """
    zero = operands.output_zero_point(c_zero_point, "C_zero_point", operands.EIGHT_BIT)
    a_zero = np.float32(operands.zero_point(a_zero_point, "A_zero_point", zero.dtype))
    b_zero = np.float32(operands.zero_point(b_zero_point, "B_zero_point", zero.dtype))
    c_scale = operands.scale(c_scale, "C_scale")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        a_ratio = np.asarray(operands.scale(a_scale, "A_scale") / c_scale)
        b_ratio = np.asarray(operands.scale(b_scale, "B_scale") / c_scale)
        first, second = (a_ratio, a_zero), (b_ratio, b_zero)
        (ratio, code), (other, other_code) = (second, first) if swapped else (first, second)
        fixed = zero.astype(np.float32) - fma32(ratio, code, other * other_code)
    return a_ratio, b_ratio, np.asarray(fixed)


def _swaps(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether ONNX Runtime takes a first operand of shape ``a`` for the repeated one.

    It looks at the innermost axis on which the shapes have more than one element, but no further
    out than the shorter shape reaches, and asks whether ``a`` has one element there.
    """
    shared = min(len(a), len(b))
    if shared == 0:
        return a[-1:] in ((), (1,))
    axis = next((k for k in range(1, shared) if max(a[-k], b[-k]) > 1), shared)
    return a[-axis] == 1


def add_table(
    a_scale: ScaleLike,
    a_zero_point: ZeroPointLike,
    b_scale: ScaleLike,
    b_zero_point: ZeroPointLike,
    c_scale: ScaleLike,
    c_zero_point: Codes | np.int8 | np.uint8,
) -> Codes:
    """:func:`qlinear_add` of all 65,536 pairs of codes: the fast form is one look-up.

    Parameters
    ----------
    a_scale, a_zero_point, b_scale, b_zero_point, c_scale, c_zero_point
        As for :func:`qlinear_add`.

    Returns
    -------
    dtype of ``c_zero_point``, ``[256, 256]``
        ``table[a - qmin, b - qmin]`` is the sum of codes ``a`` and ``b``.

    Raises
    ------
    OperandError
        As :func:`qlinear_add`.
    """
    zero = operands.output_zero_point(c_zero_point, "C_zero_point", operands.EIGHT_BIT)
    info = np.iinfo(zero.dtype)
    every_code = np.arange(info.min, info.max + 1, dtype=zero.dtype)
    b, a = np.meshgrid(every_code, every_code)
    return qlinear_add(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c_scale, zero)
