"""The window of a convolution: strides, pads, dilations and group, checked."""

from __future__ import annotations

from typing import NamedTuple

from bitbybit.arithmetic import OperandError, window_output_size, window_pads
from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.graph import Node, Shape
from bitbybit.model.onnx_file import wrong
from bitbybit.model.parameters import No
from bitbybit.model.types import (
    QuantizedTensor,
)


class Window(NamedTuple):
    """Where the window of a convolution lies."""

    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    group: int


def conv_window(node: Node, weight: QuantizedTensor, x: Shape | None) -> Window | No:
    """Return strides, explicit pads, dilations and group of a convolution, checked."""
    channels, inner, *kernel = weight.values.shape
    declared = node.ints("kernel_shape", tuple(kernel))
    if declared != tuple(kernel):
        raise ModelError(
            "kernel_shape differs from the weights",
            where=node.where,
            expected=tuple(kernel),
            found=declared,
            next_step="Remove the attribute, or correct it: the weights say what it is.",
        )
    strides, dilations = (_positive(node, name) for name in ("strides", "dilations"))
    group = node.int("group", 1)
    if channels == 0:
        return No("it has no output channel")
    if group < 1 or channels % group:
        raise wrong(
            node.where,
            "the output channels cannot be divided into groups",
            f"a divisor of {channels}",
            group,
        )
    if x is not None and x[1] not in (None, inner * group):
        raise ModelError(
            "the input has another number of channels than the weights",
            where=node.where,
            expected=inner * group,
            found=x[1],
            next_step="Check which tensor this node should read.",
        )
    size = (None, None) if x is None else x[2:]
    pads = _pads(node, size, tuple(kernel), strides, dilations)
    if isinstance(pads, No):
        return pads
    return Window(strides, pads, dilations, group)


def _positive(node: Node, name: str) -> tuple[int, int]:
    values = node.ints(name, (1, 1))
    if len(values) != 2 or min(values) < 1:
        raise wrong(node.where, f"{name} must be 2 positive integers", found=values)
    return values[0], values[1]


def _pads(
    node: Node,
    size: Shape,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, int, int, int] | No:
    """Return pads (top, left, bottom, right), auto_pad resolved, and check that a window fits."""
    mode = node.text("auto_pad", "NOTSET") or "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER", "VALID") and "pads" in node.attributes:
        raise ModelError(
            "pads and auto_pad exclude each other",
            where=node.where,
            found=mode,
            next_step="Remove one of them from the node.",
        )
    if mode.startswith("SAME") and None in size:
        return No("its SAME padding depends on an open image size")
    given = node.ints("pads", (0, 0, 0, 0))
    length = tuple(2**40 if d is None else d for d in size)
    try:
        pads = window_pads(length, kernel, strides, dilations, given, mode)
        window_output_size(length, kernel, strides, dilations, pads)
    except UnsupportedError as error:
        return No(error.what)
    except OperandError as error:
        raise _contradiction(node, error) from None
    return pads[0], pads[1], pads[2], pads[3]


def _contradiction(node: Node, error: OperandError) -> ModelError:
    """Return an error of the arithmetic as one of the file."""
    expected, found = error.expected, error.found
    if error.where == "kernel shape":
        what = "the kernel is larger than the padded input"
        return ModelError(
            what,
            where=node.where,
            expected=expected,
            found=found,
            next_step="Check the kernel and the pads of this node against its input.",
        )
    where = f"{node.where}, {error.where}"
    return ModelError(
        error.what,
        where=where,
        expected=expected,
        found=found,
        next_step=error.next_step,
    )
