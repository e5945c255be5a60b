"""Weights and biases: ranges, unused codes, rounding error, channels that are constant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic import along, dequantize_linear, sqnr_db
from bitbybit.inspection.statistics import (
    Distribution,
    Statistics,
    bin_edges,
    code_edges,
    histogram,
    statistics,
    value_range,
)
from bitbybit.model.costs import centred_rows
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)

OUTLIER_RATIO = 3.0
"""A channel is an outlier if its largest |w| is this many times the median channel's."""
NEARLY_DEAD_RATIO = 0.05
"""A channel is nearly dead if its largest |w| is at most this part of the median channel's."""


class Ranges(NamedTuple):
    """Least and greatest value of each channel, float64 ``[M]``."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class RoundingError:
    """How far quantized values lie from the float values they were made of.

    Attributes
    ----------
    largest : greatest ``|float - dequantized|``
    largest_in_steps : the same in units of the value's own scale; at most 0.5 unless clipped
    sqnr_db : ``10 log10(Σ float² / Σ (float - dequantized)²)``; inf if they are equal
    """

    largest: float
    largest_in_steps: float
    sqnr_db: float


@dataclass(frozen=True, eq=False)
class TensorReport:
    """A weight or bias.

    Attributes
    ----------
    layer, role : canonical name of the layer; ``"weight"`` or ``"bias"``
    tensor : the constant itself
    axis : axis of the output channels
    float_values : the float twin's tensor of the same shape, None without twin
    """

    layer: str
    role: str
    tensor: QuantizedTensor
    axis: int
    float_values: NDArray[Any] | None = None

    @cached_property
    def real(self) -> Statistics:
        """Statistics of the real (dequantized) values."""
        return statistics(real_values(self.tensor))

    @cached_property
    def channels(self) -> Ranges:
        """Least and greatest real value of each channel."""
        return channel_ranges(real_values(self.tensor), self.axis)

    @property
    def codes_available(self) -> int | None:
        """Codes that the dtype has; None for float and for 32-bit tensors."""
        params = self.tensor.params
        if params is None or params.dtype.itemsize == 4:
            return None
        return params.qmax - params.qmin + 1

    @cached_property
    def codes_used(self) -> int | None:
        """Distinct codes that occur, likewise."""
        return None if self.codes_available is None else np.unique(self.tensor.values).size

    @cached_property
    def error(self) -> RoundingError | None:
        """Distance from the float twin, None without twin or parameters."""
        params = self.tensor.params
        if params is None or self.float_values is None:
            return None
        real = real_values(self.tensor)
        steps = np.broadcast_to(along(params.scale, params.axis, real.ndim), real.shape)
        return rounding_error(self.float_values, real, steps)

    @property
    def channel_peak(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel, float64 ``[M]``."""
        return np.asarray(np.abs(self.channels).max(axis=0), np.float64)

    @property
    def float_channels(self) -> Ranges | None:
        """The same of the float twin, None without twin."""
        return None if self.float_values is None else channel_ranges(self.float_values, self.axis)

    @property
    def outlier_channels(self) -> tuple[int, ...]:
        """Channels of a weight whose peak is at least ``OUTLIER_RATIO`` times the median peak."""
        peak = self.channel_peak
        if self.role != "weight" or not peak.any():
            return ()
        return _where(peak >= OUTLIER_RATIO * np.median(peak))

    @property
    def nearly_dead_channels(self) -> tuple[int, ...]:
        """Channels of a weight whose peak is at most ``NEARLY_DEAD_RATIO`` of the median peak."""
        peak = self.channel_peak
        if self.role != "weight" or not peak.size:
            return ()
        return _where(peak <= NEARLY_DEAD_RATIO * np.median(peak))

    @property
    def range_spread(self) -> float:
        """Largest channel peak over the smallest that is not 0: what one scale must span."""
        peak = self.channel_peak[self.channel_peak > 0]
        return float(peak.max() / peak.min()) if peak.size else 1.0


