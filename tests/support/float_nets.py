"""Float networks for quantization, with every kind of weighted layer, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from tests.support.graphs import GraphMaker
from tests.support.models import float_foreign, float_small


def kinds_of_layers() -> onnx.ModelProto:
    """Return a network with grouped, depthwise, dilated and bias-free layers, and MaxPool.

    Strides and dilations differ between rows and columns.
    """
    g = GraphMaker(("N", 3, 12, 12), 3)
    x = g.conv("stem", "image", (8, 3, 3, 3), pads=[1, 1, 1, 1])
    x = g.conv("depthwise", x, (8, 1, 3, 3), group=8, pads=[0, 1, 1, 1], strides=[2, 1])
    weight = g.constant("bare.weight", g.rng.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32))
    x = g.node("Conv", "bare", [x, weight])
    x = g.node("MaxPool", "maxpool", [x], kernel_shape=[2, 2], strides=[1, 1])
    x = g.conv("grouped", x, (12, 4, 3, 3), group=2, dilations=[2, 1], pads=[2, 1, 2, 1])
    x = g.node("Flatten", "flatten", [g.node("GlobalAveragePool", "pool", [x])])
    weight = g.constant("dense.weight", g.rng.normal(0, 0.4, (12, 6)).astype(np.float32))
    return g.model(g.node("MatMul", "dense", [x, weight]))


def sum_below_zero() -> onnx.ModelProto:
    """Return a network whose large negative values a ReLU behind an addition throws away."""
    g = GraphMaker(("N", 3, 8, 8), 5)
    a, b = (g.conv(name, "image", (6, 3, 3, 3), relu=False) for name in ("left", "right"))
    bias = numpy_helper.from_array(np.full(6, -150, np.float32), "left.bias")
    g.initializers[1].CopyFrom(bias)
    x = g.node("Relu", "add.relu", [g.node("Add", "add", [a, b])])
    return g.model(g.conv("last", x, (4, 6, 1, 1), relu=False))


def exact_weights() -> onnx.ModelProto:
    """Return a network whose weights are 8-bit codes times a power of two, without biases."""
    g = GraphMaker(("N", 2, 6, 6), 7)
    x = "image"
    for name, shape in (("first", (4, 2, 3, 3)), ("second", (4, 4, 3, 3)), ("third", (3, 4, 1, 1))):
        codes = g.rng.integers(-127, 128, shape)
        codes[:, 0, 0, 0] = 127
        x = g.node("Conv", name, [x, g.constant(f"{name}.w", (codes / 2**11).astype(np.float32))])
        x = g.node("Relu", f"{name}.relu", [x])
    return g.model(x)


NETWORKS = {
    "small": float_small,
    "foreign": float_foreign,
    "kinds": kinds_of_layers,
    "sum": sum_below_zero,
    "exact": exact_weights,
}


def float_network(name: str, folder: Path) -> QuantizedModel:
    """Return one of :data:`NETWORKS`, read from a file in ``folder``."""
    path = folder / f"{name}.onnx"
    onnx.save(NETWORKS[name](), path)
    return load(path)


def images_for(model: QuantizedModel, count: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    """Return random images ``[count, ...]`` that fit the network."""
    shape = model.edges[model.inputs[0]].shape[1:]
    sizes = [size for size in shape if size is not None]
    return np.random.default_rng(seed).integers(0, 256, (count, *sizes), dtype=np.uint8)
