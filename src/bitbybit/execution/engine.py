"""The exact engine: every integer of a network, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic import Interleaved
from bitbybit.errors import BitbybitError, DataError
from bitbybit.execution.compare import described
from bitbybit.execution.feed import Feed, Input, batches, feed
from bitbybit.execution.layers import accumulate, compute, params
from bitbybit.model.types import Add, Conv, Layer, QuantizedModel

Value = NDArray[Any]
Source = Value | Interleaved
"""What an edge may come as: an array in ONNX layout, or as the fast form keeps it."""

Fast = Callable[..., Interleaved | None]
"""A layer's fast form; it gives None for operands outside its conditions."""

_prepared: WeakKeyDictionary[QuantizedModel, dict[str, Fast]] = WeakKeyDictionary()


class Trace(Mapping[str, Value]):
    """The values of all edges for one batch, by canonical name, in graph order.

    ``trace["stack1.add"]`` is an array ``[N, C, H, W]`` of the edge's own dtype, in ONNX layout
    and read-only; the first access makes it, the next ones return the same array.

    Parameters
    ----------
    model
        The network that was traced.
    sources
        Canonical edge name → its values, an array or :class:`~bitbybit.arithmetic.Interleaved`.

    Attributes
    ----------
    model : the network that was traced
    """

    def __init__(self, model: QuantizedModel, sources: Mapping[str, Source]) -> None:
        self.model = model
        self._sources = {name: _read_only(source) for name, source in sources.items()}

    def __getitem__(self, name: str) -> Value:
        source = self._sources[name]
        return source.codes if isinstance(source, Interleaved) else source

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __repr__(self) -> str:
        return f"<Trace of {self.model.path.name}: {len(self)} edges>"

    def accumulator(self, layer_name: str) -> NDArray[np.int32]:
        """Return a layer's int32 accumulators, bias included, from the trace's own integers.

        Parameters
        ----------
        layer_name
            A convolution, dense or global pooling layer.

        Returns
        -------
        int32, shape of the layer's output

        Raises
        ------
        BitbybitError
            No layer has this name.
        UnsupportedError
            The layer has no accumulator.
        """
        layer = self.model.layer(layer_name)
        return accumulate(self.model, layer, [self[name] for name in layer.inputs])


def trace(model: QuantizedModel, x: Input, *, replaced: Mapping[str, Value] | None = None) -> Trace:
    """Compute every edge of a quantized network, exactly as its integer graph defines it.

    Convolutions and additions run in the fast form of :mod:`bitbybit.arithmetic` where that is
    proved to equal the definition; everything else runs by definition.

    Parameters
    ----------
    model
        The network.
    x
        The graph input ``[N, ...]``, or a mapping from input names to arrays. All N images are
        one batch and all their edges stay in memory: for many images use :func:`stream`.
    replaced
        Layer name → codes that take the place of what the layer would give, in its dtype and
        shape: what would the network say if this layer were wrong?

    Returns
    -------
    Trace
        Canonical edge name → codes, in the edge's dtype and ONNX layout.

    Raises
    ------
    BitbybitError
        No layer has the name of a replaced one.
    DataError
        The input, or what is replaced, has the wrong name, shape or dtype.
    UnsupportedError
        A layer without an integer definition, or an array beyond what memory may be asked for.

    Notes
    -----
    ResNet8 spends its time in NumPy's matrix product, which is fastest on one thread
    (``OPENBLAS_NUM_THREADS=1``).
    """
    for name in replaced or {}:
        model.layer(name)
    return _run(model, feed(model, x), _fast_forms(model), replaced or {})


def stream(model: QuantizedModel, x: Input, batch_size: int = 64) -> Iterator[Trace]:
    """Yield :func:`trace` of ``batch_size`` images at a time.

    Memory does not depend on the number of images, as long as the caller drops each trace.

    Parameters
    ----------
    model, x
        As for :func:`trace`.
    batch_size
        Images per trace, >= 1; a file that fixes N gets that instead.

    Yields
    ------
    Trace
        The last one may be shorter.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`trace`.
    """
    forms = _fast_forms(model)
    for part in batches(model, x, batch_size):
        yield _run(model, part, forms)


