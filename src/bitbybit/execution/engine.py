"""The exact engine: every integer of a network, one batch at a time, in two forms.

:func:`walk` computes each layer by its operator in :mod:`bitbybit.arithmetic` and nothing else:
the oracle. :func:`trace` takes the fast form where that is proved equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic import Interleaved
from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.execution.compare import described
from bitbybit.execution.feed import Feed, Input, batches, feed
from bitbybit.execution.sessions import run_island
from bitbybit.model import types
from bitbybit.model.types import Add, AnyArray, Conv, Dense, GlobalPool, Layer, QuantizedModel
from bitbybit.text import shortened

Values = Sequence[NDArray[Any]]
Source = AnyArray | Interleaved
"""What an edge may come as: an array in ONNX layout, or as the fast form keeps it."""

Instead = Callable[[Layer, Sequence[Source]], Source | None]
"""What computes a layer in place of its definition; None where the definition shall."""

Fast = Callable[..., Interleaved | None]
"""A layer's fast form; it gives None for operands outside its conditions."""

_prepared: WeakKeyDictionary[QuantizedModel, dict[str, Fast]] = WeakKeyDictionary()


class Trace(Mapping[str, AnyArray]):
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

    def __getitem__(self, name: str) -> AnyArray:
        return as_array(self._sources[name])

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


def trace(
    model: QuantizedModel,
    x: Input,
    *,
    replaced: Mapping[str, AnyArray] | None = None,
    instead: Instead | None = None,
) -> Trace:
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
    instead
        Computes a layer in another way, from the layer and the values of its inputs; what it
        gives None for is computed as always. :func:`bitbybit.hardware.trace_with` makes some.

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
    return _run(model, feed(model, x), _fast_forms(model), replaced or {}, instead)


