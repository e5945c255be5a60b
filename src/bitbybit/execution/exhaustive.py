"""Where the inputs of a layer are finitely many: all of them, against ONNX Runtime.

All 65,536 pairs of a sum or product; all codes of DQ, of a look-up and of what is put side by side;
all codes of Q and all ties between them; all sums of a
global pool; and of a convolution or dense layer every accumulator that its weights can reach and
its output does not saturate. Where those are too many, both sides of every step of the output:
requantization never falls, so nothing can differ between two steps that agree. No image meets a
tie; so each such layer's zero point and rails are also tried with a scale that makes one of every
other accumulator.

An accumulator reaches the runtime as the bias of a 1x1 QLinearConv whose input is at its zero
point, and the engine as that of such a layer, once by its definition and once in its fast form. A
dense layer without a bias gets the weights and inputs that make the accumulator instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import params, trace, walk
from bitbybit.execution.feed import Feed
from bitbybit.execution.sessions import Session
from bitbybit.model import types
from bitbybit.model.costs import centred_rows
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel, QuantParams

CHUNK = 1 << 16
"""Accumulators of one call: their arrays fit the caches."""

SWEEP = 1 << 24
"""Accumulators of one layer that are all tried: 1 s."""

PIXELS = 400
"""Pixels of a global pool whose sums are all tried: one image of that size for each."""

Result = tuple[NDArray[Any], NDArray[Any], NDArray[np.int32] | None]
"""What the runtime says, what the engine says, and the accumulators."""


def all_inputs(model: QuantizedModel, layer: Layer, runtime: LayerRuntime) -> Iterator[Result]:
    """Yield a layer on all its inputs, in parts; nothing where they are too many.

    Parameters
    ----------
    model
        The network.
    layer
        One of its layers.
    runtime
        Its layers in ONNX Runtime.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run the layer.
    """
    if not _countable(model, layer):
        return
    if isinstance(layer, (Conv, Dense)) and model.edges[layer.name].params is not None:
        yield from _accumulators(model, layer)
    given = every_input(model, layer)
    if given:
        inputs = dict(zip(layer.inputs, given, strict=True))
        theirs = runtime.output(layer, inputs)
        yield theirs, _own(model, layer, inputs, theirs), None


def every_input(model: QuantizedModel, layer: Layer) -> tuple[AnyArray, ...]:
    """Return all inputs that a layer without weights can have, one array for each of its edges.

    Parameters
    ----------
    model
        The network.
    layer
        One of its layers.

    Returns
    -------
    All pairs of codes of a sum or product, ``[1, 1, 256, 256]``; all codes of a Dequantize, a
    look-up, and each edge of a Concat; all codes and ties of a Quantize; one image ``[1, H, W]``
    for each sum of a global pool. Nothing where they are too many, and of a layer of another kind.
    """
    edges = [model.edges[name] for name in (*layer.inputs, layer.name)]
    known = [edge.params for edge in edges if edge.params is not None]
    if not _countable(model, layer):
        return ()
    if isinstance(layer, (types.Add, types.Mul)) and all(p.dtype.itemsize == 1 for p in known):
        return _pairs(*known[:2], same=layer.inputs[0] == layer.inputs[1])
    if isinstance(layer, (types.Dequantize, types.Lookup, types.Concat)):
        axis = layer.attributes["axis"] if isinstance(layer, types.Concat) else 0
        rank = max(len(edges[0].shape) if axis else 1, axis + 1, -axis)
        codes = [_codes(params(edge, layer)) for edge in edges[:-1]]
        return tuple(values.reshape((1,) * (rank - 1) + (-1,)) for values in codes)
    if isinstance(layer, types.Quantize):
        return (_reals(params(edges[-1], layer)),)
    pixels = [size or 1 for size in edges[0].shape[2:] or (1, 1)]
    if isinstance(layer, types.GlobalPool) and math.prod(pixels) <= PIXELS:
        return (_sums(params(edges[0], layer), pixels),)
    return ()


def _countable(model: QuantizedModel, layer: Layer) -> bool:
    """Whether the codes of a layer are few enough to be gone through."""
    edges = (model.edges[name].params for name in (*layer.inputs, layer.name))
    return not any(p.per_channel or p.dtype.itemsize > 2 for p in edges if p is not None)


def _own(
    model: QuantizedModel,
    layer: Layer,
    inputs: dict[str, NDArray[Any]],
    theirs: NDArray[Any],
) -> NDArray[Any]:
    """Return what the engine makes of a layer: a value that is wrong in either form is shown."""
    shapes = {name: (None,) * values.ndim for name, values in inputs.items()}
    shapes[layer.name] = (None,) * theirs.ndim
    alone = replace(
        model,
        inputs=tuple(inputs),
        outputs=(layer.name,),
        layers=(layer,),
        edges={name: replace(model.edges[name], shape=shape) for name, shape in shapes.items()},
    )
    defined, fast = (form(alone, Feed(inputs))[layer.name] for form in (walk, trace))
    return np.where(defined == theirs, fast, defined)


def _codes(p: QuantParams) -> NDArray[Any]:
    return np.arange(p.qmin, p.qmax + 1).astype(p.dtype)


def _pairs(a: QuantParams, b: QuantParams, *, same: bool) -> tuple[AnyArray, AnyArray]:
    """Return all pairs of codes, as two tensors ``[1, 1, 256, 256]``; equal ones of one edge."""
    if same:
        return (_codes(a).reshape(1, 1, 1, -1),) * 2
    first, second = np.meshgrid(_codes(a), _codes(b), indexing="ij")
    return np.ascontiguousarray(first)[None, None], np.ascontiguousarray(second)[None, None]


def _sums(p: QuantParams, pixels: Sequence[int]) -> AnyArray:
    """Return one image of one channel for every sum that its pixels can have."""
    count = math.prod(pixels)
    totals = np.arange((p.qmax - p.qmin) * count + 1)[:, None]
    values = p.qmin + totals // count + (np.arange(count) < totals % count)
    return values.astype(p.dtype).reshape(-1, 1, *pixels)


def _reals(p: QuantParams) -> NDArray[np.float32]:
    """Return the real values of all codes, all ties between them, and their neighbours."""
    steps = np.arange(2 * (p.qmin - 2), 2 * (p.qmax + 2) + 1).astype(np.float32) / np.float32(2)
    with np.errstate(over="ignore", under="ignore"):
        exact = (steps - np.float32(p.zero_point)) * np.float32(p.scale)
        neighbours = [np.nextafter(exact, np.float32(end)) for end in (-np.inf, np.inf)]
    rest = np.array([np.nan, np.inf, -np.inf], np.float32)
    return np.concatenate([exact, *neighbours, rest]).astype(np.float32)


def _accumulators(model: QuantizedModel, layer: Conv | Dense) -> Iterator[Result]:
    """Sweep each output channel over its reachable, unsaturated accumulators."""
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    w = params(layer.weight, layer)
    requantize = _requantizer(x, w.dtype, y)

    def tried(acc: NDArray[np.int32], w_scale: Any) -> Result:
        theirs = requantize(acc, w_scale)
        like, codes = _with_accumulators(layer, x, w.dtype, acc, w_scale)
        shape = (1, -1, 1, 1) if isinstance(layer, Conv) else (len(codes), -1)
        own = _own(model, like, {layer.inputs[0]: codes}, theirs.reshape(shape))
        return theirs, own.reshape(-1), acc

    ends = zip(*reachable(layer, x), strict=True)
    w_scales = np.broadcast_to(w.scale, layer.weight.values.shape[isinstance(layer, Dense)])
    channels = [
        (*_unsaturated(int(low), int(high), arithmetic.conv_multiplier(x.scale, s, y.scale), y), s)
        for (low, high), s in zip(ends, w_scales, strict=True)
    ]
    sweep = sum(last + 1 - first for first, last, _ in channels) <= SWEEP
    for first, last, w_scale in channels:
        if not sweep or not _takes_bias(layer):
            yield tried(_steps(first, last, (x.scale, w_scale, y.scale), y.zero_point), w_scale)
            continue
        for begin in range(first, last + 1, CHUNK):
            acc = np.arange(begin, min(begin + CHUNK, last + 1)).astype(np.int32)
            yield tried(acc, w_scale)
    tie = _scale_of_ties(x.scale, y.scale)
    if tie is not None:
        low, high = arithmetic.code_range(y.zero_point)
        yield tried(np.arange(2 * low - 3, 2 * high + 4).astype(np.int32), tie)


def _takes_bias(layer: Conv | Dense) -> bool:
    """Whether the layer's operator has a bias: QLinearMatMul has none."""
    return isinstance(layer, Conv) or layer.bias is not None


