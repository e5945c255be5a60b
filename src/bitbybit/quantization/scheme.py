"""Scheme: which integers a network is quantized to, and how its weights are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import numpy as np

from bitbybit.errors import DataError, UnsupportedError
from bitbybit.model.types import QuantParams

BITS = range(2, 9)
"""Code widths that a scheme may ask for."""

Range = tuple[float, float]
"""The real numbers that an activation spans, lowest first."""

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Scheme:
    """What to quantize to. The default is S8S8 with one weight scale per output channel.

    Attributes
    ----------
    weight_dtype : ``"int8"``, codes symmetric about 0 (8 bits: -127..127), or ``"uint8"``, with
        a zero point between the rails
    activation_dtype : ``"int8"`` or ``"uint8"``
    per_channel : one weight scale per output channel; else one per tensor
    symmetric_activations : zero point 0 (int8) or 128 (uint8) on every activation, the graph
        inputs included; a ReLU is then no longer the lower rail and becomes a Clip of codes
    weight_bits : 2..8; narrower codes are stored in ``weight_dtype``
    activation_bits : 2..8; below 8, a Clip of codes after each layer makes the narrower rails.
        Graph inputs and outputs keep 8 bits
    weights : ``"minmax"``: the scale covers all weights, each is rounded to its nearest code;
        ``"mse"``: the scale with the least squared weight error; ``"gptq"``: scale and codes with
        the least squared error of the layer's *output* on the calibration images
    bias_correction : whether the mean output error that the rounded weights cause on the
        calibration images is taken out of the bias

    Raises
    ------
    DataError
        A field has a value that is not among its choices.
    UnsupportedError
        uint8 weights with int8 activations or with one scale per channel: ONNX Runtime
        computes neither.
    """

    weight_dtype: Literal["int8", "uint8"] = "int8"
    activation_dtype: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    symmetric_activations: bool = False
    weight_bits: int = 8
    activation_bits: int = 8
    weights: Literal["minmax", "mse", "gptq"] = "gptq"
    bias_correction: bool = True

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, choices = getattr(self, name), get_args(kind)
            if not choices:
                choices = (False, True) if kind is bool else tuple(BITS)
            if not any(type(value) is type(choice) and value == choice for choice in choices):
                raise DataError(
                    "not a choice for this field of a scheme",
                    where=name,
                    expected=" or ".join(map(repr, choices)),
                    found=repr(value),
                    next_step="Choose one of these.",
                )
        if self.weight_dtype == "uint8" and (self.activation_dtype == "int8" or self.per_channel):
            raise UnsupportedError(
                "uint8 weights need uint8 activations and one scale per tensor: ONNX Runtime "
                "computes nothing else with them",
                where="weight_dtype",
                next_step="Choose int8 weights, or uint8 activations and per_channel=False.",
            )

    @property
    def weight_rails(self) -> tuple[int, int]:
        """The smallest and the largest weight code."""
        if self.weight_dtype == "uint8":
            return 0, 2**self.weight_bits - 1
        return 1 - 2 ** (self.weight_bits - 1), 2 ** (self.weight_bits - 1) - 1

    def activation_rails(self, bits: int) -> tuple[int, int]:
        """Return the smallest and the largest code of an activation of ``bits`` bits."""
        low = int(np.iinfo(self.activation_dtype).min)
        if low == 0 and not self.symmetric_activations:
            return 0, 2**bits - 1
        middle = 0 if low else 128
        return middle - 2 ** (bits - 1), middle + 2 ** (bits - 1) - 1

    def __str__(self) -> str:
        a, w = ({"int8": "S", "uint8": "U"}[d] for d in (self.activation_dtype, self.weight_dtype))
        parts = [
            f"{a}{self.activation_bits}{w}{self.weight_bits}",
            "per-channel" if self.per_channel else "per-tensor",
            "symmetric" if self.symmetric_activations else "asymmetric",
            self.weights,
            "bias-corrected" if self.bias_correction else "plain-bias",
        ]
        return " ".join(parts)


def activation_params(low: float, high: float, scheme: Scheme, bits: int) -> QuantParams:
    """Return scale and zero point of an activation whose values span ``[low, high]``.

    The range is widened to hold 0, so that 0 has a code of its own (padding, ReLU). Asymmetric:
    ``scale = (high - low) / (qmax - qmin)``, ``zero_point = RNE(qmin - low / scale)``; a range
    that starts at 0 has its zero point at the lower rail, which makes saturation a ReLU.
    Symmetric: ``scale = max(-low, high) / (qmax - zero_point)``. In float64, the scale rounded
    once to float32. Sources: ``eq-boundary-asymmetric`` of the
    book; Jacob et al. 2018, section 2.1.

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
