"""Codes back to real values, each channel with its own scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import AnyArray, QuantizedTensor, QuantParams


def dequantize(codes: AnyArray, params: QuantParams) -> NDArray[np.float32]:
    """Return ``float32(code - zero_point) * scale`` in float32, as DequantizeLinear does.

    Parameters
    ----------
    codes : integers, any shape
    params
        Per tensor, or per channel along ``params.axis`` of ``codes``.

    Returns
    -------
    float32, shape of ``codes``
    """
    zero, scale = along(params.zero_point, params, codes), along(params.scale, params, codes)
    steps = codes.astype(np.int64) - zero.astype(np.int64)
    result: NDArray[np.float32] = steps.astype(np.float32) * scale
    return result


def real_values(tensor: QuantizedTensor) -> NDArray[Any]:
    """Return the real values of a constant: dequantized codes, or its float values."""
    return tensor.values if tensor.params is None else dequantize(tensor.values, tensor.params)


def along(values: AnyArray, params: QuantParams, codes: AnyArray) -> NDArray[Any]:
    """Return a scale or zero point in a shape that broadcasts against ``codes``."""
    if params.axis is None or codes.ndim == 0:
        return values.reshape(())
    shape = [1] * codes.ndim
    shape[params.axis] = -1
    return values.reshape(shape)
