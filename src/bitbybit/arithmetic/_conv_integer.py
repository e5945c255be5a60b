"""ConvInteger: the integer sums of a 2-D convolution, and the same with a bias.

https://onnx.ai/onnx/operators/onnx__ConvInteger.html (opset 10)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import _operands as operands
from ._operands import Codes, Int32, OperandError, ZeroPointLike
from ._window import window_output_size, window_pads


def conv_integer(
    x: Codes,
    w: Codes,
    x_zero_point: ZeroPointLike = 0,
    w_zero_point: ZeroPointLike = 0,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Int32:
    r"""Sum ``acc[n,m,i,j] = Σ_c,p,q (x[n,c,i*s+p*d,j*s+q*d] - x_zp) * (w[m,c,p,q] - w_zp[m])``.

    ``eq-conv-accumulate`` of the book, without its bias. Padded taps hold ``x_zero_point``, so
    they add nothing. Sums wrap modulo 2^32.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
    w : int8 or uint8, ``[M, C/group, kH, kW]``
    x_zero_point : dtype of ``x``, shape ``()``
    w_zero_point : dtype of ``w``, shape ``()`` or ``[M]``
    strides, dilations : (vertical, horizontal), >= 1
    pads : (top, left, bottom, right), >= 0
    group : int, divides C and M
    auto_pad : "NOTSET", "SAME_UPPER", "SAME_LOWER" or "VALID"

    Returns
    -------
    int32, ``[N, M, H_out, W_out]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand or attribute outside these ranges, or arrays beyond 4 GiB.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
    >>> conv_integer(x, np.ones((1, 1, 2, 2), np.int8), x_zero_point=1)
    array([[[[ 4,  8],
             [16, 20]]]], dtype=int32)
    """
    x, w = _checked(x, w, group)
    x_zero = operands.zero_point(x_zero_point, "x_zero_point", x.dtype)
    w_zero = operands.zero_point(w_zero_point, "w_zero_point", w.dtype, w.shape[:1])
    pads = window_pads(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    height, width = window_output_size(x.shape[2:], w.shape[2:], strides, dilations, pads)

    padded = (*x.shape[:2], x.shape[2] + pads[0] + pads[2], x.shape[3] + pads[1] + pads[3])
    operands.affordable(padded, 4, "padded x")
    operands.affordable((len(x), len(w), height, width), 4, "output")
    centred_w = w.astype(np.int32) - operands.along(w_zero, 0, 4).astype(np.int32)
    centred_x = pad_codes(x, pads, x_zero).astype(np.int32) - x_zero.astype(np.int32)
    acc = np.zeros((len(x), len(w), height, width), np.int32)
    for g in range(group):
        m = slice(g * len(w) // group, (g + 1) * len(w) // group)
        c = slice(g * w.shape[1], (g + 1) * w.shape[1])
        for p in range(w.shape[2]):
            for q in range(w.shape[3]):
                top, left = p * dilations[0], q * dilations[1]
                rows = slice(top, top + (height - 1) * strides[0] + 1, strides[0])
                columns = slice(left, left + (width - 1) * strides[1] + 1, strides[1])
                taps = centred_x[:, c, rows, columns]
                acc[:, m] += np.einsum("nchw,mc->nmhw", taps, centred_w[m, :, p, q])
    return acc


def pad_codes(x: Codes, pads: Sequence[int], x_zero_point: Codes) -> Codes:
    """Surround ``x`` ``[N, C, H, W]`` with ``x_zero_point``, the code of the real number 0.

    Parameters
    ----------
    x : int8 or uint8, ``[N, C, H, W]``
    pads : (top, left, bottom, right), >= 0
    x_zero_point : dtype of ``x``, shape ``()``

    Returns
    -------
    dtype of ``x``, ``[N, C, H + top + bottom, W + left + right]``
    """
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=x_zero_point)


def accumulate_conv(
    x: Codes,
    x_zero_point: ZeroPointLike,
    w: Codes,
    w_zero_point: ZeroPointLike,
    b: Int32 | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Int32:
    """Stage 1 of QLinearConv: :func:`conv_integer` plus the bias, modulo 2^32.

    Parameters
    ----------
    x, x_zero_point, w, w_zero_point, strides, pads, dilations, group, auto_pad
        As for :func:`conv_integer`.
    b : int32, ``[M]``, or None
        Bias at scale ``x_scale * w_scale[m]``, zero point 0.

    Returns
    -------
    int32, ``[N, M, H_out, W_out]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand or attribute outside these ranges.
    """
    acc = conv_integer(
        x, w, x_zero_point, w_zero_point,
        strides=strides, pads=pads, dilations=dilations, group=group, auto_pad=auto_pad,
    )  # fmt: skip
    return acc if b is None else acc + operands.along(operands.bias(b, "B", w.shape[:1]), 1, 4)


def _checked(x: Codes, w: Codes, group: int) -> tuple[Codes, Codes]:
    """Return ``x`` and ``w`` after checking dtypes, ranks and channel counts."""
    x = operands.array(x, "x", operands.EIGHT_BIT, min_rank=4, max_rank=4)
    w = operands.array(w, "w", operands.EIGHT_BIT, min_rank=4, max_rank=4)
    if group < 1 or x.shape[1] % group or len(w) % group:
        raise OperandError(
            "the groups do not divide the channels",
            where="group",
            expected=f"a divisor of C = {x.shape[1]} and M = {len(w)}",
            found=group,
            next_step="Choose a group that divides both.",
        )
    if w.shape[1] * group != x.shape[1]:
        raise OperandError(
            "the weight's channels do not fit the input's",
            where="w",
            expected=f"C/group = {x.shape[1] // group}",
            found=f"shape {w.shape}",
            next_step="Give weights [M, C / group, kH, kW].",
        )
    return x, w
