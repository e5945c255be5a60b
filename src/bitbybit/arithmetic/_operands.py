"""Checks that every operator makes on its operands before it computes anything."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import BitbybitError, UnsupportedError

Codes: TypeAlias = NDArray[np.integer[Any]]
Float32: TypeAlias = NDArray[np.float32]
Int32: TypeAlias = NDArray[np.int32]
ScaleLike: TypeAlias = float | np.float32 | Float32
ZeroPointLike: TypeAlias = int | np.integer[Any] | Codes

EIGHT_BIT = (np.int8, np.uint8)
QUANTIZED = (np.int8, np.uint8, np.int16, np.uint16)


class OperandError(BitbybitError):
    """An operand that the operator's definition excludes: wrong dtype, shape or value."""


def _names(dtypes: tuple[type, ...]) -> str:
    return " or ".join(np.dtype(dtype).name for dtype in dtypes)


def array(
    value: object, where: str, dtypes: tuple[type, ...], *, min_rank: int = 0, max_rank: int = 64
) -> NDArray[Any]:
    """Return ``value`` as an array of one of ``dtypes`` and of an allowed rank; never casts."""
    checked = np.asarray(value)
    if checked.dtype.type not in dtypes:
        raise OperandError(
            "the dtype is not allowed here",
            where=where,
            expected=_names(dtypes),
            found=checked.dtype.name,
        )
    if not min_rank <= checked.ndim <= max_rank:
        wanted = (
            f"{min_rank} dimensions" if min_rank == max_rank else f"at least {min_rank} dimensions"
        )
        raise OperandError(
            "the number of dimensions is wrong",
            where=where,
            expected=wanted,
            found=f"shape {checked.shape}",
        )
    return checked


def _one_per_channel(values: NDArray[Any], where: str, channels: int | None) -> NDArray[Any]:
    """Return one value as shape ``()``, and C values as shape ``[C]`` where that is allowed."""
    if values.size == 1:
        return values.reshape(())
    if channels is None:
        raise OperandError(
            "one value for the whole tensor is needed",
            where=where,
            expected="a scalar",
            found=f"shape {values.shape}",
        )
    if values.shape != (channels,):
        raise OperandError(
            "one value per channel is needed",
            where=where,
            expected=f"shape ({channels},) or a scalar",
            found=f"shape {values.shape}",
        )
    return values


def scale(value: ScaleLike, where: str, channels: int | None = None) -> Float32:
    """Return a scale as float32 of shape ``()`` or ``[channels]``: finite and > 0.

    A Python float is rounded to float32; an array must be float32 already.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        array(value, where, (np.float32,))
    checked = _one_per_channel(np.asarray(value, dtype=np.float32), where, channels)
    bad = ~(np.isfinite(checked) & (checked > 0))
    if bad.any():
        raise OperandError(
            "a scale must be a positive finite number",
            where=where,
            expected="> 0",
            found=checked[bad].flat[0] if checked.ndim else checked,
        )
    return checked


def any_scale(value: ScaleLike, where: str) -> Float32:
    """Return a scale of shape ``()`` or ``[C]`` with any C."""
    return scale(value, where, np.asarray(value).size)


def multiplier(value: ScaleLike, channels: int | None) -> Float32:
    """Return a multiplier as float32 of shape ``()`` or ``[channels]``: any but NaN."""
    if isinstance(value, (np.ndarray, np.generic)):
        array(value, "multiplier", (np.float32,))
    checked = _one_per_channel(np.asarray(value, dtype=np.float32), "multiplier", channels)
    if np.isnan(checked).any():
        raise OperandError("a multiplier is a number", where="multiplier", found="NaN")
    return checked


def zero_point(
    value: ZeroPointLike, where: str, dtype: np.dtype[Any], channels: int | None = None
) -> Codes:
    """Return a zero point with the dtype of its codes, of shape ``()`` or ``[channels]``.

    A Python int is taken if it is a code of ``dtype``; an array must have that dtype already.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _one_per_channel(array(value, where, (dtype.type,)), where, channels)
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        raise OperandError(
            "the zero point is not a code of its tensor",
            where=where,
            expected=f"{dtype.name}, {info.min} to {info.max}",
            found=value,
        )
    return np.asarray(value, dtype=dtype)


def output_zero_point(
    value: ZeroPointLike, where: str, dtypes: tuple[type, ...], channels: int | None = None
) -> Codes:
    """Return the zero point that decides the output's dtype: a typed NumPy value."""
    if not isinstance(value, (np.ndarray, np.generic)):
        raise OperandError(
            "the zero point decides the output's dtype, so it needs one",
            where=where,
            expected=f"a NumPy value of {_names(dtypes)}",
            found=f"{type(value).__name__} {value!r}",
        )
    return _one_per_channel(array(value, where, dtypes), where, channels)


def bias(value: object, where: str, channels: int) -> Int32:
    """Return a bias as int32 of shape ``[channels]``."""
    checked: Int32 = array(value, where, (np.int32,))
    if checked.shape != (channels,):
        raise OperandError(
            "the bias has one value per output channel",
            where=where,
            expected=f"shape ({channels},)",
            found=f"shape {checked.shape}",
        )
    return checked


def same_dtype_as_input(output: Codes, x: Codes, where: str) -> None:
    """Refuse an output dtype other than the input's: ONNX Runtime has no such kernel."""
    if output.dtype != x.dtype:
        raise UnsupportedError(
            "ONNX Runtime computes outputs of the input's dtype only",
            where=where,
            expected=x.dtype.name,
            found=output.dtype.name,
        )


def weight_dtype(w: Codes, x: Codes, where: str) -> None:
    """Refuse int8 inputs with uint8 weights: ONNX Runtime has no such kernel."""
    if x.dtype == np.int8 and w.dtype != np.int8:
        raise UnsupportedError(
            "an int8 input needs an int8 weight in ONNX Runtime",
            where=where,
            expected="int8",
            found=w.dtype.name,
        )


def equal_zero_points(value: ZeroPointLike, where: str) -> None:
    """Refuse per-channel zero points that differ: ONNX Runtime has no such convolution."""
    values = np.unique(np.asarray(value))
    if values.size > 1:
        raise UnsupportedError(
            "ONNX Runtime convolves with equal weight zero points only",
            where=where,
            expected=f"{values[0]} in every channel",
            found=values[1],
        )


def broadcasts_to(value: NDArray[Any], shape: tuple[int, ...], where: str) -> None:
    """Refuse an array that does not broadcast to exactly ``shape``."""
    try:
        np.broadcast_to(value, shape)
    except ValueError:
        raise OperandError(
            "the shape does not broadcast",
            where=where,
            expected=f"like {shape}",
            found=f"shape {value.shape}",
        ) from None


def normal_axis(axis: int, rank: int, where: str = "axis") -> int:
    """Return ``axis`` counted from the front, 0 to rank-1."""
    if not -rank <= axis < rank:
        raise OperandError(
            "the axis is out of range", where=where, expected=f"{-rank} to {rank - 1}", found=axis
        )
    return axis % rank


def channels(x: NDArray[Any], axis: int | None) -> tuple[int | None, int | None]:
    """Return ``(C, axis)`` with C = ``x.shape[axis]`` and axis >= 0, or ``(None, None)``."""
    if axis is None:
        return None, None
    normal = normal_axis(axis, x.ndim)
    return x.shape[normal], normal


def along(values: NDArray[Any], axis: int | None, rank: int) -> NDArray[Any]:
    """Reshape ``[C]`` so that it broadcasts along ``axis`` of an array of ``rank`` dimensions."""
    if values.ndim == 0 or axis is None:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
