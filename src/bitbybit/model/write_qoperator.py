"""The QOperator form: QLinear operators on integer tensors."""

from __future__ import annotations

import numpy as np

from bitbybit.model.operators import MICROSOFT
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    GlobalPool,
    QuantizedModel,
    QuantizedTensor,
    Reshape,
)
from bitbybit.model.write_qdq import QdqEmitter


class QOperatorEmitter(QdqEmitter):
    """Writes integer layers as QLinear operators, QDQ only where ONNX has none."""

    def __init__(self, model: QuantizedModel, *, standard_only: bool) -> None:
        super().__init__(model)
        self.standard_only = standard_only

    def _operand(self, edge: str) -> list[str]:
        return [edge, *self.parameters(edge)]

    def _bias_codes(self, layer: Conv | Dense) -> list[str]:
        bias: QuantizedTensor | None = layer.bias
        if bias is None:
            return []
        self.bias_params(layer.name, layer.inputs[0], layer.weight, bias)
        return [self.constant(f"{layer.name}/b", bias.values)]

    def conv(self, layer: Conv) -> None:
        """Append QLinearConv."""
        inputs = [
            *self._operand(layer.inputs[0]),
            *self.weight(layer.name, layer.weight),
            *self.parameters(layer.name),
            *self._bias_codes(layer),
        ]
        self.node(
            "QLinearConv",
            layer.name,
            inputs,
            layer.name,
            kernel_shape=layer.weight.values.shape[2:],
            strides=layer.strides,
            pads=layer.pads,
            dilations=layer.dilations,
            group=layer.group,
        )

    def dense(self, layer: Dense) -> None:
        """Append com.microsoft QGemm, or with ONNX operators only a 1x1 QLinearConv."""
        if self.standard_only:
            self._dense_as_conv(layer)
            return
        inputs = [*self._operand(layer.inputs[0]), *self.weight(layer.name, layer.weight)]
        inputs += [*(self._bias_codes(layer) or [""]), *self.parameters(layer.name)]
        self.node("QGemm", layer.name, inputs, layer.name, MICROSOFT, alpha=1.0)

    def _dense_as_conv(self, layer: Dense) -> None:
        features, channels = layer.weight.values.shape
        params = layer.weight.params
        name, x = layer.name, layer.inputs[0]
        kernel = layer.weight.values.T.reshape(channels, features, 1, 1)
        image = self.constant(f"{name}/image_shape", np.array([-1, features, 1, 1], np.int64))
        self.node("Reshape", f"{name}/image", [x, image], f"{name}/image")
        inputs = [f"{name}/image", *self.parameters(x)]
        inputs += self.weight(name, QuantizedTensor(layer.weight.name, kernel, params))
        inputs += [*self.parameters(layer.name), *self._bias_codes(layer)]
        self.node("QLinearConv", name, inputs, f"{name}/pixel", kernel_shape=[1, 1])
        self.node("Flatten", f"{name}/flatten", [f"{name}/pixel"], layer.name, axis=1)

    def add(self, layer: Add) -> None:
        """Append com.microsoft QLinearAdd, or Add between DequantizeLinear and QuantizeLinear."""
        if self.standard_only:
            super().add(layer)
            return
        inputs = [name for edge in layer.inputs for name in self._operand(edge)]
        inputs += self.parameters(layer.name)
        self.node("QLinearAdd", layer.name, inputs, layer.name, MICROSOFT)

    def pool(self, layer: GlobalPool) -> None:
        """Append com.microsoft QLinearGlobalAveragePool, or GlobalAveragePool as in QDQ."""
        if self.standard_only:
            super().pool(layer)
            return
        inputs = [*self._operand(layer.inputs[0]), *self.parameters(layer.name)]
        self.node(
            "QLinearGlobalAveragePool",
            layer.name,
            inputs,
            layer.name,
            MICROSOFT,
            channels_last=0,
        )

    def reshape(self, layer: Reshape) -> None:
        """Append Flatten or Reshape of the codes."""
        self.moved(layer, layer.inputs[0], layer.name)
