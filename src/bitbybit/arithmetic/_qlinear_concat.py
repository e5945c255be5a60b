"""QLinearConcat: quantized tensors side by side, each first brought to the scale of the result.

com.microsoft, version 1:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearConcat
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import _operands as operands
from ._lookup import lookup
from ._operands import Codes, OperandError, ScaleLike, ZeroPointLike


def qlinear_concat(
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    inputs: Sequence[tuple[Codes, ScaleLike, ZeroPointLike]],
    *,
    axis: int,
) -> Codes:
    """Join along an axis: ``y = concat(QuantizeLinear(DequantizeLinear(x_i)))``.

    Codes that have the scale and zero point of the result already stay as they are.

    Parameters
    ----------
    y_scale : float32, shape ``()``
        Finite and > 0.
    y_zero_point : int8 or uint8, shape ``()``
        Its dtype is the dtype of the result.
    inputs : codes, scale and zero point of each tensor
        The shapes differ along ``axis`` only.
    axis : int
        -rank to rank-1.

    Returns
    -------
    dtype of ``y_zero_point``

    Raises
    ------
    OperandError
        An operand outside these ranges.

    Examples
    --------
    >>> import numpy as np
    >>> x, zero = np.int8([10, 20]), np.int8(0)
    >>> qlinear_concat(1.0, zero, [(x, 1.0, zero), (x, 0.5, zero)], axis=0)
    array([10, 20,  5, 10], dtype=int8)
    """
    parts = [lookup(x, scale, zero, y_scale, y_zero_point) for x, scale, zero in inputs]
    try:
        shape = [*parts[0].shape]
        shape[axis] = sum(part.shape[axis] for part in parts)
        operands.affordable(shape, parts[0].itemsize, "Y")
        return np.concatenate(parts, axis)
    except (IndexError, ValueError):
        raise OperandError(
            "the tensors do not fit side by side",
            where="inputs",
            expected=f"one or more shapes that differ along axis {axis} only",
            found=", ".join(str(part.shape) for part in parts) or "none",
            next_step="Check the axis, and the shapes of the tensors.",
        ) from None
