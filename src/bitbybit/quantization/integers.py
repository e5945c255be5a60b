"""The integers of one layer: a pure function of float weights and their record."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.model.parameters import bias_params
from bitbybit.model.types import Conv, Dense, QuantizedTensor, QuantParams
from bitbybit.quantization.observe import Weighted, weight_rows
from bitbybit.quantization.record import LayerRecord, unpack
from bitbybit.quantization.rounding import nearest_codes
from bitbybit.quantization.scheme import Scheme


def integer_weights(layer: Weighted, record: LayerRecord | None, scheme: Scheme) -> QuantizedTensor:
    """Return the weight codes ``clip(RNE(w / scale) + zero_point) + recorded difference``.

    Parameters
    ----------
    layer
        A float layer.
    record
        Its scales, zero point and rounding.
    scheme
        dtype, bits and granularity.

    Returns
    -------
    QuantizedTensor
        Codes in the layout of the float weights, inside ``scheme.weight_rails``.

    Raises
    ------
    DataError
        There is no record, or it does not fit the layer and the scheme.
    """
    rows = weight_rows(layer)
    flat = rows.reshape(-1, rows.shape[-1])
    count = len(flat) if scheme.per_channel else 1
    if record is None or record.scale.shape != (count,) or not (record.scale > 0).all():
        raise DataError(
            "the calibration record has no fitting weight scales",
            where=layer.name,
            expected=f"{count} positive",
            found="none" if record is None else record.scale.size,
            next_step="Calibrate this network again; the record is of another one.",
        )
    low, high = scheme.weight_rails
    scale = np.broadcast_to(record.scale, len(flat))
    codes = nearest_codes(flat, scale, record.zero_point, (low, high))
    codes += unpack(record.rounding, codes.shape)
    if codes.min() < low or codes.max() > high or not low <= record.zero_point <= high:
        raise DataError(
            "the recorded weights leave the codes",
            where=layer.name,
            expected=f"{low}..{high}",
            next_step="Calibrate this network again; the record is of another one.",
        )
    dense = isinstance(layer, Dense)
    values = codes.T if dense else codes.reshape(layer.weight.values.shape)
    dtype = np.dtype(scheme.weight_dtype)
    zero = np.full(count, record.zero_point).astype(dtype)
    if scheme.per_channel:
        params = QuantParams(record.scale, zero, int(dense))
    else:
        params = QuantParams(record.scale.reshape(()), zero.reshape(()))
    return QuantizedTensor("", np.ascontiguousarray(values).astype(dtype), params)


def integer_bias(
    layer: Weighted,
    corrected: NDArray[np.float32] | None,
    x: QuantParams,
    weight: QuantizedTensor,
) -> QuantizedTensor | None:
    """Return the bias codes ``RNE(b / (x_scale * w_scale))``, int32 ``[M]``.

    Parameters
    ----------
    layer
        A float layer; its own bias counts where there is no corrected one.
    corrected
        float32 ``[M]``, or None.
    x, weight
        Parameters of the input, and the quantized weights.

    Returns
    -------
    QuantizedTensor or None
        None if the layer has no bias at all.

    Raises
    ------
    DataError
        A code outside int32, or another number of values than channels.
    """
    real = corrected
    if real is None:
        if layer.bias is None:
            return None
        real = layer.bias.values.astype(np.float32)
    if weight.params is None:
        raise DataError(
            "the weights are not quantized",
            where=layer.name,
            next_step="Quantize the weights before the bias: its scale follows from theirs.",
        )
    params = bias_params(x, weight.params)
    channels = layer.weight.values.shape[0 if isinstance(layer, Conv) else 1]
    codes = np.rint(real.astype(np.float64) / params.scale.astype(np.float64))
    if real.shape != (channels,) or not (np.abs(codes) < 2**31).all():
        raise DataError(
            "the bias does not fit",
            where=layer.name,
            expected=f"{channels} values within int32",
            next_step="Check the bias of this layer against the scales of its input and weights.",
        )
    return QuantizedTensor("", codes.astype(np.int32), params)
