"""Where a 2-D convolution's window lies: explicit pads and output size.

https://onnx.ai/onnx/operators/onnx__Conv.html (opset 1, 11, 22: the same rules)
"""

from __future__ import annotations

from collections.abc import Sequence

from bitbybit.errors import UnsupportedError

from ._operands import OperandError

Pads = tuple[int, int, int, int]


def _pair(value: Sequence[int], where: str) -> tuple[int, int]:
    if len(value) != 2 or min(value) < 1:
        raise OperandError(
            "two positive integers are needed",
            where=where,
            expected="(vertical, horizontal) >= 1",
            found=tuple(value),
        )
    return int(value[0]), int(value[1])


def conv_pads(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    auto_pad: str = "NOTSET",
) -> Pads:
    """Resolve ``auto_pad`` into the explicit pads ``(top, left, bottom, right)``.

    SAME: ``total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)``, split in halves;
    the odd row or column goes to the end (SAME_UPPER) or to the beginning (SAME_LOWER). A 3x3
    window with stride 2 on an even size therefore pads (0, 0, 1, 1) or (1, 1, 0, 0).

    Parameters
    ----------
    size, kernel, strides, dilations : (vertical, horizontal), >= 1
    pads : (top, left, bottom, right), >= 0
        Used with NOTSET only.
    auto_pad : "NOTSET", "SAME_UPPER", "SAME_LOWER" or "VALID"

    Returns
    -------
    tuple of four int

    Raises
    ------
    OperandError
        Values outside these ranges, or ``pads`` beside an ``auto_pad``.
    UnsupportedError
        SAME with a dilation, which ONNX Runtime rejects, or with strides so wide that whole rows
        or columns are skipped, where it moves the window.

    Examples
    --------
    >>> conv_pads((32, 32), (3, 3), strides=(2, 2), auto_pad="SAME_UPPER")
    (0, 0, 1, 1)
    """
    strides, dilations = _pair(strides, "strides"), _pair(dilations, "dilations")
    if len(pads) != 4 or min(pads) < 0:
        expected = "(top, left, bottom, right) >= 0"
        raise OperandError("wrong pads", where="pads", expected=expected, found=tuple(pads))
    if auto_pad == "NOTSET":
        return int(pads[0]), int(pads[1]), int(pads[2]), int(pads[3])
    if any(pads):
        where = f"pads beside auto_pad {auto_pad}"
        raise OperandError("they exclude each other", where=where, expected=0, found=tuple(pads))
    if auto_pad == "VALID":
        return 0, 0, 0, 0
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        expected = "NOTSET, SAME_UPPER, SAME_LOWER or VALID"
        raise OperandError("unknown value", where="auto_pad", expected=expected, found=auto_pad)
    if dilations != (1, 1):
        what = "ONNX Runtime rejects SAME padding with a dilation"
        raise UnsupportedError(what, where="dilations", expected=(1, 1), found=dilations)
    (top, bottom), (left, right) = (
        _same_pads(*axis, odd_first=auto_pad == "SAME_LOWER")
        for axis in zip(size, kernel, strides, strict=True)
    )
    return top, left, bottom, right


def _same_pads(size: int, kernel: int, stride: int, *, odd_first: bool) -> tuple[int, int]:
    """Return the pads before and after one axis; an odd one goes first or last."""
    total = (-(-size // stride) - 1) * stride + kernel - size
    if total < -2:
        what = "ONNX Runtime moves the window when SAME padding would be negative"
        raise UnsupportedError(what, where="auto_pad", expected="total pads >= -2", found=total)
    small, large = max(total, 0) // 2, (max(total, 0) + 1) // 2
    return (large, small) if odd_first else (small, large)


def conv_output_size(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Pads,
) -> tuple[int, int]:
    """Return the output's height and width.

    ``floor((size + pad_before + pad_after - ((kernel - 1) * dilation + 1)) / stride) + 1``

    Parameters
    ----------
    size, kernel, strides, dilations : (vertical, horizontal), >= 1
    pads : (top, left, bottom, right), >= 0

    Returns
    -------
    (H_out, W_out), >= 1

    Raises
    ------
    OperandError
        The window is larger than the padded input.
    """
    result = []
    for d in (0, 1):
        reach = (kernel[d] - 1) * dilations[d] + 1
        room = size[d] + pads[d] + pads[d + 2] - reach
        if room < 0:
            raise OperandError(
                "the window is larger than the padded input",
                where="kernel shape",
                expected=f"at most {size[d] + pads[d] + pads[d + 2]}",
                found=reach,
            )
        result.append(room // strides[d] + 1)
    return result[0], result[1]
