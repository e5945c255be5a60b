"""Random networks with operators that are no layers, as codes or between Q and DQ."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.random_networks import Codes, RandomNetwork


class WideNetwork(RandomNetwork):
    """A random network between whose layers stand poolings, joins, moves and activations."""

    def outside(self, x: Codes) -> Codes:
        """Add an operator that is no layer, or moves codes across the axes."""
        kinds = [self.max_pool, self.average_pool, self.concat, self.softmax, self.activation,
                 self.times, self.images, self.rescaled, super().outside]  # fmt: skip
        return kinds[int(self.rng.integers(len(kinds)))](x)

    def window(self, x: Codes) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return attributes of a pooling window and the size of its output."""
        channels, *image = x.size
        kernel = [int(self.rng.integers(1, min(3, d) + 1)) for d in image]
        strides = [int(s) for s in self.rng.integers(1, 3, 2)]
        pads = [int(self.rng.integers(0, k)) for k in kernel + kernel]
        ceil = int(self.opset >= 11 and self.chance(0.4))
        size = []
        for i in (0, 1):
            room = image[i] + pads[i] + pads[i + 2] - kernel[i]
            count = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
            # a window must not start in the padding behind the image
            count -= int(ceil and (count - 1) * strides[i] >= image[i] + pads[i])
            size.append(count)
        window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        return window | ({"ceil_mode": 1} if ceil else {}), (channels, *size)

    def max_pool(self, x: Codes) -> Codes:
        """Add MaxPool, on codes where the opset has it."""
        window, size = self.window(x)
        if self.opset >= 12 and self.chance(0.5):
            return Codes(self.node("MaxPool", [x.name], **window), size, x.scale, x.params)
        pooled = self.node("MaxPool", [self.real(x)], **window)
        return self.quantized(pooled, size, x.scale)

    def average_pool(self, x: Codes) -> Codes:
        """Add AveragePool between DequantizeLinear and QuantizeLinear."""
        window, size = self.window(x)
        pooled = self.node("AveragePool", [self.real(x)], **window)
        return self.quantized(pooled, size, x.scale * 0.8)

    def concat(self, x: Codes) -> Codes:
        """Put the channels of an edge twice behind each other."""
        joined = self.node("Concat", [self.real(x), self.real(x)], axis=1)
        return self.quantized(joined, (2 * x.size[0], *x.size[1:]), x.scale)

    def softmax(self, x: Codes) -> Codes:
        """Add Softmax."""
        return self.quantized(self.node("Softmax", [self.real(x)]), x.size, 1 / 255)

    def activation(self, x: Codes) -> Codes:
        """Add an activation that is no ReLU."""
        operator = ("LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid")[int(self.rng.integers(4))]
        return self.quantized(self.node(operator, [self.real(x)]), x.size, x.scale * 0.9)

    def times(self, x: Codes) -> Codes:
        """Multiply an edge with itself."""
        product = self.node("Mul", [self.real(x), self.real(x)])
        return self.quantized(product, x.size, x.scale * 20)

    def images(self, x: Codes) -> Codes:
        """Reshape so that the number of images changes, or swap images and channels and back."""
        channels, height, width = x.size
        if channels % 2 == 0 and self.chance(0.5):
            shape = self.constant(np.array([-1, channels // 2, height, width], np.int64))
            half = (channels // 2, height, width)
            return Codes(self.node("Reshape", [x.name, shape]), half, x.scale, x.params)
        swapped = self.node("Transpose", [x.name], perm=[1, 0, 2, 3])
        back = self.node("Transpose", [swapped], perm=[1, 0, 2, 3])
        return Codes(back, x.size, x.scale, x.params)

    def rescaled(self, x: Codes) -> Codes:
        """Quantize anew with another scale."""
        return self.quantized(self.real(x), x.size, x.scale * 1.3, relu=0.2)
