"""The QOperator form: QLinear operators on integer tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    GlobalPool,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    Reshape,
)
from bitbybit.model.write_qdq import QdqWriter


class QOperatorWriter(QdqWriter):
    """Writes integer layers as QLinear operators, QDQ only where ONNX has none."""

    def __init__(self, model: QuantizedModel, *, standard_only: bool) -> None:
        super().__init__(model)
        self.standard_only = standard_only

    def _qlinear(self, op: str, layer: Layer, **attributes: Any) -> None:
        """Append an operator whose operands stand where the table of operators says."""
        row, edges = OPERATORS[op], iter(layer.inputs)
        outputs = [o.scale for o in row.operands if o.value is None and o.scale is not None]
        inputs = [""] * len(row.inputs)
        for position in sorted((*row.values, *outputs)):
            if position in outputs:
                parts = self.parameters(layer.name)
            elif position == row.weight and isinstance(layer, (Conv, Dense)):
                parts = self.weight(layer.name, layer.weight)
            elif position == row.bias and isinstance(layer, (Conv, Dense)):
                parts = self._bias_codes(layer)
            else:
                edge = next(edges)
                parts = [edge, *self.parameters(edge)]
            inputs[position : position + len(parts)] = parts
        while not inputs[-1]:
            inputs.pop()
        self.node(op, layer.name, inputs, layer.name, row.domains[0], **attributes)

    def _bias_codes(self, layer: Conv | Dense) -> list[str]:
        bias: QuantizedTensor | None = layer.bias
        if bias is None:
            return []
        self.bias_params(layer.name, layer.inputs[0], layer.weight, bias)
        return [self.constant(f"{layer.name}/b", bias.values)]

    def conv(self, layer: Conv) -> None:
        """Append QLinearConv."""
        self._qlinear("QLinearConv", layer, **self.window(layer))

    def dense(self, layer: Dense) -> None:
        """Append com.microsoft QGemm, or with ONNX operators only a 1x1 QLinearConv."""
        if self.standard_only:
            self._dense_as_conv(layer)
        else:
            self._qlinear("QGemm", layer, alpha=1.0)

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
        else:
            self._qlinear("QLinearAdd", layer)

    def pool(self, layer: GlobalPool) -> None:
        """Append com.microsoft QLinearGlobalAveragePool, or GlobalAveragePool as in QDQ."""
        if self.standard_only:
            super().pool(layer)
        else:
            self._qlinear("QLinearGlobalAveragePool", layer, channels_last=0)

    def reshape(self, layer: Reshape) -> None:
        """Append Flatten or Reshape of the codes."""
        self.moved(layer, layer.inputs[0], layer.name)
