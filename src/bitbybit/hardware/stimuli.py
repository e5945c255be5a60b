"""Stimuli for one layer alone: directed codes, and hazards that images miss.

A hazard of a convolution or dense layer is a sum at which something may go wrong: the ends of its
range, both sides of both rails, ties, and sums on which another scheme of requantization gives
another code. The weights are what they are, so codes of the input are searched that make the sum:
the largest weights bring it near, the smallest make it exact. Windows that do not overlap get a
sum each, those at the borders too. What was reached is counted afterwards, from the accumulators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import REQUANTIZERS, thresholds
from bitbybit.errors import BitbybitError
from bitbybit.execution.exhaustive import every_input, reachable
from bitbybit.hardware.matrices import rows_of
from bitbybit.model.costs import centred_rows
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Layer,
    Quantize,
    QuantizedModel,
    QuantParams,
)

SPREAD = 8
"""Sums of one hazard in one layer, over its channels."""

MOST = 256
"""Images of one layer's hazards."""

Int64 = NDArray[np.int64]


class Target(NamedTuple):
    """A sum that one element of the output shall have.

    Attributes
    ----------
    hazard : what is interesting about it
    channel : output channel
    acc : the accumulator, bias included
    image, pixel : where it was placed; -1 where no input was found
    """

    hazard: str
    channel: int
    acc: int
    image: int = -1
    pixel: int = -1


PATTERNS = (
    "all-qmin", "all-qmax", "all-zero-point", "checkerboard", "inverse-checkerboard",
    "one-hot-first", "one-hot-middle", "one-hot-last", "ramp", "noise",
)  # fmt: skip


