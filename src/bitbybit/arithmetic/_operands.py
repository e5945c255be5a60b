"""Checks that every operator makes on its operands before it computes anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import BitbybitError, UnsupportedError

Codes: TypeAlias = NDArray[np.integer[Any]]
Float32: TypeAlias = NDArray[np.float32]
Int32: TypeAlias = NDArray[np.int32]
ScaleLike: TypeAlias = float | np.float32 | Float32
ZeroPointLike: TypeAlias = int | np.integer[Any] | Codes
Shape: TypeAlias = tuple[int, ...]

EIGHT_BIT = (np.int8, np.uint8)
QUANTIZED = (np.int8, np.uint8, np.int16, np.uint16)

LARGEST = 1 << 32
"""Bytes that one array may take: a model of a few hundred bytes can ask for terabytes."""


class OperandError(BitbybitError):
    """An operand that the operator's definition excludes: wrong dtype, shape or value."""


def array(
    value: object,
    where: str,
    dtypes: tuple[type, ...],
    *,
    min_rank: int = 0,
    max_rank: float = math.inf,
) -> NDArray[Any]:
    """Return ``value`` as an array of one of ``dtypes`` and of an allowed rank; never casts."""
    checked = np.asarray(value)
    if checked.dtype.type not in dtypes:
        found = checked.dtype.name
        raise OperandError(
            "wrong dtype",
            where=where,
            expected=_names(dtypes),
            found=found,
            next_step="Convert it first, if no value changes: array.astype.",
        )
    if not min_rank <= checked.ndim <= max_rank:
        expected = f"{'' if min_rank == max_rank else 'at least '}{min_rank}"
        raise OperandError(
            "wrong number of dimensions",
            where=where,
            expected=expected,
            found=checked.shape,
            next_step="Reshape it; a batch of one image is array[None].",
        )
    return checked


def scale(value: ScaleLike, where: str, per: Shape = ()) -> Float32:
    """Return a scale as float32 of shape ``()``, or ``per`` channel: finite and > 0.

    A Python float is rounded to float32; an array must be float32 already.
    """
    checked = _of_shape(_float32(value, where), where, per)
    good = np.isfinite(checked) & (checked > 0)
    if not good.all():
        raise OperandError(
            "the scale is not a positive number",
            where=where,
            expected="> 0",
            found=checked[~good][0],
            next_step="Check where it comes from: a range of width 0 has no scale.",
        )
    return checked


def scale_of_any_shape(value: ScaleLike, where: str) -> Float32:
    """Return a scale as :func:`scale` does, whatever its shape."""
    return scale(value, where, np.shape(value))


def multiplier(value: ScaleLike, acc: Int32, axis: int | None) -> Float32:
    """Return a multiplier as float32 that broadcasts to ``acc``: any number but NaN."""
    where = "multiplier"
    checked = _float32(value, where)
    if axis is None and checked.ndim == acc.ndim:
        broadcasts_to(checked, acc.shape, where)
    else:
        checked = along(_of_shape(checked, where, channels(acc, axis)), axis, acc.ndim)
    if np.isnan(checked).any():
        raise OperandError(
            "the multiplier is not a number",
            where=where,
            found="NaN",
            next_step="Check the scales that it is made of.",
        )
    return checked


def zero_point(value: ZeroPointLike, where: str, dtype: np.dtype[Any], per: Shape = ()) -> Codes:
    """Return a zero point with the dtype of its codes, of shape ``()``, or ``per`` channel.

    A Python int is taken if it is a code of ``dtype``; an array must have that dtype already.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _of_shape(array(value, where, (dtype.type,)), where, per)
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        expected = f"{dtype.name}, {info.min} to {info.max}"
        raise OperandError(
            "the zero point is not a code of its tensor",
            where=where,
            expected=expected,
            found=value,
            next_step="Choose one in this range, or the other 8-bit type.",
        )
    return np.asarray(value, dtype=dtype)


def output_zero_point(
    value: ZeroPointLike, where: str, dtypes: tuple[type, ...], per: Shape = ()
) -> Codes:
    """Return the zero point that decides the output's dtype: a typed NumPy value."""
    if not isinstance(value, (np.ndarray, np.generic)):
        raise OperandError(
            "the zero point decides the output's dtype, so it needs one",
            where=where,
            expected=f"a NumPy value, {_names(dtypes)}",
            found=repr(value),
            next_step="Give one with a type, such as numpy.int8(0).",
        )
    return _of_shape(array(value, where, dtypes), where, per)


def bias(value: object, where: str, per: Shape) -> Int32:
    """Return a bias as int32, one value ``per`` output channel."""
    checked: Int32 = array(value, where, (np.int32,))
    if checked.shape != per:
        raise OperandError(
            "wrong shape",
            where=where,
            expected=per,
            found=checked.shape,
            next_step="Give one value for each output channel.",
        )
    return checked


