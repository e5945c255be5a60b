"""A layer as a datapath whose parts can be changed one at a time: what a hypothesis re-runs.

A convolution, a dense layer and a global pool are one datapath: gather, multiply, add up, add the
bias, scale, round, saturate. It computes any places of its output alone, so that thousands of
changes can be tried. Unchanged it gives the integers of :func:`bitbybit.execution.engine.compute`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import Multiplier, Requantizer
from bitbybit.execution.engine import compute, params
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    GlobalPool,
    Layer,
    Operation,
    Quantize,
    QuantizedModel,
)

from .scheme import Scheme

Int64: TypeAlias = NDArray[np.int64]
Places: TypeAlias = AnyArray

Scaled: TypeAlias = "Callable[[Products, Int64, Any], AnyArray]"

CHUNK = 1 << 22
"""Taps that are gathered at once: memory does not grow with the image."""

FAR = np.float32(2**30)
"""Beyond every rail: rounding without saturation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Sums of products, and their way to codes.

    Attributes
    ----------
    x : ``[N, C, H, W]``, codes; w : ``[M, C/G, kH, kW]``, codes
    x_zero, w_zero : integers; w_zero ``[M]``
    b, late : int64 ``[M]``, added to the sums, and to the rounded output
    strides, begin, dilations, group : how the window moves; it begins ``begin`` before the image
    out : rows and columns of the output
    pad : the code of a tap outside the image
    fold : maps an index outside the image into it, None where ``pad`` is taken
    add_up : ``(taps [G, P, K], weights [G, K, M/G])`` to ``[G, P, M/G]``
    register : the accumulator with its bias, as it is kept
    x_scale, y_scale : float32; w_scale : float32 ``[1, M]``, or ``[rows, 1]``; of a pool the pixels
    y_zero : the zero point of the output, whose dtype is that of the codes
    zero : what is added after rounding, if it is the contract's
    pools : whether this is a pool
    scale : ``(self, acc [P, M], w_scale)`` to whole numbers, zero point included
    low, high : where the output saturates, None at the ends of its type
    wraps : whether the low byte is kept instead
    """

    x: AnyArray
    w: AnyArray
    x_zero: int
    w_zero: Int64
    b: Int64
    late: Int64 | int = 0
    strides: tuple[int, int] = (1, 1)
    begin: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    out: tuple[int, int] = (1, 1)
    pad: int
    fold: Callable[[Int64, int], Int64] | None = None
    add_up: Callable[[Int64, Int64], Int64]
    register: Callable[[Int64], Int64] = lambda acc: acc
    x_scale: Any
    w_scale: NDArray[np.float32]
    y_scale: Any
    y_zero: AnyArray
    zero: int
    pools: bool = False
    scale: Scaled
    low: int | None = None
    high: int | None = None
    wraps: bool = False

    def places(self) -> Places:
        """Return every place of the output: rows ``(n, y, x)``."""
        return np.indices((len(self.x), *self.out)).reshape(3, -1).T

    def at(self, values: AnyArray, places: Places) -> AnyArray:
        """Return the values ``[P, M]`` of an output-shaped array at some places."""
        n, y, x = places.T
        maps = values.reshape(len(self.x), *self.out, -1) if values.ndim != 4 else None
        return values[n, :, y, x] if maps is None else maps[n, y, x]

    def sums(self, places: Places) -> Int64:
        """Return the accumulators ``[P, M]`` of some places, as the register keeps them."""
        weights = self.w.astype(np.int64) - self.w_zero.reshape(-1, 1, 1, 1)
        weights = weights.reshape(self.group, len(self.w) // self.group, -1).swapaxes(1, 2)
        taps = self._taps(places).reshape(len(places), self.group, -1).swapaxes(0, 1)
        made = self.add_up(taps, weights).swapaxes(0, 1).reshape(len(places), len(self.w))
        return self.register(made + self.b)

    def codes(self, acc: Int64, places: Places) -> AnyArray:
        """Return what is stored for accumulators ``[P, M]``."""
        w_scale = self.w_scale
        if len(w_scale) > 1:  # one for each row of the image
            w_scale = w_scale[places[:, 1] % len(w_scale)]
        whole = self.scale(self, acc, w_scale) + np.int64(0) + self.late
        return stored(self, whole)

    def run(self, places: Places, tensor: str = "y") -> AnyArray:
        """Return codes, or accumulators, ``[P, M]`` of some places."""
        acc = self.sums(places)
        return self.codes(acc, places) if tensor == "y" else acc

    def chunks(self) -> Iterator[Places]:
        """Return all places in parts."""
        every = self.places()
        step = max(1, CHUNK // max(1, self.w[0].size * self.group))
        return (every[i : i + step] for i in range(0, len(every), step))

    def _taps(self, places: Places) -> Int64:
        """Gather ``x - x_zp`` under the window: ``[P, C, kH, kW]``."""
        inside: Any = True
        index = []
        for axis, at in enumerate(places.T[1:]):
            tap = np.arange(self.w.shape[2 + axis]) * self.dilations[axis] - self.begin[axis]
            where, size = at[:, None] * self.strides[axis] + tap, self.x.shape[2 + axis]
            if self.fold is not None:
                where = self.fold(where, size)
            good = (where >= 0) & (where < size)
            inside = inside & (good[:, :, None] if axis == 0 else good[:, None, :])
            index.append(np.clip(where, 0, size - 1))
        rows, columns = index[0][:, :, None], index[1][:, None, :]
        taps = self.x[places[:, 0, None, None], :, rows, columns].astype(np.int64)  # [P, kH, kW, C]
        taps = np.where(inside[..., None], taps, self.pad) - self.x_zero
        return np.asarray(taps.transpose(0, 3, 1, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Whole:
    """Any other layer: its operands, and what makes its output of them.

    Attributes
    ----------
    inputs : the values of the layer's edges
    make : the inputs to the output
    given : what a hypothesis may change of the operator, by name: scales, or attributes
    y_zero, low, high, wraps : as of :class:`Products`; y_zero is None of an output without codes
    """

    inputs: tuple[AnyArray, ...]
    make: Callable[..., AnyArray]
    given: dict[str, Any]
    y_zero: AnyArray | None = None
    low: int | None = None
    high: int | None = None
    wraps: bool = False

    def output(self) -> AnyArray:
        """Return the output."""
        made = np.asarray(self.make(*self.inputs, **self.given))
        return made if self.y_zero is None else stored(self, made)


Datapath: TypeAlias = Products | Whole


def stored(path: Datapath, whole: AnyArray) -> AnyArray:
    """Bring whole numbers to the type of the output: saturated, or their low byte."""
    dtype = np.asarray(path.y_zero).dtype
    if path.wraps:
        return whole.astype(dtype)
    info = np.iinfo(dtype)
    low = info.min if path.low is None else path.low
    high = info.max if path.high is None else path.high
    return np.asarray(np.clip(whole, low, high).astype(dtype))


def exact_sum(taps: Int64, weights: Int64) -> Int64:
    """Add up products; float64 holds every such sum below 2^53."""
    return np.asarray(np.matmul(taps.astype(float), weights.astype(float)).astype(np.int64))


def contract(path: Products, acc: Int64, w_scale: Any) -> AnyArray:
    """Scale and round as the contract does, to whole numbers that are not yet saturated."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = int32(acc).astype(np.float32) * multiplier(path, w_scale)
    real = np.where(np.isnan(real), -FAR, real)
    return np.asarray(arithmetic.clip_and_round(real, -FAR, FAR).astype(np.int64) + path.zero)