def _with_accumulators(
    layer: Conv | Dense,
    x: QuantParams,
    w_dtype: np.dtype[Any],
    acc: NDArray[np.int32],
    scale: Any,
) -> tuple[Conv | Dense, NDArray[Any]]:
    """Return a layer of the same operator, and inputs for which it makes these accumulators."""
    middle = np.asarray(128 if w_dtype.kind == "u" else 0, w_dtype)
    if _takes_bias(layer):
        weight, codes = np.zeros(len(acc), np.int64), x.zero_point.reshape(1, 1)
    else:
        weight, centred = _factors(acc.astype(np.int64), arithmetic.code_range(x.zero_point))
        codes = (centred + x.zero_point.astype(np.int64)).astype(x.dtype)
    values = (weight + int(middle)).astype(w_dtype)
    tensor = types.QuantizedTensor(
        "", values.reshape(codes.shape[1], -1), QuantParams(scale, middle)
    )
    bias = types.QuantizedTensor("", acc) if _takes_bias(layer) else None
    if isinstance(layer, Dense):
        return Dense(layer.name, layer.inputs, tensor, bias), codes
    pixel = replace(tensor, values=values.reshape(-1, 1, 1, 1))
    return Conv(layer.name, layer.inputs, pixel, bias), codes.reshape(1, 1, 1, 1)


