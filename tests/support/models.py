"""Small networks for tests, made from a seed: in canonical view, and as float ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    Dequantize,
    Edge,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)
from tests.support.graphs import GraphMaker

STACKS = (("stack1", 16, 16, 1), ("stack2", 16, 32, 2), ("stack3", 32, 64, 2))
"""ResNet8: name, input channels, output channels and stride of each residual stack."""


class Network:
    """Builds a quantized network layer by layer, with integers drawn from a seed.

    Scales are chosen so that outputs spread over the codes: a layer's output scale is a few
    times the spread of a sum of random products.
    """

    def __init__(
        self,
        shape: tuple[int | None, ...],
        seed: int = 0,
        dtype: type[np.signedinteger | np.unsignedinteger] = np.int8,
        *,
        per_channel: bool = True,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.low = int(np.iinfo(dtype).min)
        self.per_channel = per_channel
        self.layers: list[Layer] = []
        self.edges = {"image": Edge("image", "image", shape, np.dtype(np.float32))}
        params = self.activation(1.0, self.low)
        self._add(Quantize("input", ("image",)), shape, params)

    def activation(self, scale: float, zero_point: int) -> QuantParams:
        """Return per-tensor parameters."""
        return QuantParams(np.array(scale, np.float32), np.array(zero_point).astype(self.dtype))

    def _add(self, layer: Layer, shape: tuple[int | None, ...], params: QuantParams | None) -> str:
        dtype = np.dtype(np.float32) if params is None else params.dtype
        self.layers.append(layer)
        self.edges[layer.name] = Edge(layer.name, layer.name, shape, dtype, params)
        return layer.name

    def _params(self, name: str) -> QuantParams:
        params = self.edges[name].params
        assert params is not None
        return params

    def _weight(self, shape: tuple[int, ...], axis: int) -> QuantizedTensor:
        info = np.iinfo(self.dtype)
        low = info.min + 1 if info.min else 0
        values = self.rng.integers(low, info.max + 1, shape).astype(self.dtype)
        if self.per_channel:
            scale = self.rng.uniform(0.001, 0.02, shape[axis]).astype(np.float32)
            params = QuantParams(scale, np.zeros(shape[axis], self.dtype), axis)
        else:
            zero = 0 if info.min else int(self.rng.integers(100, 156))
            scale = np.array(self.rng.uniform(0.001, 0.02), np.float32)
            params = QuantParams(scale, np.array(zero).astype(self.dtype))
        return QuantizedTensor("", values, params)

    def _bias(self, x: QuantParams, weight: QuantizedTensor, channels: int) -> QuantizedTensor:
        assert weight.params is not None
        scale = np.multiply(x.scale, weight.params.scale, dtype=np.float32)
        params = QuantParams(
            np.asarray(scale), np.zeros(scale.shape, np.int32), 0 if scale.ndim else None
        )
        values = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        return QuantizedTensor("", values, params)

    def _output(
        self, x: QuantParams, weight: QuantizedTensor, terms: int, *, relu: bool
    ) -> QuantParams:
        assert weight.params is not None
        spread = 74 * 74 * np.sqrt(terms) * float(x.scale) * float(np.mean(weight.params.scale))
        zero = self.low if relu else self.low + int(self.rng.integers(100, 156))
        return self.activation(spread / (60 if relu else 40), zero)

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        relu: bool = True,
        group: int = 1,
        bias: bool = True,
    ) -> str:
        """Append a convolution with Keras SAME padding."""
        shape, x = self.edges[source].shape, self._params(source)
        assert isinstance(shape[1], int)
        weight = self._weight((channels, shape[1] // group, kernel, kernel), 0)
        total = max(kernel - stride, 0)
        pads = (total // 2, total // 2, total - total // 2, total - total // 2)
        size = tuple(-(-d // stride) for d in shape[2:] if d is not None)
        y = self._output(x, weight, kernel * kernel * shape[1] // group, relu=relu)
        layer = Conv(
            name,
            (source,),
            weight,
            self._bias(x, weight, channels) if bias else None,
            strides=(stride, stride),
            pads=pads,
            group=group,
            relu=relu,
        )
        return self._add(layer, (shape[0], channels, *size), y)

    def add(self, name: str, a: str, b: str, *, relu: bool = True) -> str:
        """Append a sum."""
        scale = 0.7 * float(self._params(a).scale + self._params(b).scale)
        y = self.activation(scale, self.low if relu else self.low + 120)
        return self._add(Add(name, (a, b), relu=relu), self.edges[a].shape, y)

    def pool(self, name: str, source: str) -> str:
        """Append a global average pool."""
        x, shape = self._params(source), self.edges[source].shape
        y = self.activation(float(x.scale) * 0.6, int(x.zero_point))
        return self._add(GlobalPool(name, (source,)), (*shape[:2], 1, 1), y)

    def flatten(self, name: str, source: str) -> str:
        """Append a Flatten."""
        shape = self.edges[source].shape
        sizes = [d for d in shape[1:] if d is not None]
        out = (shape[0], int(np.prod(sizes)))
        return self._add(Reshape(name, (source,), shape=out), out, self._params(source))

    def dense(self, name: str, source: str, channels: int, *, bias: bool = True) -> str:
        """Append a fully connected layer."""
        shape, x = self.edges[source].shape, self._params(source)
        assert isinstance(shape[1], int)
        weight = self._weight((shape[1], channels), 1)
        y = self._output(x, weight, shape[1], relu=False)
        vector = self._bias(x, weight, channels) if bias else None
        return self._add(Dense(name, (source,), weight, vector), (shape[0], channels), y)

    def finish(self, source: str, name: str = "logits") -> QuantizedModel:
        """Append the final DequantizeLinear and return the model."""
        self._add(Dequantize(name, (source,)), self.edges[source].shape, None)
        return canonical(self.layers, self.edges, ("image",))


def canonical(
    layers: list[Layer], edges: dict[str, Edge], inputs: tuple[str, ...]
) -> QuantizedModel:
    """Return a network in memory whose last layer is its output."""
    return QuantizedModel(
        path=Path("generated.onnx"),
        sha256="",
        form="qdq",
        opsets={"": 13},
        inputs=inputs,
        outputs=(layers[-1].name,),
        layers=tuple(layers),
        edges=edges,
    )


def small(seed: int = 0, dtype: type = np.int8, *, per_channel: bool = True) -> QuantizedModel:
    """Return a residual network of seven layers on 3x8x8 images."""
    net = Network((None, 3, 8, 8), seed, dtype, per_channel=per_channel)
    stem = net.conv("stem", "input", 8)
    left = net.conv("left", stem, 12, stride=2, relu=False)
    right = net.conv("right", stem, 12, kernel=1, stride=2, relu=False, bias=False)
    total = net.add("add", left, right)
    flat = net.flatten("flatten", net.pool("pool", total))
    return net.finish(net.dense("dense", flat, 5))


def resnet8(seed: int = 0, dtype: type = np.int8, *, per_channel: bool = True) -> QuantizedModel:
    """Return a network of ResNet8's shape with random integers."""
    net = Network((None, 3, 32, 32), seed, dtype, per_channel=per_channel)
    x = net.conv("stem", "input", 16)
    for name, _, channels, stride in STACKS:
        first = net.conv(f"{name}.conv1", x, channels, stride=stride)
        second = net.conv(f"{name}.conv2", first, channels, relu=False)
        if stride > 1:
            x = net.conv(f"{name}.shortcut", x, channels, kernel=1, stride=stride, relu=False)
        x = net.add(f"{name}.add", second, x)
    flat = net.flatten("flatten", net.pool("pool", x))
    return net.finish(net.dense("dense", flat, 10))


