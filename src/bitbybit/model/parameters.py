"""Scales, zero points and biases: checked, and brought into one shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.onnx_file import wrong
from bitbybit.model.types import AnyArray, QuantizedTensor, QuantParams

CODE_DTYPES = tuple(np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32))
"""Integer types of codes; int32 only for biases."""

BIAS_SCALE_TOLERANCE = (1e-6, 1e-2)
"""Absolute and relative distance of a bias scale from ``x_scale * w_scale`` up to which ONNX
Runtime 1.31 fuses the node, and then uses ``x_scale * w_scale`` whatever the file says."""


@dataclass(frozen=True)
class No:
    """Why valid nodes are no integer layer: a clause whose subject is the operator."""

    why: str


class NoLayerError(Exception):
    """The same, raised: it ends the reading of an integer layer wherever it is found out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def make_params(
    scale: AnyArray,
    zero_point: AnyArray,
    axis: int | None,
    where: str,
    names: tuple[str, str] = ("", ""),
) -> QuantParams | No:
    """Return checked parameters; one value of any shape counts as per tensor.

    Parameters
    ----------
    scale : float32, shape ``()``, ``[1]`` or ``[C]``
    zero_point : integer, one value or ``[C]``
    axis : the channel axis, not negative; used if there are several scales
    where : node and field, for messages
    names : initializer names of scale and zero point

    Returns
    -------
    ``No`` for a scale that is not float32, codes of another type, several axes.

    Raises
    ------
    ModelError : a scale that is not positive and finite, shapes that do not agree
    """
    if scale.dtype != np.float32:
        return No(f"its scale is {scale.dtype}, not float32")
    if zero_point.dtype not in CODE_DTYPES:
        return No(f"its codes are {zero_point.dtype}")
    flat: NDArray[np.float32] = scale.astype(np.float32, copy=False).reshape(-1)
    zeros = zero_point.reshape(-1)
    bad = ~(np.isfinite(flat) & (flat > 0))
    if flat.size == 0 or bad.any():
        found = flat[bad][0] if flat.size else "none"
        next_step = "Calibrate again: a tensor that is always 0 still needs a scale above 0."
        raise wrong(where, "a scale must be finite and positive", found=found, next_step=next_step)
    if zeros.size not in (1, flat.size):
        next_step = "Give one of each for the tensor, or one of each for every channel."
        what = "scale and zero point have different shapes"
        raise wrong(where, what, scale.shape, zero_point.shape, next_step)
    if flat.size == 1:
        return QuantParams(flat.reshape(()), zeros.reshape(()), None, *names)
    if scale.ndim != 1:
        return No("it has one scale per block")
    return QuantParams(flat, np.broadcast_to(zeros, flat.shape), axis, *names)


def check_axis(axis: int, rank: int, where: str) -> int:
    """Return ``axis`` counted from the front.

    Raises
    ------
    ModelError : an axis outside ``-rank .. rank-1``
    """
    if not -rank <= axis < rank:
        raise wrong(where, "the axis is out of range", f"{-rank} to {rank - 1}", axis)
    return axis % rank


def check_channels(params: QuantParams, shape: tuple[int | None, ...], where: str) -> None:
    """Compare the number of scales with the length of their axis.

    Raises
    ------
    ModelError : another number of scales than channels
    """
    if params.axis is None:
        return
    length = shape[params.axis]
    if length is not None and length != params.scale.size:
        next_step = "Check the axis of the quantizer: it should be that of the channels."
        what = "the number of scales differs from the number of channels"
        raise wrong(where, what, length, params.scale.size, next_step)


def same_params(a: QuantParams, b: QuantParams) -> bool:
    """Tell whether two parameters denote the same codes, bit for bit."""
    return (
        a.axis == b.axis
        and a.dtype == b.dtype
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def at_lower_rail(params: QuantParams) -> bool:
    """Tell whether saturation acts as a ReLU: the zero point is the lowest code."""
    return bool(np.all(params.zero_point == params.qmin))


def on_axis(params: QuantParams | None, axis: int) -> QuantParams | None:
    """Return parameters whose channels, if there are any, lie on another axis."""
    return params if params is None or params.axis is None else replace(params, axis=axis)


def bias_params(
    x: QuantParams, weight: QuantParams, names: tuple[str, str] = ("", "")
) -> QuantParams:
    """Return the parameters of a bias: scale ``x_scale * w_scale`` in float32, zero point 0."""
    with np.errstate(over="ignore", under="ignore"):
        scale = np.multiply(x.scale, weight.scale, dtype=np.float32)
    zero_point = np.zeros(scale.shape, np.int32)
    return QuantParams(np.asarray(scale), zero_point, 0 if scale.ndim else None, *names)


def make_bias(
    found: QuantizedTensor, x: QuantParams, weight: QuantParams, channels: int, where: str
) -> QuantizedTensor:
    """Return the int32 bias ``[M]`` at scale ``x_scale * w_scale``, zero point 0.

    A float bias beside integer weights is quantized as ONNX Runtime does when it fuses the
    node: ``RNE(b / (x_scale * w_scale))``.

    Raises
    ------
    NoLayerError : codes that are not int32, or a scale that is not ``x_scale * w_scale``: ONNX
        Runtime then computes in float, even where all codes are zero
    ModelError : a zero point other than 0, a wrong number of values
    """
    scale = bias_params(x, weight).scale
    values = bias_vector(found.values, channels, where)
    if found.params is None:
        if not np.issubdtype(values.dtype, np.floating):
            raise NoLayerError(f"its bias is {values.dtype} without a scale")
        with np.errstate(all="ignore"):
            codes = np.rint(values.astype(np.float32) / scale)
        if not (np.abs(codes) < 2**31).all():
            raise NoLayerError("its float bias does not fit into int32")
        return QuantizedTensor(found.name, codes.astype(np.int32), bias_params(x, weight))
    names = (found.params.scale_name, found.params.zero_point_name)
    if found.params.dtype != np.int32:
        raise NoLayerError(f"its bias is {found.params.dtype}, not int32")
    if np.any(found.params.zero_point != 0):
        next_step = "Quantize the model again: a bias is symmetric."
        raise wrong(where, "the zero point of a bias must be 0", next_step=next_step)
    absolute, relative = BIAS_SCALE_TOLERANCE
    with np.errstate(all="ignore"):
        error = np.abs(found.params.scale.astype(np.float64) - scale) - relative * scale
    if not np.all(error <= absolute):
        worst = int(np.argmax(np.broadcast_to(error, scale.shape)))
        expected = scale.reshape(-1)[worst]
        there = np.broadcast_to(found.params.scale, scale.shape).reshape(-1)[worst]
        why = f"its bias has the scale {there}, not x_scale * w_scale = {expected}"
        raise NoLayerError(why)
    return QuantizedTensor(found.name, values, bias_params(x, weight, names))


def bias_vector(values: AnyArray, channels: int, where: str) -> AnyArray:
    """Return a bias as ``[M]``: leading dimensions of 1 dropped, one value repeated."""
    flat = values.reshape(-1)
    if flat.size == channels:
        return flat
    if flat.size == 1:
        return np.repeat(flat, channels)
    next_step = "Give one bias for each output channel."
    what = "the bias has another length than the output channels"
    raise wrong(where, what, channels, flat.size, next_step)
