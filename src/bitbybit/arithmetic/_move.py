"""Operators that move codes and change none: Transpose, Slice, Pad and Resize to the nearest.

https://onnx.ai/onnx/operators/onnx__Transpose.html (opset 1), onnx__Slice.html (opset 10),
onnx__Pad.html (opset 11) and onnx__Resize.html (opset 11). They commute with dequantization, so
codes move as real values do; a pad of real 0 is a pad of the zero point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _operands as operands
from ._operands import Codes, OperandError, Shape

Indices: TypeAlias = NDArray[np.float32]


def transpose(data: Codes, *, perm: Sequence[int] | None = None) -> Codes:
    """Give the axes another order; without ``perm`` the last becomes the first."""
    return data.transpose(perm)


def cut(
    data: Codes,
    *,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Codes:
    """Take every ``steps``-th element from ``starts`` to before ``ends``, along some axes (Slice).

    Ends are those of ONNX: negative ones count from the back, and before all is ``-2**31`` or less.
    """
    places = [slice(None)] * data.ndim
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = i if axes is None else axes[i], 1 if steps is None else steps[i]
        size = data.shape[axis]
        if step > 0:
            places[axis] = slice(_clamped(start, size, 0, size), _clamped(end, size, 0, size), step)
        else:
            first, last = _clamped(start, size, 0, size - 1), _clamped(end, size, -1, size - 1)
            places[axis] = slice(first, None if last < 0 else last, step)
    return data[tuple(places)]


def _clamped(at: int, size: int, low: int, high: int) -> int:
    return min(max(at + size if at < 0 else at, low), high)


def pad(data: Codes, *, pads: Sequence[int], mode: str = "constant", constant_value: int) -> Codes:
    """Surround with ``constant_value``, or with what ``mode`` says: "edge" or "reflect"."""
    widths = list(zip(pads[: data.ndim], pads[data.ndim :], strict=True))
    shape = [size + sum(width) for size, width in zip(data.shape, widths, strict=True)]
    operands.affordable(shape, data.itemsize, "padded data")
    if mode == "constant":
        return np.pad(data, widths, constant_values=constant_value)
    return np.pad(data, widths, mode="edge" if mode == "edge" else "reflect")


def resize_nearest(
    X: Codes,
    *,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
) -> Codes:
    """Repeat or drop elements: each takes that of the nearest place, computed in float32."""
    for axis, size in enumerate(X.shape):
        if scales is not None:
            scale = np.float32(scales[axis])
            length = int(scale * np.float32(size))
        else:
            length = size if sizes is None else sizes[axis]
            scale = np.float32(length) / np.float32(size)
        operands.affordable((*X.shape[:axis], length, *X.shape[axis + 1 :]), X.itemsize, "Y")
        if length == size and scale == 1:
            continue
        place = _PLACES[coordinate_transformation_mode](
            np.arange(length).astype(np.float32), scale, length, size
        )
        nearest = _NEAREST[nearest_mode](place).astype(np.int64)
        X = X.take(np.clip(nearest, 0, size - 1), axis)
    return X


def _half_pixel(at: Indices, scale: np.float32, _length: int, _size: int) -> Indices:
    return (at + np.float32(0.5)) / scale - np.float32(0.5)


def _pytorch(at: Indices, scale: np.float32, length: int, size: int) -> Indices:
    return _half_pixel(at, scale, length, size) if length > 1 else np.zeros_like(at)


def _aligned(at: Indices, _scale: np.float32, length: int, size: int) -> Indices:
    return at * np.float32(size - 1) / np.float32(max(length - 1, 1))


_PLACES: dict[str, Callable[[Indices, np.float32, int, int], Indices]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch,
    "asymmetric": lambda at, scale, _length, _size: at / scale,
    "align_corners": _aligned,
}

_HALF = np.float32(0.5)
_NEAREST: dict[str, Callable[[Indices], Indices]] = {
    "round_prefer_floor": lambda at: np.ceil(at - _HALF),
    "round_prefer_ceil": lambda at: np.floor(at + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}

RESIZE_MODES = (frozenset(_PLACES), frozenset(_NEAREST))
"""Coordinate transformations and ways to round that Resize knows here."""

_MOVES: dict[str, Callable[..., Codes]] = {
    "Transpose": transpose,
    "Slice": cut,
    "Pad": pad,
    "Resize": resize_nearest,
}


def move(x: Codes, op: str, **attributes: Any) -> Codes:
    """Move codes as an ONNX operator does; none is changed, and a pad adds a given one.

    Parameters
    ----------
    x : codes of any type and shape
    op : "Transpose", "Slice", "Pad" or "Resize"
    attributes : attributes and constant inputs of the operator, by their names in ONNX; of a Pad
        ``constant_value`` is a code, and Resize takes the nearest element

    Returns
    -------
    dtype of ``x``

    Raises
    ------
    OperandError
        Another operator, or attributes that do not fit the shape.
    UnsupportedError
        A result beyond 4 GiB.

    Examples
    --------
    >>> import numpy as np
    >>> move(np.int8([[1, 2], [3, 4]]), "Pad", pads=[0, 1, 0, 0], constant_value=-128)
    array([[-128,    1,    2],
           [-128,    3,    4]], dtype=int8)
    """
    if op not in _MOVES:
        raise OperandError(
            "no operator that moves codes",
            where="op",
            expected=", ".join(_MOVES),
            found=op,
            next_step="Choose one of these.",
        )
    try:
        return np.asarray(_MOVES[op](x, **attributes))
    except (ValueError, IndexError):
        raise _unfit(op, x.shape, attributes) from None


def _unfit(op: str, shape: Shape, attributes: dict[str, Any]) -> OperandError:
    return OperandError(
        "the attributes do not fit the input",
        where=op,
        expected=f"some for shape {shape}",
        found=", ".join(f"{name} {value}" for name, value in attributes.items()),
        next_step="Check the node, and the shape of its input.",
    )
