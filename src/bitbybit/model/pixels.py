"""A dense layer written as 1x1 convolution of a one-pixel image is read as the dense layer.

That is how files with standard ONNX operators carry the bias of a dense layer: QLinearMatMul
has none, QLinearConv has.  Both compute ``m = (x_scale * w_scale) / y_scale`` in float32, so
the integers are equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx

from bitbybit.model.types import (
    Conv,
    Dense,
    Edge,
    FloatIsland,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)


def fold_pixels(model: QuantizedModel) -> QuantizedModel:
    """Return the model with every Reshape, 1x1 Conv, Reshape on one pixel as one Dense."""
    makers = {layer.name: layer for layer in model.layers}
    readers = Counter(e for layer in model.layers for e in layer.inputs)
    readers.update(model.outputs)
    dense: dict[str, Dense] = {}
    dropped: set[str] = set()
    renamed: dict[str, str] = {}
    edges = dict(model.edges)
    for last in model.layers:
        conv = makers.get(last.inputs[0]) if isinstance(last, Reshape) else None
        first = makers.get(conv.inputs[0]) if isinstance(conv, Conv) else None
        if not isinstance(conv, Conv) or not isinstance(first, Reshape):
            continue
        if readers[first.name] != 1 or readers[conv.name] != 1:
            continue
        if not _one_pixel(model, first, conv, last):
            continue
        dense[conv.name] = _dense(first, conv, last)
        dropped |= {first.name, last.name}
        renamed[last.name] = conv.name
        edges[conv.name] = _edge(edges[conv.name], edges[last.name])
    if not dense:
        return model
    layers = tuple(
        _renamed(dense.get(x.name, x), renamed) for x in model.layers if x.name not in dropped
    )
    return replace(
        model,
        layers=layers,
        outputs=tuple(renamed.get(e, e) for e in model.outputs),
        edges={name: edge for name, edge in edges.items() if name not in dropped},
    )


def _one_pixel(model: QuantizedModel, first: Layer, conv: Conv, last: Layer) -> bool:
    """Tell whether the three layers are ``[N,K] → [N,K,1,1] → [N,M,1,1] → [N,M]``."""
    shapes = [model.edges[e].shape for e in (first.inputs[0], first.name, conv.name)]
    channels, features, *kernel = conv.weight.values.shape
    return (
        kernel == [1, 1]
        and conv.group == 1
        and not any(conv.pads)
        and [s[1:] for s in shapes] == [(features,), (features, 1, 1), (channels, 1, 1)]
        and model.edges[last.name].shape[1:] == (channels,)
    )


def _dense(first: Layer, conv: Conv, last: Layer) -> Dense:
    weight = conv.weight
    params = weight.params
    if params is not None and params.axis is not None:
        names = (params.scale_name, params.zero_point_name)
        params = QuantParams(params.scale, params.zero_point, 1, *names)
    matrix = np.ascontiguousarray(weight.values[:, :, 0, 0].T)
    return Dense(
        conv.name,
        first.inputs,
        QuantizedTensor(weight.name, matrix, params),
        conv.bias,
        relu=conv.relu,
        nodes=(*first.nodes, *conv.nodes, *last.nodes),
    )


def _edge(pixel: Edge, flat: Edge) -> Edge:
    return replace(pixel, shape=flat.shape, onnx_name=flat.onnx_name)


def _renamed(layer: Layer, names: dict[str, str]) -> Layer:
    if not any(e in names for e in layer.inputs):
        return layer
    if isinstance(layer, FloatIsland):
        proto = onnx.ModelProto.FromString(layer.model)
        for item in proto.graph.input:
            item.name = names.get(item.name, item.name)
        for node in proto.graph.node:
            node.input[:] = [names.get(n, n) for n in node.input]
        layer = replace(layer, model=proto.SerializeToString(deterministic=True))
    return replace(layer, inputs=tuple(names.get(e, e) for e in layer.inputs))
