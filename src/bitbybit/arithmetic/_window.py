"""Where the window of a convolution or a pool lies: explicit pads and output size.

https://onnx.ai/onnx/operators/onnx__Conv.html (opset 1, 11, 22: the same rules) and
https://onnx.ai/onnx/operators/onnx__MaxPool.html (opset 12, 22: ``ceil_mode``)
"""

from __future__ import annotations

from collections.abc import Sequence

from bitbybit.errors import UnsupportedError

from ._operands import OperandError


def window_pads(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    auto_pad: str = "NOTSET",
) -> tuple[int, ...]:
    """Resolve ``auto_pad`` into explicit pads, those of all beginnings before those of all ends.

    SAME: ``total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)``, split in halves;
    the odd row or column goes to the end (SAME_UPPER) or to the beginning (SAME_LOWER). A 3x3
    window with stride 2 on an even size therefore pads (0, 0, 1, 1) or (1, 1, 0, 0).

    Parameters
    ----------
    size, kernel, strides, dilations : one int >= 1 per axis
        Of an image: (vertical, horizontal).
    pads : two int >= 0 per axis
        Of an image: (top, left, bottom, right). Used with NOTSET only.
    auto_pad : "NOTSET", "SAME_UPPER", "SAME_LOWER" or "VALID"

    Returns
    -------
    tuple of two int >= 0 per axis

    Raises
    ------
    OperandError
        Values outside these ranges, or ``pads`` beside an ``auto_pad``.
    UnsupportedError
        SAME with a dilation, which ONNX Runtime rejects, or with strides so wide that whole rows
        or columns are skipped, where it moves the window.

    Examples
    --------
    >>> window_pads((32, 32), (3, 3), (2, 2), (1, 1), (0, 0, 0, 0), "SAME_UPPER")
    (0, 0, 1, 1)
    """
    axes = len(size)
    strides = _positive(strides, "strides", axes)
    dilations = _positive(dilations, "dilations", axes)
    if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise OperandError(
            "unknown value",
            where="auto_pad",
            expected="NOTSET, SAME_UPPER, SAME_LOWER or VALID",
            found=repr(auto_pad),
            next_step="Choose one of these.",
        )
    if len(pads) != 2 * axes or any(pad < 0 for pad in pads):
        raise OperandError(
            "wrong pads",
            where="pads",
            expected=f"{2 * axes} integers >= 0: all beginnings, then all ends",
            found=tuple(pads),
            next_step="For two axes give (top, left, bottom, right).",
        )
    if auto_pad == "NOTSET":
        return tuple(map(int, pads))
    if any(pads):
        raise OperandError(
            "pads and auto_pad exclude each other",
            where=f"pads with auto_pad {auto_pad}",
            expected=0,
            found=tuple(pads),
            next_step="Leave the pads out, or choose auto_pad NOTSET.",
        )
    if auto_pad == "VALID":
        return (0,) * (2 * axes)
    if max(dilations) > 1:
        raise UnsupportedError(
            "ONNX Runtime rejects SAME padding with a dilation",
            where="dilations",
            expected=1,
            found=dilations,
            next_step="Give the pads themselves.",
        )
    totals = list(map(_same_pads, size, kernel, strides))
    small, large = (tuple((total + odd) // 2 for total in totals) for odd in (0, 1))
    return small + large if auto_pad == "SAME_UPPER" else large + small


def _same_pads(size: int, kernel: int, stride: int) -> int:
    """Return the pads before and after one axis together."""
    total = (-(-size // stride) - 1) * stride + kernel - size
    if total < -2:
        raise UnsupportedError(
            "ONNX Runtime moves the window when SAME padding would be negative",
            where="auto_pad",
            expected="total pads >= -2",
            found=total,
            next_step="Give the pads themselves.",
        )
    return max(total, 0)


def window_output_size(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """Count the places of a window on each axis (``eq-conv-size`` of the book).

    ``floor((size + pad_before + pad_after - ((kernel - 1) * dilation + 1)) / stride) + 1``.
    With ``ceil_mode`` the quotient is rounded up, and a last window that would begin behind the
    image, in the pads at its end, is left out, as ONNX Runtime does; ``onnx.shape_inference``
    counts that window in some versions.

    Parameters
    ----------
    size, kernel, strides, dilations : one int >= 1 per axis
        Of an image: (vertical, horizontal).
    pads : two int >= 0 per axis
        Of an image: (top, left, bottom, right).
    ceil_mode : bool
        A pool's attribute; a convolution has none.

    Returns
    -------
    tuple of one int >= 1 per axis : of an image (H_out, W_out)

    Raises
    ------
    OperandError
        The window is larger than the padded input.

    Examples
    --------
    >>> window_output_size((5,), (2,), (2,), (1,), (0, 0))
    (2,)
    >>> window_output_size((5,), (2,), (2,), (1,), (0, 0), ceil_mode=True)
    (3,)
    """
    result = []
    for axis, length in enumerate(size):
        before, after, stride = pads[axis], pads[axis + len(size)], strides[axis]
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        room = length + before + after - reach
        if room < 0:
            raise OperandError(
                "the window is larger than the padded input",
                where="kernel shape",
                expected=f"at most {length + before + after}",
                found=reach,
                next_step="Take a smaller kernel or dilation, or pad more.",
            )
        places = (-(-room // stride) if ceil_mode else room // stride) + 1
        begins_behind = (places - 1) * stride >= length + before
        result.append(places - 1 if ceil_mode and begins_behind else places)
    return tuple(result)


def _positive(values: Sequence[int], where: str, count: int) -> tuple[int, ...]:
    if len(values) != count or any(value < 1 for value in values):
        raise OperandError(
            "one positive integer per axis is needed",
            where=where,
            expected=f"{count} integers >= 1",
            found=tuple(values),
            next_step="Give one for each spatial axis.",
        )
    return tuple(map(int, values))
