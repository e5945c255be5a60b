"""Any accumulator through the real runtime: requantization without the convolution.

A 1x1 QLinearConv of one pixel that holds ``x_zero_point`` has the accumulator ``bias[m]`` in output
channel m, whatever the weights are. So a sweep of biases is a sweep of accumulators, each with its
own ``w_scale[m]`` if wanted. com.microsoft's QGemm does the same with C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support import one_node


def runtime_requantize(
    acc: NDArray[np.int32], x_scale: Any, w_scale: Any, y_scale: Any, y_zero_point: Any
) -> NDArray[Any]:
    """Return the codes that ONNX Runtime makes of accumulators.

    Parameters
    ----------
    acc : int32, ``[M]``
    x_scale, y_scale : float32
    w_scale : float32, shape ``()`` or ``[M]``
    y_zero_point : int8 or uint8 NumPy scalar

    Returns
    -------
    dtype of ``y_zero_point``, ``[M]``
    """
    zero = np.asarray(y_zero_point)
    none, one = np.zeros((), zero.dtype), np.ones((1, 1, 1, 1), zero.dtype)
    operands = {
        "x": np.zeros_like(one),
        "x_scale": np.float32(x_scale),
        "x_zero_point": none,
        "w": np.broadcast_to(one, (len(acc), 1, 1, 1)),
        "w_scale": np.asarray(w_scale, np.float32),
        "w_zero_point": none,
        "y_scale": np.float32(y_scale),
        "y_zero_point": zero,
        "b": acc,
    }
    return one_node.run("QLinearConv", operands, zero.dtype).reshape(-1)


def next_to_ties(
    rng: np.random.Generator, x_scale: Any, w_scale: NDArray[np.float32], y_scale: Any
) -> NDArray[np.int32]:
    """Return one accumulator per channel whose output lies next to a tie k + 1/2, |k| < 256.

    Parameters
    ----------
    x_scale, y_scale : float32
    w_scale : float32, ``[M]``

    Returns
    -------
    int32, ``[M]``, within 24 bits, so that float32 holds it exactly
    """
    multiplier = arithmetic.conv_multiplier(x_scale, w_scale, y_scale).astype(np.float64)
    ties = rng.integers(-256, 256, w_scale.shape) + 0.5
    nearest = np.rint(ties / multiplier) + rng.integers(-1, 2, w_scale.shape)
    return np.clip(nearest, -(2**24), 2**24).astype(np.int32)
