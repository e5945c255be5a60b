"""The whole network with another register, another requantizer, adder or average.

What does a shortcut of the hardware cost? Sums of products come from the exact fast form where
there is one; what follows is computed by the parts that are given, layer after layer, so that a
wrong code goes on through the network as it would on the chip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic import FastAdd, FastConv, Interleaved
from bitbybit.arithmetic.alternatives import AVERAGES, Adder
from bitbybit.arithmetic.requantizers import REQUANTIZERS, Requantizer
from bitbybit.execution import engine
from bitbybit.execution.engine import Instead, Source, Trace
from bitbybit.execution.feed import Input
from bitbybit.model.types import Add, AnyArray, Conv, Dense, GlobalPool, Layer, QuantizedModel

Int32: TypeAlias = NDArray[np.int32]
Register: TypeAlias = Callable[[Layer, Int32], Int32]
"""A layer and its int32 sums, elements in any order, to what the register holds of each."""

Form: TypeAlias = Callable[[Sequence[Source]], Source]
"""The values of a layer's inputs to those of its output."""


class Parts(TypedDict, total=False):
    """What is computed otherwise; a part that is missing, or None, is the contract's.

    Attributes
    ----------
    accumulator : ``(layer, acc)`` to int32 of the shape of ``acc``, element by element
        What becomes of the sums, bias included, of a convolution, dense or pooling layer.
    requantize : for convolutions and dense layers, a scheme of
        :mod:`bitbybit.arithmetic.requantizers`
    add : for additions, one of :data:`bitbybit.arithmetic.alternatives.ADDERS`
    average : for pooling, one of :data:`bitbybit.arithmetic.alternatives.AVERAGES`
    """

    accumulator: Register | None
    requantize: Requantizer | None
    add: Adder | None
    average: Requantizer | None


def trace_with(model: QuantizedModel, x: Input, **parts: Unpack[Parts]) -> Trace:
    """Compute every edge of a quantized network with parts of another arithmetic.

    Parameters
    ----------
    model, x
        As for :func:`~bitbybit.execution.engine.trace`.
    parts
        As in :class:`Parts`: ``accumulator``, ``requantize``, ``add``, ``average``.

    Returns
    -------
    Trace
        As of :func:`~bitbybit.execution.engine.trace`, and equal to that where no part differs
        from the contract.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`~bitbybit.execution.engine.trace`.
    """
    return engine.trace(model, x, instead=_instead(model, parts))


def stream_with(
    model: QuantizedModel, x: Input, batch_size: int = 64, **parts: Unpack[Parts]
) -> Iterator[Trace]:
    """Yield :func:`trace_with` of ``batch_size`` images at a time; constants are prepared once.

    Parameters
    ----------
    model, x, batch_size
        As for :func:`~bitbybit.execution.engine.stream`.
    parts
        As for :func:`trace_with`.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`~bitbybit.execution.engine.trace`.
    """
    return engine.stream(model, x, batch_size, instead=_instead(model, parts))


def _instead(model: QuantizedModel, parts: Parts) -> Instead:
    """Return what computes the layers for which there is a part."""
    prepared: dict[str, Form | None] = {}

    def instead(layer: Layer, values: Sequence[Source]) -> Source | None:
        if layer.name not in prepared:
            prepared[layer.name] = _form(model, layer, parts)
        form = prepared[layer.name]
        return None if form is None else form(values)

    return instead


def _form(model: QuantizedModel, layer: Layer, parts: Parts) -> Form | None:
    """Return a layer made of the parts, None where none of them concerns it."""
    register, add = parts.get("accumulator"), parts.get("add")
    if isinstance(layer, Add) and add is not None:
        return _addition(model, layer, add)
    is_pool = isinstance(layer, GlobalPool)
    scheme = parts.get("average") if is_pool else parts.get("requantize")
    if not engine.has_accumulator(layer) or not (register or scheme):
        return None
    keeps = register or (lambda _, acc: acc)
    finish = _finish(model, layer, scheme)
    fast = engine.fast_form(model, layer)
    x, y = (model.edges[name].params for name in (layer.inputs[0], layer.name))

    def form(values: Sequence[Source]) -> Source:
        if isinstance(fast, FastConv) and x is not None and y is not None:
            operand = engine.interleaved(values[0], x.zero_point)
            sums = None if operand is None else fast.accumulators(operand)
            if sums is not None:
                zero = np.float32(y.zero_point)
                codes = (finish(keeps(layer, part)).astype(np.float32) for part in sums)
                return Interleaved(tuple(part - zero for part in codes), y.zero_point)
        arrays = [engine.as_array(value) for value in values]
        return finish(keeps(layer, engine.accumulate(model, layer, arrays)))

    return form


def _finish(
    model: QuantizedModel, layer: Layer, scheme: Requantizer | None
) -> Callable[[Int32], AnyArray]:
    """Return what makes a layer's output of its accumulators, whose axis 1 are the channels."""
    edge = model.edges[layer.inputs[0]]
    x, y = engine.params(edge, layer), model.edges[layer.name].params
    if isinstance(layer, (Conv, Dense)):
        used, w_scale = scheme or REQUANTIZERS["contract"], engine.params(layer.weight, layer).scale
    else:
        pixels = np.prod([size or 1 for size in edge.shape[2:]], dtype=np.float32)
        used, w_scale = scheme or AVERAGES["contract"], np.asarray(pixels)
    if y is None:  # a dense layer whose output is real
        unit = arithmetic.accumulator_scale(x.scale, w_scale)
        return lambda acc: np.asarray(acc.astype(np.float32) * unit)
    zero = y.zero_point
    multiplier = used.multiplier(x.scale, w_scale, y.scale, zero)
    return lambda acc: used.codes(acc, multiplier, zero, 1)


def _addition(model: QuantizedModel, layer: Add, add: Adder) -> Form:
    """Return an addition by another adder: a table of all pairs where the shapes agree."""
    a, b, c = (engine.params(model.edges[name], layer) for name in (*layer.inputs, layer.name))
    first, second = np.meshgrid(*(np.arange(p.qmin, p.qmax + 1) for p in (a, b)), indexing="ij")

    def added(codes_a: AnyArray, codes_b: AnyArray) -> AnyArray:
        given = codes_a, a.scale, a.zero_point, codes_b, b.scale, b.zero_point
        return add(*given, c.scale, c.zero_point)

    table = added(first.astype(a.dtype), second.astype(b.dtype)).astype(np.float32)
    starts = (a.qmin - int(a.zero_point), b.qmin - int(b.zero_point))
    look_up = FastAdd((table - np.float32(c.zero_point)).ravel(), starts, c.zero_point)

    def form(values: Sequence[Source]) -> Source:
        centred = [engine.interleaved(v, p.zero_point) for v, p in zip(values, (a, b), strict=True)]
        made = None if None in centred else look_up(*centred)  # type: ignore[arg-type]
        return added(*map(engine.as_array, values)) if made is None else made

    return form
