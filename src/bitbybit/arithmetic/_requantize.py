"""Stage 2 of every quantized operator: int32 accumulator to output codes.

ONNX leaves the arithmetic of this stage open. The formulas are those of ONNX Runtime 1.31's
CPU kernels on x86-64 (MLAS ``MlasRequantizeOutput``), evaluated in float32 from left to right.
"""

from __future__ import annotations

import numpy as np

from bitbybit.errors import UnsupportedError

from . import _operands as operands
from ._operands import Codes, Float32, Int32, ScaleLike, ZeroPointLike


def round_to_codes(real: Float32, zero_point: Codes) -> Codes:
    """``RNE(clip(real, qmin - zero_point, qmax - zero_point)) + zero_point``; NaN becomes qmin.

    Parameters
    ----------
    real : float32, any shape
        Values in units of one output code, relative to the zero point.
    zero_point : int8, uint8, int16 or uint16, broadcastable to ``real``
        Its dtype is the dtype of the result.

    Returns
    -------
    codes, shape of ``real``, dtype of ``zero_point``
    """
    info = np.iinfo(zero_point.dtype)
    zero = zero_point.astype(np.int32)
    low, high = (np.asarray(end - zero, np.float32) for end in (info.min, info.max))
    whole = clip_and_round(real, low, high)
    return (np.where(np.isnan(whole), low, whole).astype(np.int32) + zero).astype(zero_point.dtype)


def clip_and_round(
    real: Float32,
    low: np.float32 | Float32,
    high: np.float32 | Float32,
    out: Float32 | None = None,
) -> Float32:
    """``RNE(clip(real, low, high))``: the one place where codes are rounded; NaN stays NaN.

    Parameters
    ----------
    real : float32, any shape
    low, high : whole float32, broadcastable to ``real``
    out : float32, shape of ``real``, or None
        Where to write the result; ``real`` itself is allowed.

    Returns
    -------
    float32, shape of ``real``: whole numbers
    """
    return np.asarray(np.rint(np.clip(real, low, high, out=out), out=out))


def requantize(
    acc: Int32, multiplier: ScaleLike, y_zero_point: ZeroPointLike, axis: int | None = None
) -> Codes:
    """Requantize: ``y = RNE(clip(f32(acc) * multiplier, qmin - zp, qmax - zp)) + zp``.

    ``eq-conv-requantize`` of the book: round half to even, then add the zero point. A product
    ``0 * inf`` is NaN and gives qmin. A folded ReLU needs nothing here: its
    lower rail is ``y_zero_point = qmin``.

    Parameters
    ----------
    acc : int32, any shape
        Accumulators with bias.
    multiplier : float32, shape ``()``, or ``[C]`` with C = ``acc.shape[axis]``
        Or, without ``axis``, of acc's rank and broadcastable to it.
        Output codes per accumulator unit, from :func:`conv_multiplier` or its siblings. It may
        be 0 or infinite: scales can under- and overflow.
    y_zero_point : int8 or uint8, shape ``()``
        Its dtype is the dtype of the result.
    axis : int or None
        The channel axis, -rank to rank-1; a single multiplier ignores it.

    Returns
    -------
    codes, shape of ``acc``, dtype of ``y_zero_point``

    Raises
    ------
    OperandError
        A dtype, shape or axis outside these ranges, a NaN multiplier.

    Examples
    --------
    >>> import numpy as np
    >>> requantize(np.int32([1, 2, 3, 5, 400]), np.float32(0.5), np.int8(1))
    array([  1,   2,   3,   3, 127], dtype=int8)
    """
    acc = operands.array(acc, "accumulator", (np.int32,))
    factor = operands.multiplier(multiplier, acc, axis)
    zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = acc.astype(np.float32) * factor
    return round_to_codes(real, zero)


def conv_multiplier(x_scale: ScaleLike, w_scale: ScaleLike, y_scale: ScaleLike) -> Float32:
    """``(x_scale * w_scale) / y_scale`` in float32, in this order: QLinearConv, QLinearMatMul.

    ``eq-conv-multiplier`` of the book.

    Parameters
    ----------
    x_scale, y_scale : float32, shape ``()``
    w_scale : float32, shape ``()`` per tensor or ``[M]`` per channel

    Returns
    -------
    float32, shape of ``w_scale``, >= 0; 0 and inf are possible

    Raises
    ------
    OperandError
        A scale of another dtype or shape, or one that is not finite and > 0.
    """
    return gemm_multiplier(x_scale, w_scale, y_scale)


def accumulator_scale(x_scale: ScaleLike, w_scale: ScaleLike, alpha: float = 1.0) -> Float32:
    """``(alpha * x_scale) * w_scale`` in float32: the real value of one accumulator unit.

    Parameters
    ----------
    x_scale : float32, shape ``()``
    w_scale : float32, shape ``()`` per tensor or ``[M]`` per channel
    alpha : float
        Gemm's factor, rounded to float32.

    Returns
    -------
    float32, shape of ``w_scale``

    Raises
    ------
    OperandError
        A scale of another dtype or shape, or one that is not finite and > 0.
    """
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.float32(alpha) * operands.scale(x_scale, "x_scale")
        return np.asarray(scaled * operands.scale_of_any_shape(w_scale, "w_scale"))


def gemm_multiplier(
    a_scale: ScaleLike, b_scale: ScaleLike, y_scale: ScaleLike, alpha: float = 1.0
) -> Float32:
    """``((alpha * a_scale) * b_scale) / y_scale`` in float32, in this order: QGemm.

    ``eq-matmul-multiplier`` of the book.

    Parameters
    ----------
    a_scale, y_scale : float32, shape ``()``
    b_scale : float32, shape ``()`` or ``[N]``
    alpha : float
        Gemm's factor, rounded to float32.

    Returns
    -------
    float32, shape of ``b_scale``; 0 and inf are possible

    Raises
    ------
    OperandError
        A scale of another dtype or shape, or one that is not finite and > 0.
    """
    product = accumulator_scale(a_scale, b_scale, alpha)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(product / operands.scale(y_scale, "y_scale"))


def pool_multiplier(x_scale: ScaleLike, y_scale: ScaleLike, count: int) -> Float32:
    """``x_scale / (y_scale * f32(count))`` in float32: QLinearGlobalAveragePool.

    ``eq-pool-multiplier`` of the book.

    Parameters
    ----------
    x_scale, y_scale : float32, shape ``()``
    count : int
        Pixels that are averaged, H*W.

    Returns
    -------
    float32, shape ``()``, 2^-32 <= value < 256

    Raises
    ------
    OperandError
        A scale of another dtype or shape, or one that is not finite and > 0.
    UnsupportedError
        A multiplier outside this range, which ONNX Runtime's pooling refuses.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        divisor = operands.scale(y_scale, "y_scale") * np.float32(count)
        multiplier = np.asarray(operands.scale(x_scale, "x_scale") / divisor)
    if not 2.0**-32 <= multiplier < 256:
        raise UnsupportedError(
            "ONNX Runtime refuses to pool with this multiplier",
            where="x_scale / (y_scale * pixels)",
            expected="2^-32 to 256",
            found=multiplier,
            next_step="Choose scales whose ratio lies in this range.",
        )
    return multiplier
