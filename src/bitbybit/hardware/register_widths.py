"""How wide must an accumulator be? Four numbers for each layer, and inputs that attain them.

Bounds by types and by weights, the exact interval, and what given inputs reach. A *witness* is an
input of one layer for which a sum attains an end of its interval: whoever doubts the interval runs
it. Other layers need not be able to make such an input; an image that does so may not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import accumulate, compute, params, stream
from bitbybit.execution.feed import Input
from bitbybit.execution.runtime import platform_problem
from bitbybit.hardware.matrices import input_rows, layer_sums, matrix_layer, packed_weights
from bitbybit.model.costs import Bounds, bounds
from bitbybit.model.types import AnyArray, Conv, GlobalPool, Layer, QuantizedModel, QuantParams

BATCH = 16
"""Images of one trace: sums are computed by their definition, which takes memory."""

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Witness:
    """Codes of one window for which a sum attains an end of its exact interval.

    Attributes
    ----------
    channel : output channel
    value : the sum, bias included
    codes : ``[K]``, dtype of the layer's input, in the order of the channel's weights; of a global
        pool ``[1]``: the code of every pixel
    place : row and column of the output where the window lies inside the input; () of a dense layer
    padded : taps that lie on padding at every place, because the input is too small: they hold the
        zero point, and the value is the most extreme that is left
    """

    channel: int
    value: int
    codes: AnyArray
    place: tuple[int, ...]
    padded: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Width:
    """What one layer's accumulators can reach, and what they reached.

    Attributes
    ----------
    layer : the layer
    x : the parameters of its input
    bounds : by types, by weights and exact, per channel
    low, high : inputs that attain the smallest and the largest sum of all channels
    observed : the smallest and the largest sum of each channel on the given inputs, int64 ``[M]``
        each; None where none were given
    """

    layer: Layer
    x: QuantParams
    bounds: Bounds
    low: Witness
    high: Witness
    observed: tuple[Int64, Int64] | None = None

    @property
    def bits(self) -> dict[str, int | None]:
        """Signed bits over all channels: ``types``, ``weights``, ``exact``, ``observed``."""
        all_channels, seen = self.bounds.over_all_channels, None
        if self.observed is not None:
            low, high = self.observed
            seen = arithmetic.signed_width(int(low.min()), int(high.max()))
        return {
            "types": all_channels.type_bits,
            "weights": all_channels.weight_bits,
            "exact": all_channels.bits,
            "observed": seen,
        }


def widths(model: QuantizedModel, inputs: Input | None = None) -> tuple[Width, ...]:
    """Bound the accumulators of every layer that has one, in graph order.

    Parameters
    ----------
    model
        The network.
    inputs
        Values of its inputs, as :func:`~bitbybit.execution.engine.trace` takes them; by default
        none, and nothing is run.

    Raises
    ------
    UnsupportedError
        The network has no layer that sums integers, or no bound of one fits 64 bits.
    DataError
        The inputs do not fit the network.
    """
    found = [(layer, limits) for layer in model.layers if (limits := bounds(model, layer))]
    if not found:
        raise UnsupportedError(
            "no layer sums integers, so there is no accumulator to bound",
            where=model.path.name,
            expected="a convolution, dense or global pooling layer on integers",
            found=f"form {model.form}, layers of kind "
            + ", ".join(sorted({layer.kind for layer in model.layers}) or ["none"]),
            next_step="Quantize the network first: `bitbybit inspect` says what each layer is.",
        )
    seen = {} if inputs is None else _observed(model, [layer.name for layer, _ in found], inputs)
    return tuple(_width(model, layer, limits, seen.get(layer.name)) for layer, limits in found)


def _width(
    model: QuantizedModel, layer: Layer, limits: Bounds, seen: tuple[Int64, Int64] | None
) -> Width:
    edge = model.edges[layer.inputs[0]]
    assert edge.params is not None  # noqa: S101 (a layer with bounds reads codes)
    low, high = (_witness(layer, limits, edge.params, edge.shape, end) for end in (0, 1))
    return Width(layer=layer, x=edge.params, bounds=limits, low=low, high=high, observed=seen)


def _observed(
    model: QuantizedModel, names: Sequence[str], inputs: Input
) -> dict[str, tuple[Int64, Int64]]:
    """Return the smallest and the largest sum of each channel of some layers."""
    found: dict[str, tuple[Int64, Int64]] = {}
    for traced in stream(model, inputs, BATCH):
        for name in names:
            sums = traced.accumulator(name).astype(np.int64)
            others = (0, *range(2, sums.ndim))
            low, high = sums.min(axis=others), sums.max(axis=others)
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = low, high
    return found


Place = tuple[int, NDArray[np.bool_]]
"""An output row or column, and which taps of its window lie inside the input."""


def _witness(
    layer: Layer, limits: Bounds, x: QuantParams, shape: Sequence[int | None], end: int
) -> Witness:
    """Find the window whose sum is smallest (end 0) or largest (end 1)."""
    extreme: tuple[Callable[..., Any], ...] = (np.argmin, np.argmax)
    windows: list[tuple[tuple[int, ...], NDArray[np.bool_]]] = [((), np.ones(1, np.bool_))]
    if isinstance(layer, GlobalPool):
        windows = [((0, 0), np.ones(1, np.bool_))]
    elif isinstance(layer, Conv):
        rows, columns = (_places(layer, axis, shape) for axis in (0, 1))
        windows = [((i, j), np.outer(a, b).ravel()) for (i, a), (j, b) in product(rows, columns)]
    sums = []
    for _, inside in windows:
        taps = limits.weights * np.resize(inside, limits.weights.shape[1:])
        sums.append(arithmetic.sum_interval(taps, limits.x_range, limits.bias)[end])
    at, channel = divmod(int(extreme[end](sums)), len(sums[0]))
    place, inside = windows[at]
    centred = arithmetic.interval_inputs(limits.weights[[channel]], limits.x_range)[end][0]
    codes = np.resize(inside, centred.shape) * centred + x.zero_point.astype(np.int64)
    missing = limits.weights.shape[1] // inside.size * int(np.count_nonzero(~inside))
    return Witness(
        channel=channel,
        value=int(sums[at][channel]),
        codes=codes.astype(x.dtype),
        place=place,
        padded=missing,
    )


def _places(layer: Conv, axis: int, shape: Sequence[int | None]) -> list[Place]:
    """Return the first place without padding along an axis, or one place of each kind."""
    size = shape[2 + axis] if shape else None
    kernel, stride = layer.weight.values.shape[2 + axis], layer.strides[axis]
    before, after = layer.pads[axis], layer.pads[axis + 2]
    taps = np.arange(kernel) * layer.dilations[axis]
    first = -(-before // stride)
    if size is None or first * stride - before + taps[-1] < size:
        return [(first, np.ones(kernel, np.bool_))]
    last = min((size + before + after - int(taps[-1]) - 1) // stride, (size + before) // stride)
    kinds: dict[bytes, Place] = {}
    for i in range(max(0, (before - int(taps[-1])) // stride), last + 1):
        at = i * stride - before + taps
        inside = (at >= 0) & (at < size)
        kinds.setdefault(inside.tobytes(), (i, inside))
    return list(kinds.values())


def witness_input(
    model: QuantizedModel, layer: Layer, witness: Witness
) -> tuple[AnyArray, tuple[int, ...]]:
    """Put a witness into an input of its layer.

    Parameters
    ----------
    model, layer
        The network, and the layer that the witness is of.
    witness
        From :func:`widths`.

    Returns
    -------
    The layer's input, a batch of one in ONNX layout, as small as holds the window; all other
    codes are the zero point. And the place of the sum in the layer's output.
    """
    edge = model.edges[layer.inputs[0]]
    index = (0, witness.channel, *witness.place)
    if isinstance(layer, GlobalPool):
        shape = [1 if size is None else size for size in (1, *edge.shape[1:])]
        return np.full(shape, witness.codes[0]), index
    if not isinstance(layer, Conv):
        return witness.codes[None], index
    m, depth, *kernel = layer.weight.values.shape
    starts, taps, sizes = [], [], []
    for axis in (0, 1):
        start = witness.place[axis] * layer.strides[axis] - layer.pads[axis]
        tap = np.arange(kernel[axis]) * layer.dilations[axis]
        needed, size = start + int(tap[-1]) + 1, edge.shape[2 + axis] if edge.shape else None
        starts.append(start)
        taps.append(tap)
        sizes.append(needed if size is None or (start >= 0 and needed <= size) else size)
    zero = edge.params.zero_point if edge.params is not None else 0
    x = np.full((1, depth * layer.group, *sizes), zero, witness.codes.dtype)
    first = witness.channel // (m // layer.group) * depth
    window = witness.codes.reshape(depth, *kernel)
    inside = [
        np.flatnonzero((start + tap >= 0) & (start + tap < size))
        for start, tap, size in zip(starts, taps, sizes, strict=True)
    ]
    rows, columns = (s + t[i] for s, t, i in zip(starts, taps, inside, strict=True))
    x[0, first : first + depth, rows[:, None], columns] = window[
        :, inside[0][:, None], inside[1]
    ].transpose(1, 2, 0)
    return x, index


@dataclass(frozen=True, kw_only=True)
class Run:
    """A witness, run.

    Attributes
    ----------
    layer, end : canonical name, and "low" or "high"
    value : the sum that it shall give
    engine : the engine's accumulator
    runtime : that of ConvInteger or MatMulInteger in ONNX Runtime; None where neither can show it,
        or ONNX Runtime was not asked
    codes_equal : whether the layer's own nodes in ONNX Runtime give the engine's output code
    """

    layer: str
    end: str
    value: int
    engine: int
    runtime: int | None
    codes_equal: bool

    @property
    def attained(self) -> bool:
        """Whether all agree; int32 accumulators wrap."""
        right = int(arithmetic.wrapped(np.array(self.value), 32))
        return self.codes_equal and self.engine == right and self.runtime in {None, right}

    def __str__(self) -> str:
        return (
            f"{self.layer}: its witness {self.end} gives {self.engine} in the engine and "
            f"{self.runtime} in ONNX Runtime instead of {self.value}"
        )


def run_witnesses(model: QuantizedModel, found: Sequence[Width]) -> Iterator[Run]:
    """Run both witnesses of each layer, by the engine and by the layer's own nodes in ONNX Runtime.

    ONNX Runtime is asked where this CPU has what it needs to be exact
    (``execution.runtime.platform_problem``).

    Parameters
    ----------
    model
        The network, as loaded from a file.
    found
        From :func:`widths`.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run a layer.
    """
    runtime = None if platform_problem(model) else LayerRuntime(model)
    for width in found:
        for end, witness in (("low", width.low), ("high", width.high)):
            layer = width.layer
            x, index = witness_input(model, layer, witness)
            code, sums, theirs = compute(model, layer, [x]), None, None
            if runtime is not None:
                values = {layer.inputs[0]: x}
                theirs = runtime.output(layer, values)
                with suppress(UnsupportedError):  # weights whose zero points differ
                    sums = runtime.accumulator(layer, values)
                if theirs.size != code.size:  # the file's SAME padding follows the witness's size
                    theirs = sums = None
            yield Run(
                layer=layer.name,
                end=end,
                value=witness.value,
                engine=int(accumulate(model, layer, [x])[index]),
                runtime=None if sums is None else int(sums.reshape(code.shape)[index]),
                codes_equal=theirs is None or np.array_equal(theirs.reshape(code.shape), code),
            )


def saturating_sums(
    model: QuantizedModel, layer: Layer, x: AnyArray, bits: int
) -> NDArray[np.int32]:
    """Sum as a register does that saturates after each product, not only at the end.

    It begins with the bias; the products follow in the order of the weights: input channel, row and
    column of the kernel. Another order gives other sums.

    Parameters
    ----------
    model, layer
        The network; a convolution, dense or global pooling layer.
    x : codes of the layer's input, in ONNX layout
    bits
        Of the register, 1 to 32.

    Returns
    -------
    int32, shape of the layer's output

    Raises
    ------
    UnsupportedError
        The layer has no accumulator.
    """
    if isinstance(layer, GlobalPool):
        centred = arithmetic.centred(x, params(model.edges[layer.inputs[0]], layer).zero_point)
        rows = centred.reshape(1, -1, np.prod(x.shape[2:], dtype=int))
        sums = _saturating(rows[0], np.ones((rows.shape[2], 1), np.int64), np.zeros(1), bits)
        return sums.reshape(*x.shape[:2], 1, 1)
    product_layer = matrix_layer(layer)
    weights, rows = packed_weights(product_layer), input_rows(model, product_layer, x)
    bias = product_layer.bias
    starts = np.zeros(weights[:, 0].size) if bias is None else bias.values
    sums = np.stack(
        [
            _saturating(*parts, bits)
            for parts in zip(rows, weights, starts.reshape(len(weights), -1), strict=True)
        ]
    )
    return layer_sums(replace(product_layer, bias=None), sums, x.shape)


def _saturating(rows: Int64, weights: Int64, starts: AnyArray, bits: int) -> NDArray[np.int32]:
    """Add ``rows[:, k] * weights[k]`` for one k after the other; ``[V, K]`` times ``[K, M]``."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    largest = int(np.abs(rows).max(initial=0)) * int(np.abs(weights).max(initial=0))
    fits = max(-low, int(np.abs(starts).max(initial=0))) + largest < 2**31
    dtype = np.int32 if fits else np.int64
    acc = np.repeat(np.clip(starts, low, high).astype(dtype)[:, None], len(rows), axis=1)
    inputs, factors = np.ascontiguousarray(rows.T, dtype), weights.astype(dtype)
    one_product = np.empty_like(acc)
    for x, w in zip(inputs, factors, strict=True):
        np.multiply(w[:, None], x, out=one_product)
        np.add(acc, one_product, out=acc)
        np.clip(acc, low, high, out=acc)
    return np.asarray(acc.T.astype(np.int32))
