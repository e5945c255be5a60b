"""QLinearGlobalAveragePool: the mean over all pixels of each channel.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearGlobalAveragePool
"""

from __future__ import annotations

import math

import numpy as np

from . import _operands as operands
from ._bounds import centred
from ._operands import Codes, Int32, ScaleLike, ZeroPointLike
from ._requantize import pool_multiplier, requantize


def accumulate_global_average_pool(
    x: Codes, x_zero_point: ZeroPointLike, channels_last: bool = False
) -> Int32:
    """Stage 1: ``acc[n, c] = Σ_pixels x - x_zp * pixels``, kept as ``[N, C, 1, ...]``.

    ``eq-pool-accumulate`` of the book.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``, or ``[N, H, W, C]`` with ``channels_last``
        Any number >= 1 of spatial dimensions.
    x_zero_point : dtype of ``x``, shape ``()``
    channels_last : bool
        Whether the channels are the last dimension.

    Returns
    -------
    int32, ``[N, C, 1, 1]``, or ``[N, 1, 1, C]`` with ``channels_last``

    Raises
    ------
    OperandError
        An operand outside these ranges.
    """
    x = operands.array(x, "X", operands.EIGHT_BIT, min_rank=3)
    zero = operands.zero_point(x_zero_point, "x_zero_point", x.dtype)
    pixels = tuple(range(1, x.ndim - 1) if channels_last else range(2, x.ndim))
    return np.asarray(centred(x, zero).sum(axis=pixels, keepdims=True).astype(np.int32))


def qlinear_global_average_pool(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    channels_last: bool = False,
) -> Codes:
    """Average in two stages: accumulate in int32, then requantize.

    ``acc = Σ x - x_zp * n``, ``m = x_scale / (y_scale * f32(n))``,
    ``y = RNE(clip(f32(acc) * m, qmin - y_zp, qmax - y_zp)) + y_zp``, n pixels.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``, or ``[N, H, W, C]`` with ``channels_last``
        Any number >= 1 of spatial dimensions.
    x_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    x_zero_point, y_zero_point : dtype of ``x``, shape ``()``
    channels_last : bool
        Whether the channels are the last dimension.

    Returns
    -------
    dtype of ``x``, ``[N, C, 1, 1]``, or ``[N, 1, 1, C]`` with ``channels_last``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.int8([[[[1, 2], [3, 4]]]])
    >>> qlinear_global_average_pool(x, 1.0, np.int8(0), 1.0, np.int8(0))
    array([[[[2]]]], dtype=int8)
    """
    x = np.asarray(x)
    acc = accumulate_global_average_pool(x, x_zero_point, channels_last)
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    operands.runtime_has_kernel(x, y_zero)
    count = math.prod(x.shape[1:-1] if channels_last else x.shape[2:])
    return requantize(acc, pool_multiplier(x_scale, y_scale, count), y_zero)
