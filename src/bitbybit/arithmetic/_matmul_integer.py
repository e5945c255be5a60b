"""MatMulInteger: the integer sums of a matrix product, 2-D or batched, and the same with a bias.

https://onnx.ai/onnx/operators/onnx__MatMulInteger.html (opset 10)
"""

from __future__ import annotations

import numpy as np

from . import _operands as operands
from ._operands import Codes, Int32, OperandError, ZeroPointLike


def matmul_integer(
    a: Codes,
    b: Codes,
    a_zero_point: ZeroPointLike = 0,
    b_zero_point: ZeroPointLike = 0,
) -> Int32:
    """Sum ``acc[..., i, j] = Σ_k (a[..., i, k] - a_zp) * (b[..., k, j] - b_zp[j])``.

    ``eq-matmul-accumulate`` of the book, without its bias. Sums wrap modulo 2^32.

    Parameters
    ----------
    a : int8 or uint8, ``[..., I, K]``
    b : int8 or uint8, ``[..., K, J]``
        The leading dimensions of ``a`` and ``b`` broadcast.
    a_zero_point : dtype of ``a``, shape ``()``
    b_zero_point : dtype of ``b``, shape ``()``, or ``[J]`` (batched: ``[..., 1, J]``)

    Returns
    -------
    int32, ``[..., I, J]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> matmul_integer(np.uint8([[1, 2]]), np.int8([[3], [4]]), np.uint8(1))
    array([[4]], dtype=int32)
    """
    a = operands.array(a, "A", operands.EIGHT_BIT, min_rank=2)
    b = operands.array(b, "B", operands.EIGHT_BIT, min_rank=2)
    if a.shape[-1] != b.shape[-2]:
        raise OperandError(
            "the inner dimensions differ",
            where="B",
            expected=f"K = {a.shape[-1]}",
            found=f"shape {b.shape}",
            next_step="Transpose one of them, or check their order.",
        )
    a_zero = operands.zero_point(a_zero_point, "a_zero_point", a.dtype)
    b_zero = operands.zero_point(b_zero_point, "b_zero_point", b.dtype, per_column(b))
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise OperandError(
            "the leading dimensions do not broadcast",
            where="B",
            expected=f"like {a.shape}",
            found=f"shape {b.shape}",
            next_step="Give both the same leading dimensions, or 1.",
        ) from None
    operands.affordable((*leading, a.shape[-2], b.shape[-1]), 4, "output")
    acc: Int32 = np.matmul(
        a.astype(np.int32) - a_zero.astype(np.int32), b.astype(np.int32) - b_zero.astype(np.int32)
    )
    return acc


def per_column(b: Codes) -> tuple[int, ...]:
    """Return the shape of one value per column: ``[J]`` for ``[K, J]``, else ``[..., 1, J]``."""
    return b.shape[1:] if b.ndim == 2 else (*b.shape[:-2], 1, b.shape[-1])


def accumulate_matmul(
    a: Codes,
    a_zero_point: ZeroPointLike,
    b: Codes,
    b_zero_point: ZeroPointLike,
    c: Int32 | None = None,
) -> Int32:
    """Stage 1 of QLinearMatMul and QGemm: :func:`matmul_integer` plus a bias, modulo 2^32.

    Parameters
    ----------
    a, a_zero_point, b, b_zero_point
        As for :func:`matmul_integer`.
    c : int32, broadcastable to ``[..., I, J]``, or None
        Bias at scale ``a_scale * b_scale[j]``, zero point 0.

    Returns
    -------
    int32, ``[..., I, J]``

    Raises
    ------
    OperandError, UnsupportedError
        An operand outside these ranges.
    """
    acc = matmul_integer(a, b, a_zero_point, b_zero_point)
    if c is None:
        return acc
    c = operands.array(c, "C", (np.int32,))
    operands.broadcasts_to(c, acc.shape, "C")
    return acc + c