def multiplier(path: Products, w_scale: Any) -> NDArray[np.float32]:
    """Return output codes per accumulator unit."""
    if path.pools:
        return arithmetic.pool_multiplier(path.x_scale, path.y_scale, int(w_scale.item()))
    return arithmetic.conv_multiplier(path.x_scale, w_scale, path.y_scale)


def int32(acc: Int64) -> NDArray[np.int32]:
    """Keep the low 32 bits."""
    return acc.astype(np.int32)


def requantized(rule: Requantizer, own: Multiplier | None = None) -> Scaled:
    """Return what requantizes with another scheme, which saturates by itself."""

    def scale(path: Products, acc: Int64, w_scale: Any) -> AnyArray:
        if own is None:
            given = path.x_scale, w_scale, path.y_scale
            return rule(int32(acc), *given, path.y_zero)
        return rule.codes(int32(acc), own, path.y_zero, 1)

    return scale


def datapath(
    model: QuantizedModel, layer: Layer, inputs: Sequence[AnyArray], scheme: Scheme | None = None
) -> Datapath:
    """Return a layer with its operands as a datapath."""
    edges = [model.edges[name].params for name in (*layer.inputs, layer.name)]
    if isinstance(layer, (Conv, Dense, GlobalPool)) and all(
        p is not None and not p.per_channel for p in edges
    ):
        path = _products(model, layer, np.asarray(inputs[0]))
        if scheme is None or scheme.is_contract or path.pools:
            return path
        return replace(path, scale=requantized(scheme.rule, scheme.own.get(layer.name)))
    y, given = edges[-1], dict[str, Any]()
    y_zero = None if y is None or y.per_channel or y.dtype.itemsize > 1 else y.zero_point
    if layer.kind == "add" and None not in edges:
        names = [f"{name}_{part}" for name in "abc" for part in ("scale", "zero_point")]
        values = [value for p in edges if p is not None for value in (p.scale, p.zero_point)]
        given = dict(zip(names, values, strict=True))
        return Whole(inputs=tuple(inputs), make=_add, given=given, y_zero=y_zero)
    if isinstance(layer, Quantize) and y is not None and not y.per_channel:
        given = {"y_scale": y.scale, "y_zero_point": y.zero_point}
        return Whole(inputs=tuple(inputs), make=_quantize, given=given, y_zero=y_zero)
    if isinstance(layer, Operation):
        given = dict(layer.attributes)

    def make(*values: AnyArray, **attributes: Any) -> AnyArray:
        changed = replace(layer, attributes=attributes) if isinstance(layer, Operation) else layer
        return compute(model, changed, values)

    return Whole(inputs=tuple(inputs), make=make, given=given, y_zero=y_zero)