def runtime_has_kernel(x: Codes, y: Codes, w: Codes | None = None, w_where: str = "w") -> None:
    """Refuse dtypes for which ONNX Runtime has no kernel of the QLinear operators."""
    if y.dtype != x.dtype:
        raise UnsupportedError(
            "ONNX Runtime computes outputs of the input's dtype only",
            where="y_zero_point",
            expected=x.dtype.name,
            found=y.dtype.name,
            next_step="Give the output the type of the input.",
        )
    if x.dtype == np.int8 and w is not None and w.dtype == np.uint8:
        raise UnsupportedError(
            "an int8 input needs an int8 weight in ONNX Runtime",
            where=w_where,
            expected="int8",
            found=w.dtype.name,
            next_step="Give the input as uint8, or the weight as int8.",
        )


def too_large(shape: Sequence[int], itemsize: int) -> bool:
    """Whether an array would take more than :data:`LARGEST` bytes."""
    return math.prod(shape) * itemsize > LARGEST


def affordable(shape: Sequence[int], itemsize: int, where: str) -> None:
    """Refuse to make an array of more than :data:`LARGEST` bytes."""
    if too_large(shape, itemsize):
        raise UnsupportedError(
            "the array would be too large",
            where=where,
            expected=f"at most {LARGEST} bytes",
            found=f"{math.prod(shape) * itemsize} bytes for shape {tuple(shape)}",
            next_step="Give it fewer images, if it has several.",
        )


def broadcasts_to(value: NDArray[Any], shape: Shape, where: str) -> None:
    """Refuse an array that does not broadcast to exactly ``shape``."""
    try:
        np.broadcast_to(value, shape)
    except ValueError:
        raise OperandError(
            "the shape does not broadcast",
            where=where,
            expected=f"like {shape}",
            found=value.shape,
            next_step="Give it the output's shape, or 1 along the axes that it repeats.",
        ) from None


def pair(a: object, b: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two operands of one 8-bit type whose shapes broadcast, to no more than may be."""
    a = array(a, "A", EIGHT_BIT)
    b = array(b, "B", (a.dtype.type,))
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise OperandError(
            "the shapes do not broadcast",
            where="B",
            expected=f"like {a.shape}",
            found=f"shape {b.shape}",
            next_step="Give both the same shape, or 1 along an axis.",
        ) from None
    affordable(shape, 8, "C")
    return a, b


def codes_of_whole(whole: Float32, dtype: np.dtype[Any]) -> Codes:
    """Return whole numbers as codes; 2^31 and more, and NaN, become qmin, as in x86's int32."""
    info = np.iinfo(dtype)
    fits_int32 = whole < 2.0**31  # false for NaN too; the conversion then gives INT32_MIN
    return np.where(fits_int32, np.clip(whole, info.min, info.max), info.min).astype(dtype)


def channels(x: NDArray[Any], axis: int | None) -> Shape:
    """Return ``(C,)`` with C = ``x.shape[axis]``, or ``()`` without an axis."""
    if axis is None:
        return ()
    if not -x.ndim <= axis < x.ndim:
        raise OperandError(
            "the axis is out of range",
            where="axis",
            expected=f"{-x.ndim} to {x.ndim - 1}",
            found=axis,
            next_step="Count axes from 0, or from -1 backwards.",
        )
    return (x.shape[axis],)


def along(values: NDArray[Any], axis: int | None, rank: int) -> NDArray[Any]:
    """Reshape one value per channel so that it broadcasts along ``axis`` of another array.

    Parameters
    ----------
    values : any dtype, shape ``()`` or ``[C]``
    axis : int or None
        The channel axis, -rank to rank-1; None leaves ``values`` as they are.
    rank : int
        Dimensions of the other array.

    Returns
    -------
    dtype of ``values``, shape ``[1, ..., C, ..., 1]``, or ``()`` for a single value

    Examples
    --------
    >>> import numpy as np
    >>> along(np.zeros(3), axis=1, rank=4).shape
    (1, 3, 1, 1)
    """
    if values.ndim == 0 or axis is None:
        return values
    shape = [1] * rank
    shape[axis] = len(values)
    return values.reshape(shape)


def _names(dtypes: tuple[type, ...]) -> str:
    return " or ".join(np.dtype(dtype).name for dtype in dtypes)


def _float32(value: ScaleLike, where: str) -> Float32:
    if isinstance(value, (np.ndarray, np.generic)):
        return array(value, where, (np.float32,))
    return np.asarray(value, dtype=np.float32)


def _of_shape(values: NDArray[Any], where: str, per: Shape) -> NDArray[Any]:
    """Return a single value as shape ``()``, and many only if they have the shape ``per``."""
    if values.size == 1:
        return values.reshape(())
    if values.shape != per:
        expected = f"a scalar or shape {per}" if per else "a scalar"
        raise OperandError(
            "wrong number of values",
            where=where,
            expected=expected,
            found=values.shape,
            next_step="Give one value for the tensor, or one for each channel along the axis.",
        )
    return values