def _factors(
    acc: NDArray[np.int64], x_range: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write sums as products: weights ``[2k]``, first all positive, and inputs ``[len(acc), 2k]``.

    The inputs have one sign, that of the larger end of their range: at least 128.
    """
    side = -1 if -x_range[0] > x_range[1] else 1
    largest = max(-x_range[0], x_range[1])
    size = np.abs(acc)
    count = int(size.max(initial=0)) // (127 * largest) + 1
    whole, rest = np.divmod(size, 127)
    parts = np.clip(whole[:, None] - largest * np.arange(count), 0, largest)
    digits = np.concatenate([parts, rest[:, None]], axis=1)
    signs = np.sign(acc)[:, None] * side
    weight = np.array([127] * count + [1])
    return np.concatenate([weight, -weight]), side * np.concatenate(
        [digits * (signs > 0), digits * (signs < 0)], axis=1
    )


def _unsaturated(first: int, last: int, multiplier: Any, y: QuantParams) -> tuple[int, int]:
    """Shorten a range of accumulators to those between the rails, and one step beyond each."""
    if not 0 < float(multiplier) < np.inf:
        return first, last
    low, high = (rail / float(multiplier) for rail in arithmetic.code_range(y.zero_point))
    info = np.iinfo(np.int32)
    first = max(first, int(np.floor(max(low, float(info.min)))) - 1)
    last = min(last, int(np.ceil(min(high, float(info.max)))) + 1)
    return first, max(first, last)


def _steps(first: int, last: int, scales: tuple[Any, Any, Any], zero: Any) -> NDArray[np.int32]:
    """Return the ends of a range, and the accumulators on both sides of each step of the output."""
    factor = arithmetic.conv_multiplier(*scales)
    info = np.iinfo(zero.dtype)
    codes = np.arange(info.min, info.max)
    below, above = np.full(len(codes), first), np.full(len(codes), last)
    while (above - below > 1).any():  # below: code <= codes; above: code > codes, or the end
        middle = (below + above) // 2
        is_below = arithmetic.requantize(middle.astype(np.int32), factor, zero) <= codes
        below, above = np.where(is_below, middle, below), np.where(is_below, above, middle)
    return np.unique([first, last, *below, *above]).astype(np.int32)


def _scale_of_ties(x_scale: Any, y_scale: Any) -> np.float32 | None:
    """Return a weight scale whose multiplier is an odd number of halves, None if there is none."""
    for halves in (1, 3, 5, 7):
        with np.errstate(over="ignore", under="ignore"):
            near = np.float32(halves / 2) * np.float32(y_scale) / np.float32(x_scale)
        if not 0 < near < np.inf:
            return None
        for scale in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(9e9))):
            if arithmetic.conv_multiplier(x_scale, scale, y_scale) == halves / 2:
                return np.float32(scale)
    return None


def reachable(layer: Conv | Dense, x: QuantParams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smallest and the largest accumulator of each output channel, bias included.

    Parameters
    ----------
    layer
        A convolution or dense layer.
    x
        The parameters of its input.

    Returns
    -------
    Two int64 arrays ``[M]``, within int32.
    """
    bias = 0 if layer.bias is None else layer.bias.values
    x_range = arithmetic.code_range(x.zero_point)
    low, high = arithmetic.sum_interval(centred_rows(layer), x_range, bias)
    info = np.iinfo(np.int32)
    return np.clip(low, info.min, info.max), np.clip(high, info.min, info.max)


def _requantizer(
    x: QuantParams, w_dtype: np.dtype[Any], y: QuantParams
) -> Callable[[NDArray[np.int32], Any], AnyArray]:
    """Return what makes codes of accumulators and a weight scale in ONNX Runtime.

    It is a 1x1 QLinearConv, all of whose operands are inputs: weights of zero, whose biases are
    the accumulators.
    """
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        requantize (
            {x.dtype}[] x, float[] xs, {x.dtype}[] xz, {w_dtype}[] w, float[] ws, {w_dtype}[] wz,
            float[] ys, {y.dtype}[] yz, int32[] acc
        ) => ({y.dtype}[] y) {{ y = QLinearConv (x, xs, xz, w, ws, wz, ys, yz, acc) }}
    """)
    session = Session(model.SerializeToString())
    operands = {"x": x.zero_point.reshape(1, 1, 1, 1), "xs": x.scale, "xz": x.zero_point}
    operands |= {"wz": np.zeros((), w_dtype), "ys": y.scale, "yz": y.zero_point}

    def requantize(acc: NDArray[np.int32], w_scale: Any) -> AnyArray:
        weights = np.zeros((len(acc), 1, 1, 1), w_dtype)
        scales = np.full(len(acc), w_scale, np.float32)
        given = {**operands, "w": weights, "ws": scales, "acc": acc}
        return session.run(given)[0].reshape(-1)

    return requantize