def stream(
    model: QuantizedModel, x: Input, batch_size: int = 64, *, instead: Instead | None = None
) -> Iterator[Trace]:
    """Yield :func:`trace` of ``batch_size`` images at a time.

    Memory does not depend on the number of images, as long as the caller drops each trace.

    Parameters
    ----------
    model, x, instead
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
        yield _run(model, part, forms, instead=instead)


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


def compute(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    """Compute one layer by its operator's definition.

    Parameters
    ----------
    model
        The network, which knows the parameters of the layer's edges.
    layer
        One of its layers.
    inputs
        The values of ``layer.inputs``, in their order, dtype and ONNX layout.

    Returns
    -------
    The values of ``layer.name``: dtype of its edge, ONNX layout.

    Raises
    ------
    UnsupportedError
        A layer without an integer definition, for example one of a float network.
    BitbybitError
        An operand outside the operator's definition.
    """
    definition = _DEFINITIONS.get(type(layer))
    if definition is None:
        raise UnsupportedError(
            f"no arithmetic is known for a layer of kind {layer.kind}",
            where=layer.name,
            next_step="Run the network in ONNX Runtime: bitbybit.ort_trace.",
        )
    try:
        return np.asarray(definition(model, layer, inputs))
    except MemoryError:
        raise UnsupportedError(
            "there is not enough memory",
            where=describe(layer),
            next_step="Give it fewer images at a time.",
        ) from None
    except BitbybitError as error:
        error.where = f"{describe(layer)}, {error.where}".removesuffix(", ")
        raise


def accumulate(model: QuantizedModel, layer: Layer, inputs: Values) -> NDArray[np.int32]:
    """Compute stage 1 of a layer: its int32 accumulators, with the bias.

    Parameters
    ----------
    model, layer, inputs
        As for :func:`compute`; a convolution, dense or global pooling layer.

    Returns
    -------
    int32, shape of the layer's output

    Raises
    ------
    UnsupportedError
        A layer of another kind: it has no accumulator.
    """
    if not has_accumulator(layer):
        raise UnsupportedError(
            f"a layer of kind {layer.kind} has no accumulator",
            where=layer.name,
            expected="conv, dense or global_pool",
            found=layer.kind,
            next_step="Ask for the accumulator of such a layer.",
        )
    x = inputs[0], params(model.edges[layer.inputs[0]], layer).zero_point
    if not isinstance(layer, (Conv, Dense)):
        return arithmetic.accumulate_global_average_pool(*x)
    w = layer.weight.values, params(layer.weight, layer).zero_point
    if isinstance(layer, Conv):
        return arithmetic.accumulate_conv(*x, *w, _bias(layer), **_window(layer))
    return arithmetic.accumulate_matmul(*x, *w, _bias(layer))


def describe(layer: Layer) -> str:
    """Name a layer and the ONNX node that it was read from, for messages."""
    if not layer.nodes:
        return f"layer {layer.name}"
    operator, name = map(shortened, main_node(layer))
    return f"layer {layer.name} ({operator} node '{name}')"


def main_node(layer: Layer) -> tuple[str, str]:
    """Return operator and name of the ONNX node that computes a layer, "" if it has none."""
    helpers = ("QuantizeLinear", "DequantizeLinear", "Relu")
    return next(
        (node for node in layer.nodes if node[0] not in helpers), (("", ""), *layer.nodes)[-1]
    )


def has_accumulator(layer: Layer) -> bool:
    """Whether :func:`accumulate` is defined for the layer."""
    return isinstance(layer, (Conv, Dense, GlobalPool))


def params(tensor: types.Edge | types.QuantizedTensor, layer: Layer) -> types.QuantParams:
    """Return the parameters of a tensor that ``layer`` needs quantized.

    Raises
    ------
    UnsupportedError
        A float tensor: the layer belongs to a float network.
    """
    if tensor.params is None:
        raise UnsupportedError(
            f"layer {layer.name} is not quantized",
            found=f"float tensor {tensor.name}",
            next_step="A float network runs in ONNX Runtime: bitbybit.ort_trace.",
            where=f"layer {layer.name}",
        )
    return tensor.params


def _edges(model: QuantizedModel, layer: Layer) -> list[tuple[Any, Any]]:
    """Return scale and zero point of each edge that a layer reads, then of the one it makes."""
    found = (params(model.edges[name], layer) for name in (*layer.inputs, layer.name))
    return [(p.scale, p.zero_point) for p in found]


def _bias(layer: Conv | Dense) -> AnyArray | None:
    return None if layer.bias is None else layer.bias.values


def _window(layer: Conv) -> dict[str, Any]:
    """Return how the kernel of a convolution moves."""
    return {name: getattr(layer, name) for name in ("strides", "pads", "dilations", "group")}


def _quantize(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    y = params(model.edges[layer.name], layer)
    return arithmetic.quantize_linear(inputs[0], y.scale, y.zero_point, y.axis)


def _dequantize(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    x = params(model.edges[layer.inputs[0]], layer)
    return arithmetic.dequantize_linear(inputs[0], x.scale, x.zero_point, x.axis)


def _conv(model: QuantizedModel, layer: Conv, inputs: Values) -> AnyArray:
    return arithmetic.qlinear_conv(inputs[0], *_conv_operands(model, layer), **_window(layer))


def _conv_operands(model: QuantizedModel, layer: Conv) -> tuple[Any, ...]:
    """Return the operands of a convolution behind its input, in the order of the operator."""
    x, y = _edges(model, layer)
    w = params(layer.weight, layer)
    return *x, layer.weight.values, w.scale, w.zero_point, *y, _bias(layer)


def _dense(model: QuantizedModel, layer: Dense, inputs: Values) -> AnyArray:
    x, w = (params(t, layer) for t in (model.edges[layer.inputs[0]], layer.weight))
    y = model.edges[layer.name].params
    made = (None, None) if y is None else (y.scale, y.zero_point)
    left = inputs[0], x.scale, x.zero_point, layer.weight.values, w.scale, w.zero_point
    if layer.bias is None and y is not None:
        return arithmetic.qlinear_matmul(*left, y.scale, y.zero_point)
    return arithmetic.qgemm(*left, _bias(layer), *made)


def _add(model: QuantizedModel, layer: Add, inputs: Values) -> AnyArray:
    a, b, c = _edges(model, layer)
    return arithmetic.qlinear_add(inputs[0], *a, inputs[1], *b, *c)


def _mul(model: QuantizedModel, layer: types.Mul, inputs: Values) -> AnyArray:
    a, b, c = _edges(model, layer)
    return arithmetic.qlinear_mul(inputs[0], *a, inputs[1], *b, *c)


def _concat(model: QuantizedModel, layer: types.Concat, inputs: Values) -> AnyArray:
    *read, y = _edges(model, layer)
    parts = [(x, *parameters) for x, parameters in zip(inputs, read, strict=True)]
    return arithmetic.qlinear_concat(*y, parts, **layer.attributes)


def _move(_: QuantizedModel, layer: types.Move, inputs: Values) -> AnyArray:
    return arithmetic.move(inputs[0], layer.op, **layer.attributes)


def _max_pool(_: QuantizedModel, layer: types.MaxPool, inputs: Values) -> AnyArray:
    return arithmetic.max_pool(inputs[0], **layer.attributes)


def _lookup(model: QuantizedModel, layer: types.Lookup, inputs: Values) -> AnyArray:
    x, y = _edges(model, layer)
    return arithmetic.lookup(inputs[0], *x, *y, layer.op, **layer.attributes)


def _from_one(name: str) -> Callable[[QuantizedModel, types.Operation, Values], AnyArray]:
    """Return the definition of a layer whose operator reads x and its parameters, then y's."""

    def definition(model: QuantizedModel, layer: types.Operation, inputs: Values) -> AnyArray:
        x, y = _edges(model, layer)
        return np.asarray(getattr(arithmetic, name)(inputs[0], *x, *y, **layer.attributes))

    return definition


def _global_pool(model: QuantizedModel, layer: GlobalPool, inputs: Values) -> AnyArray:
    x, y = _edges(model, layer)
    return arithmetic.qlinear_global_average_pool(inputs[0], *x, *y)


