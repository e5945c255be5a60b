"""The obvious form: each layer by its operator in :mod:`bitbybit.arithmetic`, nothing else.

This is the oracle. The fast form of :mod:`bitbybit.arithmetic` must equal it bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError, UnsupportedError
from bitbybit.execution.sessions import run_island
from bitbybit.model import types
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel
from bitbybit.text import shortened

Values = Sequence[NDArray[Any]]


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
    for kind, function in _FORMS.items():
        if isinstance(layer, kind):
            try:
                return np.asarray(function(model, layer, inputs))
            except MemoryError:
                raise UnsupportedError(
                    "there is not enough memory",
                    where=describe(layer),
                    next_step="Give it fewer images at a time.",
                ) from None
            except BitbybitError as error:
                error.where = f"{describe(layer)}, {error.where}".removesuffix(", ")
                raise
    raise UnsupportedError(
        f"no arithmetic is known for a layer of kind {layer.kind}",
        where=layer.name,
        next_step="Run the network in ONNX Runtime: bitbybit.ort_trace.",
    )


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
    x = model.edges[layer.inputs[0]]
    if isinstance(layer, Conv):
        weight = params(layer.weight, layer)
        return arithmetic.accumulate_conv(
            inputs[0], params(x, layer).zero_point, layer.weight.values, weight.zero_point,
            _bias(layer), strides=layer.strides, pads=layer.pads, dilations=layer.dilations,
            group=layer.group,
        )  # fmt: skip
    if isinstance(layer, Dense):
        weight = params(layer.weight, layer)
        return arithmetic.accumulate_matmul(
            inputs[0], params(x, layer).zero_point, layer.weight.values, weight.zero_point,
            _bias(layer),
        )  # fmt: skip
    if isinstance(layer, types.GlobalPool):
        return arithmetic.accumulate_global_average_pool(inputs[0], params(x, layer).zero_point)
    raise UnsupportedError(
        f"a layer of kind {layer.kind} has no accumulator",
        where=layer.name,
        expected="conv, dense or global_pool",
        found=layer.kind,
        next_step="Ask for the accumulator of such a layer.",
    )


def describe(layer: Layer) -> str:
    """Name a layer and the ONNX node that it was read from, for messages."""
    if not layer.nodes:
        return f"layer {layer.name}"
    helpers = ("QuantizeLinear", "DequantizeLinear", "Relu")
    main = next((node for node in layer.nodes if node[0] not in helpers), layer.nodes[-1])
    return f"layer {layer.name} ({shortened(main[0])} node '{shortened(main[1])}')"


def has_accumulator(layer: Layer) -> bool:
    """Whether :func:`accumulate` is defined for the layer."""
    return isinstance(layer, (Conv, Dense, types.GlobalPool))


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


def _bias(layer: Conv | Dense) -> NDArray[Any] | None:
    return None if layer.bias is None else layer.bias.values


def _quantize(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    y = params(model.edges[layer.name], layer)
    return arithmetic.quantize_linear(inputs[0], y.scale, y.zero_point, y.axis)


def _dequantize(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    x = params(model.edges[layer.inputs[0]], layer)
    return arithmetic.dequantize_linear(inputs[0], x.scale, x.zero_point, x.axis)


def _conv(model: QuantizedModel, layer: Conv, inputs: Values) -> AnyArray:
    x = params(model.edges[layer.inputs[0]], layer)
    w = params(layer.weight, layer)
    y = params(model.edges[layer.name], layer)
    return arithmetic.qlinear_conv(
        inputs[0], x.scale, x.zero_point, layer.weight.values, w.scale, w.zero_point,
        y.scale, y.zero_point, _bias(layer), strides=layer.strides, pads=layer.pads,
        dilations=layer.dilations, group=layer.group,
    )  # fmt: skip


def _dense(model: QuantizedModel, layer: Dense, inputs: Values) -> AnyArray:
    x = params(model.edges[layer.inputs[0]], layer)
    w = params(layer.weight, layer)
    y = model.edges[layer.name].params
    left = (inputs[0], x.scale, x.zero_point, layer.weight.values, w.scale, w.zero_point)
    if layer.bias is None and y is not None:
        return arithmetic.qlinear_matmul(*left, y.scale, y.zero_point)
    scale, zero = (None, None) if y is None else (y.scale, y.zero_point)
    return arithmetic.qgemm(*left, _bias(layer), scale, zero)


def _add(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    a, b = (params(model.edges[name], layer) for name in layer.inputs)
    c = params(model.edges[layer.name], layer)
    return arithmetic.qlinear_add(
        inputs[0], a.scale, a.zero_point, inputs[1], b.scale, b.zero_point, c.scale, c.zero_point
    )


def _global_pool(model: QuantizedModel, layer: Layer, inputs: Values) -> AnyArray:
    x = params(model.edges[layer.inputs[0]], layer)
    y = params(model.edges[layer.name], layer)
    return arithmetic.qlinear_global_average_pool(
        inputs[0], x.scale, x.zero_point, y.scale, y.zero_point
    )


def _reshape(_: QuantizedModel, layer: types.Reshape, inputs: Values) -> AnyArray:
    shape = [-1 if size is None else size for size in layer.shape]
    if shape.count(-1) > 1:  # then the first is the batch
        shape[0] = len(inputs[0])
    return inputs[0].reshape(shape)


def _island(_: QuantizedModel, layer: types.FloatIsland, inputs: Values) -> AnyArray:
    return run_island(layer, inputs)


_FORMS: dict[type[Layer], Callable[[QuantizedModel, Any, Values], AnyArray]] = {
    types.Quantize: _quantize,
    types.Dequantize: _dequantize,
    Conv: _conv,
    Dense: _dense,
    types.Add: _add,
    types.GlobalPool: _global_pool,
    types.Reshape: _reshape,
    types.FloatIsland: _island,
}
