"""The growing ONNX graph behind the writer, in its QDQ and its QOperator form.

QDQ: float operators between DequantizeLinear and QuantizeLinear. QOperator: QLinear operators on
integer tensors. Nodes and initializers stand in order of first use.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from bitbybit.model.onnx_file import wrong
from bitbybit.model.operators import OPERATORS
from bitbybit.model.parameters import bias_params, same_params
from bitbybit.model.types import (
    Add,
    AnyArray,
    Conv,
    Dense,
    Dequantize,
    Edge,
    FloatIsland,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)


class FormWriter:
    """Nodes and initializers of one file; the tensor of an integer edge carries its name.

    Writes what QDQ and QOperator files have in common: boundaries, reshapes, islands.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._reshaped = {x.name: x.inputs[0] for x in model.layers if isinstance(x, Reshape)}
        self._real: set[str] = set()

    # -- parts ----------------------------------------------------------------------------

    def node(
        self,
        op: str,
        name: str,
        inputs: list[str],
        output: str,
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Append a node with one output."""
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=name, domain=domain or None, **attributes)
        )

    def constant(self, name: str, values: AnyArray) -> str:
        """Store an initializer once, little endian, and return its name."""
        if name not in self.initializers:
            dtype = values.dtype.newbyteorder("<")
            self.initializers[name] = TensorProto(
                name=name,
                dims=values.shape,
                data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
                raw_data=np.ascontiguousarray(values).astype(dtype, copy=False).tobytes(),
            )
        return name

    def edge(self, name: str) -> Edge:
        """Return an edge; raises ModelError if the model has none of this name."""
        if name not in self.model.edges:
            next_step = "Add the edge to the model, or name another input of the layer."
            raise wrong(name, "a layer reads an edge that nothing makes", next_step=next_step)
        return self.model.edges[name]

    def params(self, name: str) -> QuantParams:
        """Return the parameters of an edge; raises ModelError for a float edge."""
        params = self.edge(name).params
        if params is None:
            next_step = "Give the edge its parameters, or make the layer a float island."
            raise wrong(name, "an integer layer has a float edge", next_step=next_step)
        return params

    def parameters(self, name: str) -> list[str]:
        """Return the initializers of an edge's scale and zero point, stored on first use.

        Reshaped edges share those of the edge they come from.
        """
        params = self.params(name)
        while name in self._reshaped:
            name = self._reshaped[name]
        return self.pair(f"{name}/y", params)

    def pair(self, stem: str, params: QuantParams) -> list[str]:
        """Store a scale and a zero point as ``stem_scale`` and ``stem_zero_point``."""
        return [
            self.constant(f"{stem}_scale", params.scale),
            self.constant(f"{stem}_zero_point", params.zero_point),
        ]

    def weight(self, layer: str, weight: QuantizedTensor) -> list[str]:
        """Store codes, scale and zero point of a weight."""
        if weight.params is None or weight.values.dtype != weight.params.dtype:
            next_step = "Quantize the weights first: bitbybit.quantize."
            raise wrong(layer, "the weights are not integers with parameters", next_step=next_step)
        return [self.constant(f"{layer}/w", weight.values), *self.pair(f"{layer}/w", weight.params)]

    def bias_params(
        self, layer: str, x: str, weight: QuantizedTensor, bias: QuantizedTensor
    ) -> QuantParams:
        """Return the parameters of a bias, and check those the model gives."""
        if weight.params is None:
            next_step = "Quantize the weights first: bitbybit.quantize."
            raise wrong(layer, "the weights have no parameters", next_step=next_step)
        params = bias_params(self.params(x), weight.params)
        if bias.values.dtype != np.int32:
            next_step = "Round the bias to multiples of x_scale * w_scale, as int32."
            raise wrong(layer, "the bias has a wrong type", "int32", bias.values.dtype, next_step)
        if bias.params is not None and not same_params(bias.params, params):
            next_step = "Give the bias no parameters: they follow from the others."
            raise wrong(layer, "the bias scale is not x_scale * w_scale", next_step=next_step)
        return params

    @staticmethod
    def window(layer: Conv) -> dict[str, Any]:
        """Return the attributes of a convolution."""
        return {
            "kernel_shape": layer.weight.values.shape[2:],
            "strides": layer.strides,
            "pads": layer.pads,
            "dilations": layer.dilations,
            "group": layer.group,
        }

    # -- layers ---------------------------------------------------------------------------

    def quantize(self, layer: Quantize) -> None:
        """Append QuantizeLinear."""
        axis = self.params(layer.name).axis
        inputs = [layer.inputs[0], *self.parameters(layer.name)]
        self.node("QuantizeLinear", layer.name, inputs, layer.name, **_axis(axis))

    def dequantize(self, layer: Dequantize) -> None:
        """Append DequantizeLinear."""
        edge = layer.inputs[0]
        inputs = [edge, *self.parameters(edge)]
        axis = self.params(edge).axis
        self.node("DequantizeLinear", layer.name, inputs, layer.name, **_axis(axis))

    def real(self, edge: str) -> str:
        """Return the dequantized view of an edge, made on first use."""
        output = f"{edge}/dequantized"
        if edge not in self._real:
            self._real.add(edge)
            inputs = [edge, *self.parameters(edge)]
            self.node("DequantizeLinear", f"{edge}/dequantize", inputs, output)
        return output

    def requantize(self, edge: str) -> None:
        """Append the QuantizeLinear that makes an edge of its float values."""
        inputs = [f"{edge}/float", *self.parameters(edge)]
        self.node("QuantizeLinear", f"{edge}/quantize", inputs, edge)

    def moved(self, layer: Reshape, source: str, output: str) -> None:
        """Append Flatten where that is what the layer does, else Reshape."""
        x = self.edge(layer.inputs[0]).shape
        flat = len(x) > 1 and None not in x[1:] and len(layer.shape) == 2
        if flat and layer.shape == (x[0], math.prod(d for d in x[1:] if d is not None)):
            self.node("Flatten", layer.name, [source], output, axis=1)
            return
        target = np.array([-1 if d is None else d for d in layer.shape], np.int64)
        name = self.constant(f"{layer.name}/shape", target)
        self.node("Reshape", layer.name, [source, name], output)

    def island(self, layer: FloatIsland) -> None:
        """Append the nodes of an island; its inner names already start with the layer's."""
        graph = onnx.ModelProto.FromString(layer.model).graph
        outer = dict(zip([i.name for i in graph.input], layer.inputs, strict=True))
        outer[graph.output[0].name] = layer.name
        for tensor in graph.initializer:
            self.initializers.setdefault(tensor.name, tensor)
        for node in graph.node:
            node.input[:] = [outer.get(n, n) for n in node.input]
            node.output[:] = [outer.get(n, n) for n in node.output]
            self.nodes.append(node)

    # -- the file -------------------------------------------------------------------------

    def proto(self, opset: int) -> onnx.ModelProto:
        """Return the model, without time, paths or other traces of its making."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            [_info(self.edge(n)) for n in self.model.inputs],
            [_info(self.edge(n)) for n in self.model.outputs],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", opset)]
        domains = sorted({n.domain for n in self.nodes} - {""})
        opsets += [helper.make_opsetid(d, self.model.opsets.get(d, 1)) for d in domains]
        return helper.make_model(
            graph,
            producer_name="bitbybit",
            opset_imports=opsets,
            ir_version=max(8, helper.find_min_ir_version_for(opsets, ignore_unknown=True)),
        )


def _axis(axis: int | None) -> dict[str, Any]:
    return {} if axis is None else {"axis": axis}


def _info(edge: Edge) -> onnx.ValueInfoProto:
    """Return the type of a graph input or output; an open first dimension is called N."""
    dims: list[int | str] | None = None
    if edge.shape:
        dims = [d if d is not None else f"d{i}" if i else "N" for i, d in enumerate(edge.shape)]
    return helper.make_tensor_value_info(
        edge.name, helper.np_dtype_to_tensor_dtype(edge.dtype), dims
    )


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
