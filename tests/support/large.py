"""A network of 500 layers and 20 million weights, for what must stay fast and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitbybit.model.types import QuantizedModel, QuantizedTensor, QuantParams
from bitbybit.model.writer import write
from tests.support.models import Network

CHANNELS, BLOCKS = 82, 165


class _Steady(Network):
    """A network whose scales stay near 1 however deep it is."""

    def _weight(self, shape: tuple[int, ...], axis: int) -> QuantizedTensor:
        tensor = super()._weight(shape, axis)
        size = 40 / (74 * 74 * np.sqrt(CHANNELS * 9))
        scale = np.full(shape[axis], size, np.float32)
        params = QuantParams(scale, np.zeros(shape[axis], self.dtype), axis)
        return QuantizedTensor(tensor.name, tensor.values, params)

    def activation(self, scale: float, zero_point: int) -> QuantParams:
        return super().activation(1.0, zero_point)


def large(folder: Path) -> Path:
    """Write the network as QOperator file."""
    net = _Steady((None, 3, 32, 32))
    x = net.conv("stem", "input", CHANNELS)
    for i in range(BLOCKS):
        first = net.conv(f"block{i}.conv1", x, CHANNELS)
        second = net.conv(f"block{i}.conv2", first, CHANNELS, relu=False)
        x = net.add(f"block{i}.add", second, x)
    flat = net.flatten("flatten", net.pool("pool", x))
    model: QuantizedModel = net.finish(net.dense("dense", flat, 10))
    path = folder / "large.onnx"
    write(model, path, form="qoperator")
    return path