@dataclass(frozen=True)
class GranularityGain:
    """What one scale per channel buys: both quantizations of the same float weights.

    Attributes
    ----------
    per_tensor_db, per_channel_db : SQNR of symmetric max-abs rounding to ``bits`` bits
    """

    per_tensor_db: float
    per_channel_db: float

    @property
    def gain_db(self) -> float:
        """``per_channel_db - per_tensor_db``; 0 where both are exact."""
        if math.isinf(self.per_tensor_db) and math.isinf(self.per_channel_db):
            return 0.0
        return self.per_channel_db - self.per_tensor_db


def constant(layer: Layer, role: str) -> QuantizedTensor | None:
    """Return the ``"weight"`` or ``"bias"`` of a layer, None where it has none."""
    if not isinstance(layer, (Conv, Dense)):
        return None
    return layer.weight if role == "weight" else layer.bias


def dequantize(codes: AnyArray, params: QuantParams) -> NDArray[np.float32]:
    """Return the real values of codes, each channel with its own scale.

    Parameters
    ----------
    codes : integers, any shape
    params
        Per tensor, or per channel along ``params.axis`` of ``codes``.

    Returns
    -------
    float32, shape of ``codes``
    """
    return dequantize_linear(codes, params.scale, params.zero_point, params.axis)


def real_values(tensor: QuantizedTensor) -> NDArray[Any]:
    """Return the real values of a constant: dequantized codes, or its float values."""
    return tensor.values if tensor.params is None else dequantize(tensor.values, tensor.params)


def twin_tensor(other: QuantizedModel, layer: Layer, role: str) -> QuantizedTensor | None:
    """Return the tensor of the same layer name, role and shape in another network, else None."""
    own, same = constant(layer, role), [each for each in other.layers if each.name == layer.name]
    found = constant(same[0], role) if same else None
    fits = own is not None and found is not None and found.values.shape == own.values.shape
    return found if fits else None


def layer_reports(layer: Layer, reference: QuantizedModel | None) -> dict[str, TensorReport]:
    """Return the reports of a layer's weight and bias by role, beside those of the float twin."""
    found = {}
    for role in ("weight", "bias"):
        tensor = constant(layer, role)
        if tensor is not None:
            twin = None if reference is None else twin_tensor(reference, layer, role)
            found[role] = tensor_report(layer, role, tensor, twin)
    return found


def tensor_report(
    layer: Layer, role: str, tensor: QuantizedTensor, twin: QuantizedTensor | None = None
) -> TensorReport:
    """Report on a ``"weight"`` or ``"bias"``; a twin that is quantized too is none."""
    axis = 1 if isinstance(layer, Dense) and role == "weight" else 0
    floats = None if twin is None or twin.params is not None else twin.values
    return TensorReport(layer.name, role, tensor, axis, floats)


