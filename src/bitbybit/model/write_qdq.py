"""The QDQ form: float operators between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from typing import Any

from bitbybit.model.types import Add, Conv, Dense, GlobalPool, QuantizedTensor, Reshape
from bitbybit.model.write_common import FormWriter


class QdqWriter(FormWriter):
    """Writes integer layers as QDQ patterns."""

    def _constants(self, layer: Conv | Dense, axis: int) -> list[str]:
        """Append the DequantizeLinear nodes of weight and bias; return their outputs."""
        parts = [("w", self.weight(layer.name, layer.weight), axis)]
        if layer.bias is not None:
            parts.append(("b", self._bias(layer, layer.bias), 0))
        per_channel = layer.weight.params is not None and layer.weight.params.per_channel
        outputs = []
        for part, inputs, channel_axis in parts:
            stem = f"{layer.name}/{part}"
            attributes: dict[str, Any] = {"axis": channel_axis} if per_channel else {}
            output = f"{stem}_dequantized"
            self.node("DequantizeLinear", f"{stem}_dequantize", inputs, output, **attributes)
            outputs.append(output)
        return outputs

    def _bias(self, layer: Conv | Dense, bias: QuantizedTensor) -> list[str]:
        params = self.bias_params(layer.name, layer.inputs[0], layer.weight, bias)
        stem = f"{layer.name}/b"
        return [self.constant(stem, bias.values), *self.pair(stem, params)]

    def conv(self, layer: Conv) -> None:
        """Append Conv; a folded ReLU is the saturation of its QuantizeLinear."""
        inputs = [self.real(layer.inputs[0]), *self._constants(layer, 0)]
        self.node("Conv", layer.name, inputs, f"{layer.name}/float", **self.window(layer))
        self.requantize(layer.name)

    def dense(self, layer: Dense) -> None:
        """Append Gemm, weight ``[K, M]``."""
        inputs = [self.real(layer.inputs[0]), *self._constants(layer, 1)]
        self.node("Gemm", layer.name, inputs, f"{layer.name}/float")
        self.requantize(layer.name)

    def add(self, layer: Add) -> None:
        """Append Add."""
        inputs = [self.real(name) for name in layer.inputs]
        self.node("Add", layer.name, inputs, f"{layer.name}/float")
        self.requantize(layer.name)

    def pool(self, layer: GlobalPool) -> None:
        """Append GlobalAveragePool."""
        inputs = [self.real(layer.inputs[0])]
        self.node("GlobalAveragePool", layer.name, inputs, f"{layer.name}/float")
        self.requantize(layer.name)

    def reshape(self, layer: Reshape) -> None:
        """Append Flatten or Reshape; the scale is the same on both sides."""
        self.moved(layer, self.real(layer.inputs[0]), f"{layer.name}/float")
        self.requantize(layer.name)