def float_small(seed: int = 0) -> onnx.ModelProto:
    """Return the float twin of :func:`small`: the same layer names, shapes and costs."""
    g = GraphMaker(("N", 3, 8, 8), seed)
    stem = g.conv("stem", "image", (8, 3, 3, 3), pads=[1, 1, 1, 1])
    left = g.conv("left", stem, (12, 8, 3, 3), relu=False, strides=[2, 2], pads=[0, 0, 1, 1])
    right = g.conv("right", stem, (12, 8, 1, 1), relu=False, strides=[2, 2])
    total = g.node("Relu", "add.relu", [g.node("Add", "add", [left, right])])
    flat = g.node("Flatten", "flatten", [g.node("GlobalAveragePool", "pool", [total])])
    w = g.constant("dense.weight", g.rng.normal(0, 0.3, (12, 5)).astype(np.float32))
    b = g.constant("dense.bias", g.rng.normal(0, 0.3, 5).astype(np.float32))
    return g.model(g.node("Gemm", "dense", [flat, w, b]))


def float_foreign(seed: int = 0) -> onnx.ModelProto:
    """Return a float network with operators outside the contract between the layers."""
    g = GraphMaker(("N", 3, 16, 16), seed)
    x = g.conv("stem", "image", (8, 3, 3, 3), relu=False, auto_pad="SAME_UPPER", strides=[2, 2])
    limits = [g.constant(f"clip.{n}", np.array(v, np.float32)) for n, v in (("min", 0), ("max", 6))]
    x = g.node("Clip", "clip", [x, *limits])
    x = g.conv("depthwise", x, (8, 1, 3, 3), pads=[1, 1, 1, 1], group=8, relu=False)
    x = g.node("Mul", "swish", [x, g.node("Sigmoid", "gate", [x])])
    a = g.conv("branch", x, (8, 8, 1, 1))
    b = g.node("MaxPool", "maxpool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = g.node("Concat", "concat", [a, b], axis=1)
    x = g.node("AveragePool", "average", [x], kernel_shape=[2, 2], strides=[2, 2])
    norm = [
        g.constant(f"norm.{i}", g.rng.uniform(0.5, 1.5, 16).astype(np.float32)) for i in range(4)
    ]
    x = g.node("BatchNormalization", "norm", [x, *norm])
    x = g.node("Flatten", "flatten", [g.node("GlobalAveragePool", "pool", [x])])
    w = g.constant("dense.weight", g.rng.normal(0, 0.3, (16, 5)).astype(np.float32))
    b = g.constant("dense.bias", g.rng.normal(0, 0.3, 5).astype(np.float32))
    x = g.node("Add", "dense.add", [g.node("MatMul", "dense", [x, w]), b])
    return g.model(g.node("Softmax", "softmax", [x]))