def walk(model: QuantizedModel, x: Input) -> Trace:
    """Compute the same trace in the obvious way: layer after layer by its operator's definition.

    Parameters
    ----------
    model, x
        As for :func:`trace`.

    Returns
    -------
    Trace
        Equal to that of :func:`trace`, which the tests prove with ``==``.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`trace`.
    """
    return _run(model, feed(model, x), {})


def _run(
    model: QuantizedModel,
    given: Feed,
    forms: Mapping[str, Fast],
    replaced: Mapping[str, Value] = MappingProxyType({}),
) -> Trace:
    """Compute layer after layer; nothing is assumed of an array but what made it."""
    values: dict[str, Source] = dict(given)
    for layer in model.layers:
        made: Source | None = None
        if layer.name in forms:
            made = _fast(model, layer, forms[layer.name], values)
        if made is None:
            made = compute(model, layer, [_codes(values[name]) for name in layer.inputs])
        if layer.name in replaced:
            made = _replacement(layer, replaced[layer.name], _codes(made))
        values[layer.name] = made
    return Trace(model, values)


def _fast(
    model: QuantizedModel, layer: Layer, form: Fast, values: Mapping[str, Source]
) -> Interleaved | None:
    """Return a layer's output by its fast form, None where its operands lie outside of that."""
    operands = []
    for name in layer.inputs:
        operand = values[name]
        if not isinstance(operand, Interleaved):
            zero_point = params(model.edges[name], layer).zero_point
            if operand.ndim != 4 or not operand.size or operand.dtype != zero_point.dtype:
                return None
            operand = Interleaved.of(operand, zero_point)
        operands.append(operand)
    return form(*operands)


def _replacement(layer: Layer, value: Value, made: Value) -> Value:
    """Return what takes the place of a layer's codes, which it must be able to."""
    if value.dtype != made.dtype or value.shape != made.shape:
        raise DataError(
            "cannot take the place of the layer's output",
            where=layer.name,
            expected=described(made),
            found=described(value),
            next_step="Give codes of the layer's type and shape.",
        )
    return value


def _codes(source: Source) -> NDArray[Any]:
    return source.codes if isinstance(source, Interleaved) else source


def _fast_forms(model: QuantizedModel) -> dict[str, Fast]:
    """Return the fast forms of a network's layers, by name; they do not keep it alive."""
    forms = _prepared.get(model)
    if forms is None:
        # glibc returns freed memory to the system beyond twice the largest block that it ever
        # freed; to take it back page by page costs more than to fill it. So it frees a large one.
        np.empty(31 << 20, np.uint8)
        found = {layer.name: _fast_form(model, layer) for layer in model.layers}
        forms = {name: form for name, form in found.items() if form is not None}
        forms = _prepared.setdefault(model, forms)
    return forms


def _fast_form(model: QuantizedModel, layer: Layer) -> Fast | None:
    """Return the fast form of one layer, None where there is none."""
    if not isinstance(layer, (Add, Conv)):
        return None
    try:
        *inputs, y = (params(model.edges[name], layer) for name in (*layer.inputs, layer.name))
        x = inputs[0]
        if isinstance(layer, Add):
            b = inputs[1]
            return arithmetic.fast_add(
                x.scale, x.zero_point, b.scale, b.zero_point, y.scale, y.zero_point
            )
        w = params(layer.weight, layer)
        return arithmetic.fast_conv(
            x.scale, x.zero_point, layer.weight.values, w.scale, w.zero_point, y.scale,
            y.zero_point, None if layer.bias is None else layer.bias.values,
            strides=layer.strides, pads=layer.pads, dilations=layer.dilations, group=layer.group,
        )  # fmt: skip
    except BitbybitError:
        return None  # the definition says what is wrong when it is computed, and names the layer


def _read_only(source: Source) -> Source:
    if isinstance(source, Interleaved):
        return source
    view = source.view()
    view.flags.writeable = False
    return view
