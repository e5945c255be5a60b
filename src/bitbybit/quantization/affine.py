"""From a range of real numbers to scale and zero point, by exactly reproducible arithmetic."""

from __future__ import annotations

import numpy as np

from bitbybit.model.types import QuantParams
from bitbybit.quantization.scheme import Scheme

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def activation_params(low: float, high: float, scheme: Scheme, bits: int) -> QuantParams:
    """Return scale and zero point of an activation whose values span ``[low, high]``.

    The range is widened to hold 0, so that 0 has a code of its own (padding, ReLU). Asymmetric:
    ``scale = (high - low) / (qmax - qmin)``, ``zero_point = RNE(qmin - low / scale)``; a range
    that starts at 0 has its zero point at the lower rail, which makes saturation a ReLU.
    Symmetric: ``scale = max(-low, high) / (qmax - zero_point)``. In float64, the scale rounded
    once to float32. Source: Jacob et al. 2018, section 2.1.

    Parameters
    ----------
    low, high
        Finite, in the activation's unit.
    scheme
        Gives dtype and symmetry.
    bits
        Width of the codes, 2..8.

    Returns
    -------
    QuantParams
        Per tensor: shapes ``()``.
    """
    qmin, qmax = scheme.activation_rails(bits)
    low, high = min(low, 0.0), max(high, 0.0)
    if scheme.symmetric_activations:
        zero = (qmin + qmax + 1) // 2
        scale = max(-low, high) / (qmax - zero)
    else:
        scale = (high - low) / (qmax - qmin)
        zero = qmin
    scale = float(np.float32(scale if scale > 0 else 1.0))
    scale = max(scale, SMALLEST_SCALE)
    if not scheme.symmetric_activations:
        zero = int(np.clip(np.rint(qmin - low / scale), qmin, qmax))
    return QuantParams(np.array(scale, np.float32), np.array(zero).astype(scheme.activation_dtype))
