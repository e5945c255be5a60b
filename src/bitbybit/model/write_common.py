"""The growing ONNX graph behind the writer: nodes and initializers in order of first use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from bitbybit.errors import ModelError
from bitbybit.model.parameters import bias_params, same_params
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dequantize,
    Edge,
    FloatIsland,
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
            raise ModelError(
                "a layer reads an edge that nothing makes",
                where=name,
                next_step="Add the edge to the model, or name another input of the layer.",
            )
        return self.model.edges[name]

    def params(self, name: str) -> QuantParams:
        """Return the parameters of an edge; raises ModelError for a float edge."""
        params = self.edge(name).params
        if params is None:
            raise ModelError(
                "an integer layer has a float edge",
                where=name,
                next_step="Give the edge its parameters, or make the layer a float island.",
            )
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
            raise ModelError(
                "the weights are not integers with parameters",
                where=layer,
                next_step="Quantize the weights first: bitbybit.quantize.",
            )
        return [
            self.constant(f"{layer}/w", weight.values),
            *self.pair(f"{layer}/w", weight.params),
        ]

    def bias_params(
        self, layer: str, x: str, weight: QuantizedTensor, bias: QuantizedTensor
    ) -> QuantParams:
        """Return the parameters of a bias, and check those the model gives."""
        if weight.params is None:
            raise ModelError(
                "the weights have no parameters",
                where=layer,
                next_step="Quantize the weights first: bitbybit.quantize.",
            )
        params = bias_params(self.params(x), weight.params)
        if bias.values.dtype != np.int32:
            raise ModelError(
                "the bias has a wrong type",
                where=layer,
                expected="int32",
                found=bias.values.dtype,
                next_step="Round the bias to multiples of x_scale * w_scale, as int32.",
            )
        if bias.params is not None and not same_params(bias.params, params):
            raise ModelError(
                "the bias scale is not x_scale * w_scale",
                where=layer,
                next_step="Give the bias no parameters: they follow from the others.",
            )
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
