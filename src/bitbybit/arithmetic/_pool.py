"""MaxPool and QLinearAveragePool: the largest code, and the mean, of a moving window.

https://onnx.ai/onnx/operators/onnx__MaxPool.html (opset 12), and com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAveragePool
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _operands as operands
from ._dequantize_linear import dequantize_linear
from ._operands import Codes, ScaleLike, ZeroPointLike
from ._qlinear_global_average_pool import qlinear_global_average_pool
from ._window import window_output_size


def max_pool(
    x: Codes,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    ceil_mode: int = 0,
) -> Codes:
    """Take the largest code under each window; pads hold qmin, so they never win.

    The scale is positive, so the largest code is that of the largest real value.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
    kernel_shape, strides, dilations : (vertical, horizontal), >= 1
    pads : (top, left, bottom, right), >= 0
    ceil_mode : 0 or 1
        Whether a last, incomplete window counts, as in :func:`window_output_size`.

    Returns
    -------
    dtype of ``x``, ``[N, C, H_out, W_out]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges, or arrays beyond 4 GiB.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool(np.int8([[[[-3, -2], [-5, -4]]]]), kernel_shape=(2, 2))
    array([[[[-2]]]], dtype=int8)
    """
    x = operands.array(x, "X", operands.EIGHT_BIT, min_rank=4, max_rank=4)
    window = (kernel_shape, strides, dilations)
    y: Codes | None = None
    for taps in _taps(x, np.iinfo(x.dtype).min, window, pads, ceil_mode=bool(ceil_mode)):
        y = taps.copy() if y is None else np.maximum(y, taps, out=y)
    return np.asarray(y)


def qlinear_average_pool(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Codes:
    """Average real values: dequantize, sum in float32 row by row, divide, and quantize.

    ``y = sat(RNE((Σ x_scale * (x - x_zp)) / f32(n) / y_scale + y_zp))``: unlike in QuantizeLinear
    the zero point is added before rounding (``onnxruntime/contrib_ops/cpu/quantization/
    qlinear_pool.cc``). n counts the pixels under the window, with ``count_include_pad`` the pads
    too. Means of 2^31 and more output codes become qmin. A window that is the whole image, without
    pads, is a :func:`qlinear_global_average_pool`, which sums integers.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
    x_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    x_zero_point, y_zero_point : dtype of ``x``, shape ``()``
    kernel_shape, strides : (vertical, horizontal), >= 1
    pads : (top, left, bottom, right), >= 0
    ceil_mode : 0 or 1
        Whether a last, incomplete window counts, as in :func:`window_output_size`.
    count_include_pad : 0 or 1

    Returns
    -------
    dtype of ``x``, ``[N, C, H_out, W_out]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> x, zero = np.int8([[[[1, 2, 5]]]]), np.int8(0)
    >>> qlinear_average_pool(x, 1.0, zero, 1.0, np.int8(1), kernel_shape=(1, 2))
    array([[[[2, 4]]]], dtype=int8)
    """
    x = operands.array(x, "X", operands.EIGHT_BIT, min_rank=4, max_rank=4)
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    operands.runtime_has_kernel(x, y_zero)
    if tuple(kernel_shape) == x.shape[2:] and not any(pads):
        return qlinear_global_average_pool(x, x_scale, x_zero_point, y_scale, y_zero)
    window = (kernel_shape, strides, (1, 1))
    total: Any = np.float32(0)
    for taps in _taps(
        dequantize_linear(x, x_scale, x_zero_point), 0, window, pads, ceil_mode=bool(ceil_mode)
    ):
        total = total + taps
    count: Any = np.float32(kernel_shape[0] * kernel_shape[1])
    if not count_include_pad:
        inside = np.ones((1, 1, *x.shape[2:]), np.float32)
        count = sum(_taps(inside, 0, window, pads, ceil_mode=bool(ceil_mode)))
    with np.errstate(over="ignore", invalid="ignore"):
        real = np.rint(total / count / operands.scale(y_scale, "y_scale") + np.float32(y_zero))
    return operands.codes_of_whole(real, y_zero.dtype)


def _taps(
    x: NDArray[Any],
    pad_value: float,
    window: tuple[Sequence[int], Sequence[int], Sequence[int]],
    pads: Sequence[int],
    *,
    ceil_mode: bool,
) -> Iterator[NDArray[Any]]:
    """Yield what lies under each place of the window, for all windows at once, row by row."""
    kernel, strides, dilations = window
    size = window_output_size(x.shape[2:], kernel, strides, dilations, pads, ceil_mode=ceil_mode)
    spans = [
        (out - 1) * s + (k - 1) * d + 1
        for out, s, k, d in zip(size, strides, kernel, dilations, strict=True)
    ]
    before = pads[:2]
    after = [
        max(span - have - begin, 0)
        for span, have, begin in zip(spans, x.shape[2:], before, strict=True)
    ]
    shape = (*x.shape[:2], x.shape[2] + before[0] + after[0], x.shape[3] + before[1] + after[1])
    operands.affordable(shape, x.itemsize, "padded X")
    widths = ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1]))
    padded = np.pad(x, widths, constant_values=pad_value)
    for p in range(kernel[0]):
        for q in range(kernel[1]):
            top, left = p * dilations[0], q * dilations[1]
            yield padded[
                :,
                :,
                top : top + (size[0] - 1) * strides[0] + 1 : strides[0],
                left : left + (size[1] - 1) * strides[1] + 1 : strides[1],
            ]
