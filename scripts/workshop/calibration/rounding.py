"""From float weights to codes: scale, zero point, and which way each weight is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitbybit.quantization.conversion import nearest_codes
from bitbybit.quantization.scheme import SMALLEST_SCALE, Scheme

Float = NDArray[np.float64]

FACTORS = 2.0 ** (-np.arange(20) / 14)
"""Shares of the full range that are tried as the range of a scale: 1 down to 0.39."""

DAMPING = 1e-3
"""Added to the diagonal of a Gram matrix, as a share of its mean."""

LARGEST_BIAS = 2.0**30
"""Biases stay below half of int32's range, so that the products have the other half."""


@dataclass(frozen=True, eq=False)
class RoundedWeights:
    """Codes of one layer.

    Attributes
    ----------
    scale : float32 ``[M]`` (per tensor: M equal values)
    zero_point : one for all channels
    codes : int64 ``[M, K]``
    """

    scale: NDArray[np.float32]
    zero_point: int
    codes: NDArray[np.int64]


class OutputError:
    """Measures, and lets GPTQ minimize, the error that rounding makes in one group's outputs.

    Parameters
    ----------
    second_moment
        ``[K, K]``, the mean outer product of the input vectors. The diagonal is raised by
        :data:`DAMPING`, so that inputs that are always 0 count a little too.
    """

    def __init__(self, second_moment: Float) -> None:
        mean = float(np.diag(second_moment).mean())
        damping = DAMPING * mean if mean > 0 else 1.0
        self.matrix = second_moment + damping * np.eye(len(second_moment))
        self.order = np.argsort(-np.diag(self.matrix), kind="stable")
        inverse = np.linalg.inv(self.matrix[np.ix_(self.order, self.order)])
        self.upper = np.linalg.cholesky((inverse + inverse.T) / 2).T

    def of(self, difference: Float) -> Float:
        """Return the mean squared output error ``[M]`` of a weight difference ``[M, K]``."""
        error: Float = ((difference @ self.matrix) * difference).sum(axis=1)
        return error


def round_weights(
    rows: Float, errors: Sequence[OutputError] | None, scheme: Scheme
) -> RoundedWeights:
    """Choose scale, zero point and codes of one layer.

    Parameters
    ----------
    rows
        Float weights ``[G, M/G, K]``.
    errors
        One per group for ``"gptq"``; else None.
    scheme
        dtype, bits, granularity, and how scale and codes are chosen.

    Returns
    -------
    RoundedWeights
        Codes inside ``scheme.weight_rails``.
    """
    best = _candidate(rows, errors, scheme, 1.0)
    if scheme.weights == "minmax":
        return best
    least = _error(rows, errors, best, scheme)
    for factor in FACTORS[1:]:
        found = _candidate(rows, errors, scheme, float(factor))
        error = _error(rows, errors, found, scheme)
        better = error < least
        if better.any():
            least = np.where(better, error, least)
            best = RoundedWeights(
                np.where(better, found.scale, best.scale),
                found.zero_point,
                np.where(better[:, None], found.codes, best.codes),
            )
    return best


def with_room_for_bias(
    rounded: RoundedWeights, rows: Float, bias: Float, scheme: Scheme
) -> RoundedWeights:
    """Raise the scales with which a bias code ``bias / scale`` would not fit into int32.

    Parameters
    ----------
    rounded
        Codes ``[M, K]`` and scales; channels whose scale is raised are rounded to nearest again.
    rows
        Float weights ``[M, K]``.
    bias
        ``[M]``, divided by the input's scale.
    scheme
        Gives granularity and rails.
    """
    least = (np.abs(bias) / LARGEST_BIAS).astype(np.float32)
    if not scheme.per_channel:
        least = np.full_like(least, least.max())
    small = rounded.scale < least
    if not small.any():
        return rounded
    scale = np.where(small, least, rounded.scale)
    again = nearest_codes(rows, scale, rounded.zero_point, scheme.weight_rails)
    return RoundedWeights(scale, rounded.zero_point, np.where(small[:, None], again, rounded.codes))


def weight_scales(rows: Float, scheme: Scheme, factor: float) -> tuple[NDArray[np.float32], int]:
    """Return scales ``[M]`` and zero point for ``factor`` times the weights' range.

    A channel of zeros takes the largest scale of the others (1 if there is none): any scale
    represents it, and this one keeps its bias within int32.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    qmin, qmax = scheme.weight_rails
    if scheme.weight_dtype == "uint8":
        low, high = min(float(flat.min()), 0.0) * factor, max(float(flat.max()), 0.0) * factor
        scale = np.full(len(flat), (high - low) / (qmax - qmin))
    else:
        largest = np.abs(flat).max(axis=1)
        low = 0.0
        scale = factor * (largest if scheme.per_channel else np.full_like(largest, largest.max()))
        scale /= qmax
    scale = np.where(scale > 0, scale, scale.max() if scale.max() > 0 else 1.0)
    single = np.maximum(scale, SMALLEST_SCALE).astype(np.float32)
    zero = int(np.clip(np.rint(qmin - low / float(single[0])), qmin, qmax)) if qmin == 0 else 0
    return single, zero


def _candidate(
    rows: Float, errors: Sequence[OutputError] | None, scheme: Scheme, factor: float
) -> RoundedWeights:
    scale, zero = weight_scales(rows, scheme, factor)
    qmin, qmax = scheme.weight_rails
    if errors is None:
        codes = nearest_codes(rows.reshape(-1, rows.shape[-1]), scale, zero, (qmin, qmax))
        return RoundedWeights(scale, zero, codes)
    scales = scale.astype(np.float64).reshape(len(rows), -1)
    steps = [
        gptq(w, e, s, (qmin - zero, qmax - zero))
        for w, e, s in zip(rows, errors, scales, strict=True)
    ]
    return RoundedWeights(scale, zero, np.concatenate(steps) + zero)


def _error(
    rows: Float, errors: Sequence[OutputError] | None, found: RoundedWeights, scheme: Scheme
) -> Float:
    """Return the squared error by channel ``[M]``; per tensor: M times their sum."""
    real = (found.codes - found.zero_point) * found.scale.astype(np.float64)[:, None]
    difference = real.reshape(rows.shape) - rows
    if errors is None:
        error = np.square(difference).sum(axis=-1).reshape(-1)
    else:
        error = np.concatenate([e.of(d) for d, e in zip(difference, errors, strict=True)])
    return error if scheme.per_channel else np.full_like(error, error.sum())


def gptq(
    weights: Float, error: OutputError, scale: Float, rails: tuple[int, int]
) -> NDArray[np.int64]:
    """Round weights one input at a time, each error being taken up by those not yet rounded.

    Minimizes the output error greedily, for all channels together. The inputs come in the order
    of falling power. Source: Frantar et al. 2022, "GPTQ", algorithm 1, which uses the Cholesky
    factor of the inverse second moment.

    Parameters
    ----------
    weights
        ``[M, K]``.
    error
        What the codes are to minimize.
    scale
        ``[M]``.
    rails
        Smallest and largest ``q``.

    Returns
    -------
    int64 ``[M, K]``
        ``q``, within the rails: the weight is ``q * scale``.
    """
    rest = weights[:, error.order]
    steps = np.empty(rest.shape, np.int64)
    for k, row in enumerate(error.upper):
        chosen = np.clip(np.rint(rest[:, k] / scale), *rails)
        steps[:, error.order[k]] = chosen
        miss = (rest[:, k] - chosen * scale) / row[k]
        rest[:, k:] -= miss[:, None] * row[k:]
    return steps