def channel_ranges(values: NDArray[Any], axis: int) -> Ranges:
    """Return least and greatest finite value of each channel, float64 ``[M]``; 0 without any."""
    channels = values.shape[axis]
    rows = np.moveaxis(values, axis, 0).reshape(channels, values.size // max(channels, 1))
    if not rows.size:
        return Ranges(np.zeros(len(rows)), np.zeros(len(rows)))
    finite = np.isfinite(rows)
    low = np.min(rows, axis=1, initial=np.inf, where=finite)
    high = np.max(rows, axis=1, initial=-np.inf, where=finite)
    some = finite.any(axis=1)
    return Ranges(*(np.where(some, ends, 0).astype(np.float64) for ends in (low, high)))


def distributions(
    layer: Layer,
    report: TensorReport,
    forms: Mapping[str, QuantizedModel],
    bins: int,
    highlight: tuple[float, float] | None,
) -> tuple[Distribution, ...]:
    """Count a weight or bias in every form there is, and its codes."""
    values: dict[str, NDArray[Any]] = {}
    if report.float_values is not None:
        values["FP32"] = report.float_values
    for form, network in forms.items():
        tensor = twin_tensor(network, layer, report.role)
        if tensor is not None:
            values[form if tensor.params is None else f"{form} dequantized"] = real_values(tensor)
    edges = bin_edges(values.values(), bins)
    found = [
        Distribution(
            title=title,
            role=report.role,
            histogram=histogram(real, edges),
            statistics=statistics(real),
            highlight=value_range(real, *(highlight or ())) if np.isfinite(real).any() else None,
        )
        for title, real in values.items()
    ]
    params = report.tensor.params
    if params is not None and report.codes_used is not None:
        counted = histogram(report.tensor.values, code_edges(params.qmin, params.qmax, bins))
        title, ends = f"{params.dtype.name} codes", (params.qmin, params.qmax)
        found.append(Distribution(title=title, role="codes", histogram=counted, ends=ends))
    return tuple(found)


def rounding_error(
    floats: NDArray[Any], real: NDArray[Any], steps: NDArray[Any]
) -> RoundingError | None:
    """Compare float values with dequantized ones; NaN and infinities are left out.

    Parameters
    ----------
    floats, real : real numbers of one shape
    steps : the scale of each value, broadcast to that shape
    """
    finite = np.isfinite(floats) & np.isfinite(real)
    if not finite.any():
        return None
    x = floats[finite].astype(np.float64)
    distance = np.abs(x - real[finite])
    return RoundingError(
        float(distance.max()),
        float((distance / steps[finite].astype(np.float64)).max()),
        sqnr_db(float(np.square(x).sum()), float(np.square(distance).sum())),
    )


def granularity_gain(floats: NDArray[Any], axis: int, bits: int = 8) -> GranularityGain:
    """Quantize float weights once with one scale and once with one scale per channel.

    Both are symmetric: ``scale = max|w| / (2**(bits - 1) - 1)``, ``code = RNE(w / scale)``.

    Parameters
    ----------
    floats : real numbers, any shape
    axis
        The axis of the channels.
    bits
        2 to 16.
    """
    x = np.where(np.isfinite(floats), floats, 0).astype(np.float64)
    others = tuple(i for i in range(x.ndim) if i != axis)
    peaks = np.abs(x).max(axis=others, keepdims=True)
    signal = float(np.square(x).sum())
    found = []
    for peak in (peaks.max(keepdims=True), peaks):
        scale = np.where(peak > 0, peak, 1) / (2 ** (bits - 1) - 1)
        found.append(sqnr_db(signal, float(np.square(x - np.rint(x / scale) * scale).sum())))
    return GranularityGain(*found)


def _where(mask: NDArray[Any]) -> tuple[int, ...]:
    """Return the indices of what is true."""
    return tuple(np.flatnonzero(mask).tolist())


def constant_channels(model: QuantizedModel, layer: Layer) -> tuple[int, ...]:
    """Return the channels of a convolution or dense layer that are provably constant.

    Each accumulator lies in its :func:`bitbybit.arithmetic.sum_interval`. Requantization is
    monotone: a channel is constant if both ends of the interval give the same code. Sums that
    may leave int32 wrap around, and nothing is claimed of them.
    """
    if not isinstance(layer, (Conv, Dense)) or layer.weight.params is None:
        return ()
    x, y = model.edges[layer.inputs[0]].params, model.edges[layer.name].params
    if x is None or y is None or x.per_channel or y.per_channel:
        return ()
    bias = 0 if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(x.zero_point)
    ends = arithmetic.sum_interval(centred_rows(layer), x_range, bias)
    fits = [(end >= -(2**31)) & (end < 2**31) for end in ends]
    multiplier = arithmetic.conv_multiplier(x.scale, layer.weight.params.scale, y.scale)
    least, most = (
        arithmetic.requantize(end.astype(np.int32), multiplier, y.zero_point, axis=0)
        for end in ends
    )
    return _where((least == most) & fits[0] & fits[1])