def directed(p: QuantParams, shape: Sequence[int]) -> AnyArray:
    """Return codes of each of :data:`PATTERNS` for one input of a layer.

    Parameters
    ----------
    p
        The input's parameters, per tensor.
    shape
        Of one image.

    Returns
    -------
    dtype of the codes, ``[10, *shape]``
    """
    size, zero = math.prod(shape), int(p.zero_point)
    parity = np.indices(shape).sum(axis=0) % 2 if len(shape) else np.zeros((), int)
    found = [np.full(shape, value) for value in (p.qmin, p.qmax, zero)]
    found += [np.where(parity == odd, p.qmax, p.qmin) for odd in (0, 1)]
    middle = int(np.ravel_multi_index([n // 2 for n in shape], shape)) if shape else 0
    for place in (0, middle, size - 1):
        image = np.full(size, zero)
        image[place] = p.qmax if p.qmax != zero else p.qmin
        found.append(image.reshape(shape))
    found.append((np.arange(size) % (p.qmax - p.qmin + 1) + p.qmin).reshape(shape))
    found.append(np.random.default_rng(size).integers(p.qmin, p.qmax, shape, endpoint=True))
    return np.stack(found).astype(p.dtype)


def directed_inputs(
    model: QuantizedModel, layer: Layer, shapes: Sequence[Sequence[int]]
) -> list[AnyArray]:
    """Return :func:`directed` for each input of a layer; nothing where an input has no codes.

    A Quantize gets the real values of its output's codes.
    """
    made = [model.edges[name].params for name in layer.inputs]
    if isinstance(layer, Quantize):
        made = [model.edges[layer.name].params]
    found = []
    for p, shape in zip(made, shapes, strict=True):
        if p is None or p.per_channel:
            return []
        codes = directed(p, shape)
        if isinstance(layer, Quantize):
            codes = arithmetic.dequantize_linear(codes, p.scale, p.zero_point)
        found.append(codes)
    return found


def hazard_inputs(
    model: QuantizedModel, layer: Layer, shapes: Sequence[Sequence[int]], most: int = MOST
) -> tuple[list[AnyArray], list[Target]]:
    """Return inputs that bring a layer to its hazards, and what each was made for.

    Parameters
    ----------
    model
        The network.
    layer
        One of its layers.
    shapes
        Of one image, for each input.
    most
        Images, at most: the rarest hazards come first.

    Returns
    -------
    One array ``[N, ...]`` per input, and targets; of an addition all pairs of codes, of a global
    pool all sums, of a Quantize all ties, without targets. Nothing for other layers.
    """
    x, y = (model.edges[name].params for name in (layer.inputs[0], layer.name))
    if not isinstance(layer, (Conv, Dense)):
        every = every_input(model, layer)
        found = [] if len({*map(tuple, shapes)}) > 1 else _images(every, shapes)
        return [images[:most] for images in found], []
    known = x is not None and y is not None and not x.per_channel and layer.weight.params
    if not known or x is None or y is None or x.dtype.itemsize > 1 or y.dtype.itemsize > 1:
        return [], []
    return _placed(layer, x, list(_wanted(layer, x, y)), (most, *shapes[0]))


def _images(every: Sequence[AnyArray], shapes: Sequence[Sequence[int]]) -> list[AnyArray]:
    """Return values element by element, or a pool's images channel by channel, as whole images."""
    found = []
    for values, shape in zip(every, shapes, strict=len(every) > 0):
        pooled = len(values) > 1 and values.shape[2:] == tuple(shape[1:]) and values.ndim > 2
        parts = values.reshape(len(values), -1) if pooled else values.reshape(-1, 1)
        size = math.prod(shape) // parts.shape[1]
        fill = np.repeat(parts[-1:], -len(parts) % size, axis=0)
        found.append(np.concatenate([parts, fill]).reshape(-1, *shape))
    return found


def _wanted(layer: Conv | Dense, x: QuantParams, y: QuantParams) -> Iterator[Target]:
    """Yield the hazards of a layer within what its weights can reach: the rarest first."""
    low, high = reachable(layer, x)
    steps = {
        name: found for name in REQUANTIZERS if (found := _steps(name, layer, x, y)) is not None
    }
    first = steps.pop("contract", None)
    if first is None or layer.weight.params is None:
        return
    for name, other in steps.items():
        rows, columns = np.nonzero(first != other)
        for row, column in _spread(rows, columns, SPREAD):
            yield Target(name, row, int(min(first[row, column], other[row, column])))
    m = arithmetic.conv_multiplier(x.scale, layer.weight.params.scale, y.scale)
    near = np.stack([first - 1, first], axis=-1).reshape(len(first), -1)
    near = np.clip(near, low[:, None], high[:, None])
    real = near.astype(np.float32) * m.reshape(-1, 1)
    off = np.abs(real - np.floor(real) - np.float32(0.5))
    rows, columns = np.nonzero(off == 0)
    for row, column in _spread(rows, columns, 4 * SPREAD):
        yield Target("tie", row, int(near[row, column]))
    for row in range(len(first)):
        yield Target("nearest to a tie", row, int(near[row, np.argmin(off[row])]))
        for hazard, step in (("lower rail", first[row, 0]), ("upper rail", first[row, -1])):
            if low[row] < step <= high[row]:
                yield Target(hazard, row, int(step) - 1)
                yield Target(hazard, row, int(step))
        yield Target("smallest sum", row, int(low[row]))
        yield Target("largest sum", row, int(high[row]))


def _steps(name: str, layer: Conv | Dense, x: QuantParams, y: QuantParams) -> Int64 | None:
    """Return the first sum of each code under a scheme, ``[M, 255]``, None where it has none."""
    rule, w = REQUANTIZERS[name], layer.weight.params
    low, high = reachable(layer, x)
    if w is None:
        return None
    try:
        scale = np.broadcast_to(w.scale, low.shape)
        m = rule.multiplier(x.scale, scale, y.scale, y.zero_point)
        return thresholds(lambda acc: rule.codes(acc, m, y.zero_point, 0), low, high, y.dtype)
    except BitbybitError:
        return None


def _spread(rows: Int64, columns: Int64, count: int) -> Iterator[tuple[int, int]]:
    """Yield some of many places, evenly."""
    for place in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)):
        yield int(rows[place]), int(columns[place])


def _placed(
    layer: Conv | Dense, x: QuantParams, wanted: list[Target], batch: tuple[int, ...]
) -> tuple[list[AnyArray], list[Target]]:
    """Return images with a window for each target, and the targets with their places."""
    most, *shape = batch
    numbers = rows_of(layer, np.arange(math.prod(shape)).reshape(1, *shape), -1)  # [G, V, K]
    weights, bias = centred_rows(layer), np.zeros(1, np.int64)
    if layer.bias is not None:
        bias = layer.bias.values.astype(np.int64)
    bias = np.broadcast_to(bias, len(weights))
    per_group = len(weights) // len(numbers)
    x_range = arithmetic.code_range(x.zero_point)
    slots = _slots(layer, numbers.shape[1], tuple(shape))
    ends: dict[bytes, tuple[Int64, Int64]] = {}
    left, placed = list(wanted), list[Target]()
    for image in range(most):
        before = len(left)
        for pixel in slots(image):
            inside = numbers[:, pixel] >= 0  # [G, K]
            if inside.tobytes() not in ends:
                rows = weights * np.repeat(inside, per_group, axis=0)
                ends[inside.tobytes()] = arithmetic.sum_interval(rows, x_range, bias)
            low, high = ends[inside.tobytes()]
            fits = (low[t.channel] <= t.acc <= high[t.channel] for t in left)
            place = next((i for i, fitting in enumerate(fits) if fitting), None)
            if place is not None:
                placed.append(left.pop(place)._replace(image=image, pixel=pixel))
        if not left or (len(left) == before and image >= len(ends)):
            break
    count = 1 + max((target.image for target in placed), default=-1)
    if not count:
        return [], wanted
    rng = np.random.default_rng(count)
    codes = rng.integers(x.qmin, x.qmax, (count, math.prod(shape)), endpoint=True)
    taps = np.stack([numbers[t.channel // per_group, t.pixel] for t in placed])
    rows = np.stack([weights[t.channel] for t in placed]) * (taps >= 0)
    sums = np.array([t.acc - bias[t.channel] for t in placed])
    found = _solved(rows, sums, x_range) + int(x.zero_point)
    for target, where, values in zip(placed, taps, found, strict=True):
        codes[target.image, where[where >= 0]] = values[where >= 0]
    return [codes.reshape(count, *shape).astype(x.dtype)], placed + left


def _slots(layer: Conv | Dense, pixels: int, shape: tuple[int, ...]) -> Any:
    """Return which output pixels of an image have windows that share no input pixel."""
    if isinstance(layer, Dense):
        return lambda _: range(pixels)
    kernel, strides = layer.weight.values.shape[2:], layer.strides
    steps = [
        -(-((k - 1) * d + 1) // s) for k, d, s in zip(kernel, layer.dilations, strides, strict=True)
    ]
    sizes = arithmetic.window_output_size(shape[1:], kernel, strides, layer.dilations, layer.pads)

    def slots(image: int) -> list[int]:
        begin = image % steps[0], image // steps[0] % steps[1]
        rows, columns = (range(b, n, s) for b, n, s in zip(begin, sizes, steps, strict=True))
        return [i * sizes[1] + j for i in rows for j in columns]

    return slots


def _solved(weights: Int64, sums: Int64, x_range: tuple[int, int]) -> Int64:
    """Return ``x`` within ``x_range`` with ``weights @ x = sums``, row by row, where one is found.

    From the largest weight to the smallest, each tap leaves what lies in the middle of what the
    taps behind it can make; rows that miss are tried again with another aim.
    """
    order = np.argsort(-np.abs(weights), axis=1, kind="stable")
    w = np.take_along_axis(weights, order, axis=1)
    ends = np.sort(np.stack([w * x_range[0], w * x_range[1]]), axis=0)
    behind = [np.cumsum(end[:, ::-1], axis=1)[:, ::-1] - end for end in ends]
    found, rng = np.zeros_like(w), np.random.default_rng(len(w))
    missing = np.arange(len(w))
    for attempt in range(max(6, 2000 // max(w.shape[1], 1))):
        rest, tried = sums[missing].copy(), np.zeros_like(w[missing])
        for k in range(w.shape[1]):
            low, high = (end[missing, k] for end in behind)
            aim = (low + high) / 2 + (high - low) * (attempt and rng.uniform(-0.4, 0.4))
            divisor = np.where(w[missing, k] == 0, 1, w[missing, k])
            x = np.clip(np.rint((rest - aim) / divisor).astype(np.int64), *x_range)
            tried[:, k] = np.where(w[missing, k] == 0, 0, x)
            rest -= w[missing, k] * tried[:, k]
        found[missing] = tried
        missing = missing[rest != 0]
        if not len(missing):
            break
    result = np.zeros_like(found)
    np.put_along_axis(result, order, found, axis=1)
    return result