def _quantize(x: AnyArray, quantizer: Any = arithmetic.quantize_linear, **given: Any) -> AnyArray:
    return np.asarray(quantizer(x, given["y_scale"], given["y_zero_point"]))


def _add(a: AnyArray, b: AnyArray, adder: Any = arithmetic.qlinear_add, **given: Any) -> AnyArray:
    return np.asarray(
        adder(
            *(a, given["a_scale"], given["a_zero_point"]),
            *(b, given["b_scale"], given["b_zero_point"]),
            *(given["c_scale"], given["c_zero_point"]),
        )
    )


def _products(model: QuantizedModel, layer: Conv | Dense | GlobalPool, codes: AnyArray) -> Products:
    """Bring three kinds of layers into one form: a dense layer is a 1x1 convolution."""
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    if isinstance(layer, GlobalPool):
        n, c, *size = codes.shape
        codes = codes.reshape(n, c, *(size if len(size) == 2 else (math.prod(size), 1)))
        w, zeros = np.ones((c, 1, *codes.shape[2:]), np.int8), np.zeros(c, np.int64)
        window: dict[str, Any] = {"group": c}
        b, w_scale = np.zeros(c, np.int64), np.array([[math.prod(size)]], np.float32)
    else:
        p, m = params(layer.weight, layer), layer.weight.values.shape[isinstance(layer, Dense)]
        w, zeros = layer.weight.values, p.zero_point.astype(np.int64)
        zeros = np.broadcast_to(zeros.reshape(-1), (m,))
        b = np.zeros(m, np.int64) if layer.bias is None else layer.bias.values.astype(np.int64)
        w_scale = np.broadcast_to(p.scale.reshape(1, -1), (1, m))
        if isinstance(layer, Dense):
            codes, w, window = codes.reshape(-1, len(w), 1, 1), w.T[:, :, None, None], {}
        else:
            names = ("strides", "dilations", "group")
            window = {name: getattr(layer, name) for name in names}
            steps = layer.strides, layer.dilations, layer.pads
            out = arithmetic.window_output_size(codes.shape[2:], w.shape[2:], *steps)
            window |= {"begin": layer.pads[:2], "out": out}
    return Products(
        x=codes, w=w, x_zero=int(x.zero_point), w_zero=zeros, b=b.reshape(-1),
        pad=int(x.zero_point), add_up=exact_sum, x_scale=x.scale, w_scale=w_scale,
        y_scale=y.scale, y_zero=y.zero_point, zero=int(y.zero_point),
        pools=isinstance(layer, GlobalPool), scale=contract,
        **window,
    )  # fmt: skip
