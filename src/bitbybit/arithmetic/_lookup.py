"""Functions of one code: a table of 256, for a new scale and for each activation.

ONNX Runtime builds the same table for com.microsoft's QLinearSigmoid and QLinearLeakyRelu, and
computes the others element by element, so that a table says the same
(``onnxruntime/contrib_ops/cpu/quantization/qlinear_lookup_table.cc``). Its Sigmoid and Tanh are
quotients of two polynomials (``onnxruntime/core/mlas/lib/logistic.cpp``, ``tanh.cpp``), on x86-64
with one FMA for each coefficient; the coefficients are those of the Eigen library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _operands as operands
from ._dequantize_linear import dequantize_linear
from ._fused_multiply_add import fma32
from ._operands import Codes, Float32, OperandError, ScaleLike, ZeroPointLike
from ._quantize_linear import quantize_linear

_SIGMOID = (
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03,
     2.48287947061529e-01),
    (6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03,
     1.16817656904453e-01, 9.93151921023180e-01),
)  # fmt: skip
_TANH = (
    (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
     1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)  # fmt: skip

_ZERO, _HALF, _ONE = (np.float32(value) for value in (0, 0.5, 1))


def _quotient(
    x: Float32, polynomials: tuple[Sequence[float], Sequence[float]], largest: int
) -> Float32:
    """Return ``x * p(x²) / q(x²)``, ``x`` cut off at ``largest``: highest coefficients first."""
    x = np.clip(x, np.float32(-largest), np.float32(largest))
    square, sums = x * x, []
    for first, *rest in polynomials:
        total: Float32 = np.asarray(first, np.float32)
        for coefficient in rest:
            total = fma32(total, square, np.float32(coefficient))
        sums.append(total)
    return np.asarray(sums[0] * x / sums[1])


def _sigmoid(x: Float32) -> Float32:
    return np.asarray(np.clip(_quotient(x, _SIGMOID, 18) + _HALF, _ZERO, _ONE))


def _leaky_relu(x: Float32, *, alpha: float = 0.01) -> Float32:
    return np.asarray(np.where(x >= 0, x, np.float32(alpha) * x))


def _hard_sigmoid(x: Float32, *, alpha: float = 0.2, beta: float = 0.5) -> Float32:
    return np.asarray(np.clip(np.float32(alpha) * x + np.float32(beta), _ZERO, _ONE))


def _clip(x: Float32, *, min: float = -np.inf, max: float = np.inf) -> Float32:  # noqa: A002 (names of ONNX)
    return np.asarray(np.minimum(np.maximum(x, np.float32(min)), np.float32(max)))


_FUNCTIONS: dict[str, Callable[..., Float32]] = {
    "Identity": lambda x: x,
    "Relu": lambda x: np.maximum(x, _ZERO),
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x: x * _hard_sigmoid(x, alpha=1 / 6),
    "Tanh": lambda x: _quotient(x, _TANH, 9),
}


def lookup(
    x: Codes,
    x_scale: ScaleLike,
    x_zero_point: ZeroPointLike,
    y_scale: ScaleLike,
    y_zero_point: ZeroPointLike,
    op: str = "Identity",
    **attributes: Any,
) -> Codes:
    """Apply a function to every code: ``y = table[x - qmin]``.

    The table is QuantizeLinear(f(DequantizeLinear(every code))), computed in float32.

    Parameters
    ----------
    x : int8 or uint8, any shape
    x_scale, y_scale : float32, shape ``()``
        Finite and > 0.
    x_zero_point : dtype of ``x``, shape ``()``
    y_zero_point : int8 or uint8, shape ``()``
        Its dtype is the dtype of the result.
    op : "Identity", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish" or "Tanh"
        Identity gives the codes of the same real values at another scale.
    attributes : attributes of the ONNX operator by name

    Returns
    -------
    dtype of ``y_zero_point``, shape of ``x``

    Raises
    ------
    OperandError
        An operand outside these ranges, another operator.

    Examples
    --------
    >>> import numpy as np
    >>> x, zero = np.int8([-128, 0, 127]), np.int8(0)
    >>> lookup(x, 0.05, zero, 1 / 256, np.int8(-128), "Sigmoid")
    array([-128,    0,  127], dtype=int8)
    """
    x = operands.array(x, "X", operands.EIGHT_BIT)
    y_zero = operands.output_zero_point(y_zero_point, "y_zero_point", operands.EIGHT_BIT)
    if op not in _FUNCTIONS:
        raise OperandError(
            "no function of one code",
            where="op",
            expected=", ".join(_FUNCTIONS),
            found=op,
            next_step="Choose one of these.",
        )
    low = np.iinfo(x.dtype).min
    every_code = np.arange(low, low + 256).astype(x.dtype)
    real = dequantize_linear(every_code, x_scale, x_zero_point)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        table = quantize_linear(_FUNCTIONS[op](real, **attributes), y_scale, y_zero)
    return np.asarray(table[x.astype(np.int64) - low])