def _reshape(_: QuantizedModel, layer: types.Reshape, inputs: Values) -> AnyArray:
    shape = [-1 if size is None else size for size in layer.shape]
    if shape.count(-1) > 1:  # then the first is the batch
        shape[0] = (*inputs[0].shape, 1)[0]
    try:
        return inputs[0].reshape(shape)
    except ValueError:
        raise UnsupportedError(
            "the values do not fit into the new shape",
            where=layer.name,
            expected=shape,
            found=list(inputs[0].shape),
            next_step="Check the node, and the shape of the inputs.",
        ) from None


def _island(_: QuantizedModel, layer: types.FloatIsland, inputs: Values) -> AnyArray:
    return run_island(layer, inputs)


_DEFINITIONS: dict[type[Layer], Callable[[QuantizedModel, Any, Values], AnyArray]] = {
    types.Quantize: _quantize,
    types.Dequantize: _dequantize,
    Conv: _conv,
    Dense: _dense,
    Add: _add,
    GlobalPool: _global_pool,
    types.Reshape: _reshape,
    types.Mul: _mul,
    types.Concat: _concat,
    types.Move: _move,
    types.MaxPool: _max_pool,
    types.Lookup: _lookup,
    types.AveragePool: _from_one("qlinear_average_pool"),
    types.Softmax: _from_one("qlinear_softmax"),
    types.Mean: _from_one("reduce_mean"),
    types.FloatIsland: _island,
}


def _run(
    model: QuantizedModel,
    given: Feed,
    forms: Mapping[str, Fast],
    replaced: Mapping[str, AnyArray] = MappingProxyType({}),
    instead: Instead | None = None,
) -> Trace:
    """Compute layer after layer; nothing is assumed of an array but what made it."""
    values: dict[str, Source] = dict(given)
    for layer in model.layers:
        given_values = [values[name] for name in layer.inputs]
        made = None if instead is None else instead(layer, given_values)
        if made is None and layer.name in forms:
            made = _fast(model, layer, forms[layer.name], given_values)
        if made is None:
            made = compute(model, layer, [as_array(value) for value in given_values])
        if layer.name in replaced:
            made = _replacement(layer, replaced[layer.name], as_array(made))
        values[layer.name] = made
    return Trace(model, values)


def _fast(
    model: QuantizedModel, layer: Layer, form: Fast, values: Sequence[Source]
) -> Interleaved | None:
    """Return a layer's output by its fast form, None where its operands lie outside of that."""
    operands = []
    for name, value in zip(layer.inputs, values, strict=True):
        operand = interleaved(value, params(model.edges[name], layer).zero_point)
        if operand is None:
            return None
        operands.append(operand)
    return form(*operands)


def interleaved(value: Source, zero_point: AnyArray) -> Interleaved | None:
    """Return the values of an edge as the fast form keeps them, None where it cannot."""
    if isinstance(value, Interleaved):
        return value
    if value.ndim != 4 or not value.size or value.dtype != zero_point.dtype:
        return None
    return Interleaved.of(value, zero_point)


def as_array(value: Source) -> AnyArray:
    """Return the values of an edge in ONNX layout."""
    return value.codes if isinstance(value, Interleaved) else value


def _fast_forms(model: QuantizedModel) -> dict[str, Fast]:
    """Return the fast forms of a network's layers, by name; they do not keep it alive."""
    forms = _prepared.get(model)
    if forms is None:
        # glibc returns freed memory to the system beyond twice the largest block that it ever
        # freed; to take it back page by page costs more than to fill it. So it frees a large one.
        np.empty(31 << 20, np.uint8)
        found = {layer.name: fast_form(model, layer) for layer in model.layers}
        forms = {name: form for name, form in found.items() if form is not None}
        forms = _prepared.setdefault(model, forms)
    return forms


def fast_form(model: QuantizedModel, layer: Layer) -> Fast | None:
    """Return the fast form of one layer: of a convolution or an addition, None without a proof."""
    try:
        if isinstance(layer, Conv):
            return arithmetic.fast_conv(*_conv_operands(model, layer), **_window(layer))
        if isinstance(layer, Add):
            a, b, c = _edges(model, layer)
            return arithmetic.fast_add(*a, *b, *c)
    except BitbybitError:
        pass  # the definition says what is wrong when it is computed, and names the layer
    return None


def _replacement(layer: Layer, value: AnyArray, made: AnyArray) -> AnyArray:
    """Return what takes the place of a layer's codes, which it must be able to."""
    if described(value) != described(made):
        raise DataError(
            "cannot take the place of the layer's output",
            where=layer.name,
            expected=described(made),
            found=described(value),
            next_step="Give codes of the layer's type and shape.",
        )
    return value


def _read_only(source: Source) -> Source:
    if isinstance(source, Interleaved):
        return source
    view = source.view()
    view.flags.writeable = False
    return view
