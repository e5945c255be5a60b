"""Shapes of the layers' outputs.  A dimension is None where the file leaves it open."""

from __future__ import annotations

import math

from bitbybit import arithmetic
from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.constants import Constants
from bitbybit.model.graph import Node, Shape
from bitbybit.model.parameters import NotIntegerError, check_axis
from bitbybit.model.types import QuantizedTensor

Pads = tuple[int, int, int, int]


def window(node: Node, weight: QuantizedTensor) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Return strides, dilations and group of a convolution, checked.

    Raises
    ------
    ModelError : a wrong number of values, or values below 1
    """
    strides = _positive(node, "strides", 2, (1, 1))
    dilations = _positive(node, "dilations", 2, (1, 1))
    kernel = weight.values.shape[2:]
    declared = node.ints("kernel_shape", kernel)
    if declared != kernel:
        raise ModelError(
            "kernel_shape differs from the weights",
            where=node.where,
            expected=kernel,
            found=declared,
        )
    group = node.int("group", 1)
    channels = weight.values.shape[0]
    if group < 1 or channels % group:
        raise ModelError(
            "the output channels cannot be divided into groups",
            where=node.where,
            expected=f"a divisor of {channels}",
            found=group,
        )
    return (strides[0], strides[1]), (dilations[0], dilations[1]), group


def _positive(node: Node, name: str, count: int, default: tuple[int, ...]) -> tuple[int, ...]:
    values = node.ints(name, default)
    if len(values) != count or min(values) < 1:
        raise ModelError(
            f"{name} must be {count} positive integers", where=node.where, found=values
        )
    return values


def explicit_pads(
    node: Node,
    x: Shape | None,
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    dilations: tuple[int, int],
) -> Pads:
    """Return pads (top, left, bottom, right), auto_pad resolved.

    Raises
    ------
    ModelError : an unknown auto_pad, pads beside it, a wrong number of pads, a negative pad
    NotIntegerError : SAME padding of an image of open size, or one that ONNX Runtime has not
    """
    mode = node.text("auto_pad", "NOTSET") or "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER", "VALID") and "pads" in node.attributes:
        raise ModelError("pads and auto_pad exclude each other", where=node.where, found=mode)
    size = (1, 1) if x is None else tuple(1 if length is None else length for length in x[2:])
    if mode.startswith("SAME") and (x is None or None in x[2:]):
        raise NotIntegerError("its SAME padding depends on an open image size")
    given = node.ints("pads", (0, 0, 0, 0))
    try:
        top, left, bottom, right = arithmetic.window_pads(
            size, kernel, strides, dilations, given, mode
        )
    except UnsupportedError as error:
        raise NotIntegerError(error.what) from None
    except arithmetic.OperandError as error:
        raise ModelError(
            error.what, where=f"{node.where}, {error.where}",
            expected=error.expected, found=error.found[:40],
        ) from None  # fmt: skip
    return top, left, bottom, right


def conv_shape(
    node: Node,
    x: Shape | None,
    weight: tuple[int, ...],
    strides: tuple[int, int],
    pads: Pads,
    dilations: tuple[int, int],
    group: int,
) -> Shape:
    """Return ``[N, M, H, W]`` of a convolution; raises ModelError if the shapes do not agree."""
    out: list[int | None] = []
    for axis in (0, 1):
        size = None if x is None else x[2 + axis]
        if size is None:
            out.append(None)
            continue
        one_axis = (weight[2 + axis],), (strides[axis],), (dilations[axis],), pads[axis::2]
        try:
            (length,) = arithmetic.window_output_size((size,), *one_axis)
        except arithmetic.OperandError as error:
            raise ModelError(
                "the kernel is larger than the padded input",
                where=node.where, expected=error.expected, found=error.found,
            ) from None  # fmt: skip
        out.append(length)
    channels = None if x is None else x[1]
    if channels is not None and channels != weight[1] * group:
        raise ModelError(
            "the input has another number of channels than the weights",
            where=node.where,
            expected=weight[1] * group,
            found=channels,
        )
    return (None if x is None else x[0]), weight[0], out[0], out[1]


def require_rank(node: Node, x: Shape | None, rank: int) -> None:
    """Raise ModelError if the rank of ``x`` is known and another."""
    if x is not None and len(x) != rank:
        raise ModelError(
            "the input has another number of dimensions",
            where=node.where,
            expected=rank,
            found=f"shape {x}",
        )


def dense_shape(node: Node, x: Shape | None, weight: tuple[int, ...]) -> Shape:
    """Return ``[N, M]`` of a dense layer; raises ModelError if the shapes do not agree."""
    if x is not None and len(x) != 2:
        raise NotIntegerError(f"its input has {len(x)} dimensions")
    features = None if x is None else x[1]
    if features is not None and features != weight[0]:
        raise ModelError(
            "the input has another number of features than the weights",
            where=node.where,
            expected=weight[0],
            found=features,
        )
    return (None if x is None else x[0]), weight[1]


def add_shape(node: Node, a: Shape | None, b: Shape | None) -> Shape | None:
    """Return the shape of a sum of two equal shapes.

    Raises
    ------
    ModelError : shapes that do not agree
    NotIntegerError : a sum that repeats one of its inputs
    """
    if a is None or b is None:
        return a if b is None else b
    for left, right in zip(reversed(a), reversed(b), strict=False):
        if left is not None and right is not None and left != right and 1 not in (left, right):
            raise ModelError(
                "the inputs have different shapes", where=node.where, expected=a, found=b
            )
    merged = tuple(p if q is None else q for p, q in zip(a, b, strict=False))
    if len(a) != len(b) or any(None not in (p, q) and p != q for p, q in zip(a, b, strict=True)):
        raise NotIntegerError(f"it repeats an input to add shapes {a} and {b}")
    return merged


def reshape_shape(node: Node, x: Shape | None, constants: Constants) -> Shape:
    """Return the output shape of Flatten, Reshape, Squeeze or Unsqueeze.

    Raises
    ------
    ModelError : an axis out of range, another number of elements
    NotIntegerError : an output shape that is open beyond its first dimension
    """
    if node.op == "Reshape":
        target = constants.plain(node.input(1))
        if target is None:
            raise NotIntegerError("its shape is not a constant")
        return _reshape(node, x, [int(d) for d in target.reshape(-1)])
    if x is None:
        raise NotIntegerError("the shape of its input is open")
    if node.op == "Flatten":
        axis = node.int("axis", 1)
        axis = axis if axis == len(x) else check_axis(axis, len(x), f"{node.where}, axis")
        return _product(x[:axis]), _product(x[axis:])
    axes = node.ints("axes", ())
    if node.input(1):
        given = constants.plain(node.input(1))
        axes = () if given is None else tuple(int(a) for a in given.reshape(-1))
    return _unsqueeze(node, x, axes) if node.op == "Unsqueeze" else _squeeze(node, x, axes)


def _unsqueeze(node: Node, x: Shape, axes: tuple[int, ...]) -> Shape:
    rank = len(x) + len(axes)
    places = {check_axis(a, rank, f"{node.where}, axes") for a in axes}
    rest = iter(x)
    return tuple(1 if i in places else next(rest, 1) for i in range(rank))


def _squeeze(node: Node, x: Shape, axes: tuple[int, ...]) -> Shape:
    places = {check_axis(a, len(x), f"{node.where}, axes") for a in axes}
    if not axes:
        if None in x:
            raise NotIntegerError("it drops dimensions that the file leaves open")
        places = {i for i, d in enumerate(x) if d == 1}
    for place in places:
        if x[place] not in (1, None):
            raise ModelError(
                "Squeeze drops a dimension that is not 1", where=node.where, found=x[place]
            )
    return tuple(d for i, d in enumerate(x) if i not in places)


def _reshape(node: Node, x: Shape | None, target: list[int]) -> Shape:
    if min(target, default=0) < -1 or target.count(-1) > 1:
        raise ModelError("a shape may hold one -1", where=node.where, found=target)
    keep_zero = bool(node.int("allowzero", 0))
    out: list[int | None] = []
    for i, d in enumerate(target):
        if d == 0 and not keep_zero:
            if x is None or i >= len(x):
                raise NotIntegerError("its shape copies an open dimension")
            out.append(x[i])
        else:
            out.append(d)
    if x is None:
        return tuple(None if d == -1 else d for d in out)
    if -1 not in out:
        if None not in x and None not in out and _product(x) != _product(tuple(out)):
            raise ModelError(
                "Reshape changes the number of elements", where=node.where, expected=x, found=out
            )
        return tuple(out)
    return _solve(node, x, out)


def _solve(node: Node, x: Shape, out: list[int | None]) -> Shape:
    """Replace the -1 of a target shape; an open batch on both sides cancels."""
    place = out.index(-1)
    rest = [d for d in out if d != -1]
    have = list(x)
    if None in rest and None in have:
        rest.remove(None)
        have.remove(None)
    if None in rest or None in have:
        return tuple(None if i == place else d for i, d in enumerate(out))
    known = math.prod(d for d in rest if d is not None)
    total = math.prod(d for d in have if d is not None)
    if known == 0 or total % known:
        raise ModelError("Reshape cannot fill this shape", where=node.where, expected=x, found=out)
    return tuple(total // known if i == place else d for i, d in enumerate(out))


def _product(dims: Shape) -> int | None:
    known = [d for d in dims if d is not None]
    return math.prod(known) if len(known) == len(dims) else None
