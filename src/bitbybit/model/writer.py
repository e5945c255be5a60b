"""Canonical view → ONNX: the only writer of quantized files.

A layer that computes is written by its row in the table of operators: as the QLinear operator on
codes, or as that operator's twin on real values, between DequantizeLinear and QuantizeLinear.

Equal models give equal bytes on every machine.  Node names are the canonical layer names, the
tensor of an integer edge carries the edge's name, nodes and initializers stand in order of first
use, and initializers are called
``<layer>/w``, ``<layer>/w_scale``, ``<layer>/w_zero_point``, ``<layer>/b``, ``<edge>/y_scale``,
``<edge>/y_zero_point``.  No reader needs to rely on that.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import NodeProto, TensorProto, helper

from bitbybit.files import atomic_write_bytes
from bitbybit.model.onnx_file import unsupported, wrong
from bitbybit.model.operators import (
    DEQUANTIZE,
    ONNX_DOMAIN,
    OPERATORS,
    QUANTIZE,
    SIXTEEN_BITS_SINCE,
    Operator,
)
from bitbybit.model.types import (
    AnyArray,
    Conv,
    Dense,
    Dequantize,
    Edge,
    FloatIsland,
    Layer,
    Lookup,
    MaxPool,
    Move,
    Operation,
    Quantize,
    QuantizedModel,
    QuantParams,
    Reshape,
    bias_params,
)

Form = Literal["qdq", "qoperator"]

OPSET = 13
"""ONNX opset of written files: the first with per-axis QuantizeLinear."""

HARD_SWISH_SINCE = 14
"""The first ONNX opset with HardSwish."""

REDUCES_BY_INPUT_SINCE = 18
"""The first ONNX opset whose ReduceMean takes its axes as an input."""

_ON_CODES = {row.twin: row for row in OPERATORS.values() if row.twin}
"""ONNX operator → the row of the QLinear operator that does the same with codes."""

_EXPECTED: dict[str, dict[str, Any]] = {
    "QGemm": {"alpha": 1.0},
    "QLinearGlobalAveragePool": {"channels_last": 0},
    "QLinearSoftmax": {"opset": OPSET},
}
"""Attributes that QLinear operators need beside those of their twins."""


def write(
    model: QuantizedModel,
    path: str | os.PathLike[str],
    form: Form = "qdq",
    standard_only: bool = False,
) -> None:
    """Write a quantized network as one ONNX file.

    Parameters
    ----------
    model : any model with integer layers; float islands are copied node by node
    path : the target, replaced atomically
    form : "qdq" or "qoperator"
        "qdq": operators between QuantizeLinear and DequantizeLinear. A folded ReLU needs no
        node: saturation at the zero point does the same in integer and float kernels.
        "qoperator": QLinearConv, and com.microsoft's QGemm, QLinearAdd, QLinearGlobalAveragePool
    standard_only : for "qoperator"
        Operators of the ONNX domain only. A dense layer becomes a 1x1 QLinearConv, which has the
        same bias and the same float32 multiplier, so the integers are equal; Add and
        GlobalAveragePool, for which ONNX has no integer operator, stand between
        DequantizeLinear and QuantizeLinear

    Raises
    ------
    ModelError : a model that contradicts itself
    UnsupportedError : a float model, float islands of an opset that lacks what the rest needs
    """
    proto = build(model, form, standard_only=standard_only)
    atomic_write_bytes(Path(path), proto.SerializeToString(deterministic=True))


def build(
    model: QuantizedModel, form: Form = "qdq", *, standard_only: bool = False
) -> onnx.ModelProto:
    """Return what :func:`write` writes."""
    if model.form == "float":
        next_step = "Quantize it."
        raise unsupported(model.path, "a float model has no integers to write", next_step=next_step)
    if form not in ("qdq", "qoperator"):
        next_step = "Choose one of these."
        raise unsupported("form", "unknown form", "qdq or qoperator", form, next_step=next_step)
    opset = _opset(model)
    writer = _Writer(model, opset, on_codes=form == "qoperator", standard_only=standard_only)
    for layer in model.layers:
        writer.layer(layer)
    proto = writer.proto()
    ends = (*proto.graph.input, *proto.graph.output)
    if not all(i.type.tensor_type.HasField("shape") for i in ends):
        return proto  # the checker wants what the model does not know
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        what = f"the model cannot be written: {str(error).strip().splitlines()[0]}"
        next_step = "Report this with the model: the writer should never build such a file."
        raise wrong(model.path, what, next_step=next_step) from None
    return proto


def _opset(model: QuantizedModel) -> int:
    """Return the opset: that of the islands if there are any, since their nodes are copied."""
    needed = OPSET
    if any(e.params is not None and e.params.dtype.itemsize == 2 for e in model.edges.values()):
        needed = SIXTEEN_BITS_SINCE
    elif any(isinstance(x, Operation) and x.op == "HardSwish" for x in model.layers):
        needed = HARD_SWISH_SINCE
    islands = [x for x in model.layers if isinstance(x, FloatIsland)]
    if not islands:
        return needed
    opset = model.opsets[ONNX_DOMAIN]
    if opset < needed:
        where = f"{model.path}, layer '{islands[0].name}'"
        what = "its float islands come from an opset that is too old"
        next_step = "Convert the file with onnx.version_converter first."
        raise unsupported(where, what, f">= {needed}", opset, next_step=next_step)
    return opset


class _Writer:
    """The nodes and initializers of one file; the tensor of an integer edge carries its name."""

    def __init__(
        self, model: QuantizedModel, opset: int, *, on_codes: bool, standard_only: bool
    ) -> None:
        self.model, self.opset = model, opset
        self.on_codes = on_codes
        self.standard_only = standard_only
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        kept = (Reshape, Move, MaxPool)
        self._reshaped = {x.name: x.inputs[0] for x in model.layers if isinstance(x, kept)}
        self._real: set[str] = set()

    # -- layers ---------------------------------------------------------------------------

    def layer(self, layer: Layer) -> None:
        """Append the nodes of a layer."""
        row = _ON_CODES.get(_twin(layer))
        if isinstance(layer, FloatIsland):
            self._island(layer)
        elif isinstance(layer, Quantize):
            self._quantize(layer.inputs[0], layer.name, layer.name)
        elif isinstance(layer, Dequantize):
            self._dequantize(layer.inputs[0], layer.name, layer.name)
        elif isinstance(layer, (Reshape, Move, MaxPool)):
            self._move(layer)
        elif isinstance(layer, Operation) and (row is None or not self._one_type(layer)):
            self._function(layer)
        elif row is None:
            what, next_step = (
                "a layer of unknown kind",
                "Write the layers that bitbybit.load gives.",
            )
            raise unsupported(layer.name, what, found=layer.kind, next_step=next_step)
        elif not self.on_codes:
            self._between(layer)
        elif not self.standard_only or ONNX_DOMAIN in row.domains:
            self._qlinear(layer, row)
        elif isinstance(layer, Dense):
            self._pixel(layer)
        else:
            self._between(layer)

    def _function(self, layer: Operation) -> None:
        """Append an operator on real values; of one that keeps them only the QuantizeLinear."""
        if layer.op == "Identity":
            self._quantize(self._dequantized(layer.inputs[0]), layer.name, layer.name)
        else:
            self._between(layer)

    def _between(self, layer: Layer) -> None:
        """Append the twin, DequantizeLinear before and QuantizeLinear behind it.

        A folded ReLU is the saturation of QuantizeLinear.
        """
        inputs = [self._dequantized(edge) for edge in layer.inputs]
        for stem, (codes, params) in self._constants(layer).items():
            parts = self._store(stem, codes, params)
            inputs.append(f"{stem}_dequantized")
            self._node(DEQUANTIZE, f"{stem}_dequantize", parts, inputs[-1], **_axis(params.axis))
        if isinstance(layer, Operation):
            self._operation(layer, inputs, f"{layer.name}/float", on_codes=False)
        else:
            self._node(layer.twin, layer.name, inputs, f"{layer.name}/float", **_window(layer))
        self._quantize(f"{layer.name}/float", layer.name, f"{layer.name}/quantize")

    def _operation(
        self, layer: Operation, inputs: list[str], output: str, *, on_codes: bool
    ) -> None:
        """Append the ONNX operator of a layer; constant inputs stand where the table says."""
        row, attributes = OPERATORS.get(layer.op), dict(layer.attributes)
        if not on_codes:
            attributes.pop("constant_value", None)  # the zero point: 0, which is the default
        if layer.kind == "mean":
            attributes["axes"] = (2, 3)
        names = () if row is None or row.twin else row.inputs[len(inputs) :]
        if layer.op == "ReduceMean" and self.opset < REDUCES_BY_INPUT_SINCE:
            names = ()
        for name in names:
            values = attributes.pop(name, None)
            dtype: DTypeLike = np.float32 if name in ("scales", "min", "max") else np.int64
            if name == "constant_value":
                dtype = self._params(layer.name).dtype
            constant = "" if values is None else f"{layer.name}/{name}"
            inputs.append(constant and self._constant(constant, np.array(values, dtype)))
        while not inputs[-1]:
            inputs.pop()
        self._node(layer.op, layer.name, inputs, output, **attributes)

    def _one_type(self, layer: Layer) -> bool:
        """Whether a layer's edges have one type, as its QLinear operator wants."""
        edges = (*layer.inputs, layer.name)
        return len({self._edge(name).dtype for name in edges}) == 1

    def _qlinear(self, layer: Layer, row: Operator) -> None:
        """Append a QLinear operator whose operands stand where the table of operators says."""
        if row.most_inputs is None:
            inputs = self._parameters(layer.name)
            for edge in layer.inputs:
                inputs += [edge, *self._parameters(edge)]
            attributes = _attributes(layer, row)
            self._node(row.name, layer.name, inputs, layer.name, row.domains[0], **attributes)
            return
        name, edges, constants = layer.name, iter(layer.inputs), self._constants(layer)
        outputs = [o.scale for o in row.operands if o.value is None and o.scale is not None]
        inputs = [""] * len(row.inputs)
        for position in sorted((*row.values, *outputs)):
            if position in outputs:
                parts = self._parameters(name)
            elif position == row.weight:
                parts = self._store(f"{name}/w", *constants[f"{name}/w"])
            elif position == row.bias:
                parts = self._bias(name, constants)
            else:
                edge = next(edges)
                parts = [edge, *self._parameters(edge)]
            inputs[position : position + len(parts)] = parts
        while not inputs[-1]:
            inputs.pop()
        attributes = _attributes(layer, row)
        self._node(row.name, name, inputs, name, row.domains[0], **attributes)

    def _pixel(self, layer: Dense) -> None:
        """Append a dense layer as a 1x1 QLinearConv on one pixel."""
        name, x, constants = layer.name, layer.inputs[0], self._constants(layer)
        codes, params = constants[f"{name}/w"]
        features, channels = codes.shape
        image = self._constant(f"{name}/image_shape", np.array([-1, features, 1, 1], np.int64))
        self._node("Reshape", f"{name}/image", [x, image], f"{name}/image")
        inputs = [f"{name}/image", *self._parameters(x)]
        inputs += self._store(f"{name}/w", codes.T.reshape(channels, features, 1, 1), params)
        inputs += [*self._parameters(name), *self._bias(name, constants)]
        self._node("QLinearConv", name, inputs, f"{name}/pixel", kernel_shape=[1, 1])
        self._node("Flatten", f"{name}/flatten", [f"{name}/pixel"], name, axis=1)

    def _move(self, layer: Reshape | Move | MaxPool) -> None:
        """Append what moves codes: Flatten where that is what a Reshape does."""
        edge, name = layer.inputs[0], layer.name
        x = self._edge(edge).shape
        source, output = edge, name
        if not self.on_codes:  # the scale is the same on both sides
            source, output = self._dequantized(edge), f"{name}/float"
        if not isinstance(layer, Reshape):
            self._operation(layer, [source], output, on_codes=self.on_codes)
        elif _is_flat(x, layer.shape):
            self._node("Flatten", name, [source], output, axis=1)
        else:
            target = np.array([-1 if d is None else d for d in layer.shape], np.int64)
            inputs = [source, self._constant(f"{name}/shape", target)]
            self._node("Reshape", name, inputs, output)
        if not self.on_codes:
            self._quantize(output, name, f"{name}/quantize")

    def _island(self, layer: FloatIsland) -> None:
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

    # -- parts ----------------------------------------------------------------------------

    def _node(
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

    def _quantize(self, source: str, edge: str, name: str) -> None:
        """Append the QuantizeLinear that makes an edge of float values."""
        axis = self._params(edge).axis
        self._node(QUANTIZE, name, [source, *self._parameters(edge)], edge, **_axis(axis))

    def _dequantize(self, edge: str, output: str, name: str) -> None:
        """Append the DequantizeLinear of an edge."""
        axis = self._params(edge).axis
        self._node(DEQUANTIZE, name, [edge, *self._parameters(edge)], output, **_axis(axis))

    def _dequantized(self, edge: str) -> str:
        """Return the dequantized view of an edge, made on first use."""
        if edge not in self._real:
            self._real.add(edge)
            self._dequantize(edge, f"{edge}/dequantized", f"{edge}/dequantize")
        return f"{edge}/dequantized"

    def _constant(self, name: str, values: AnyArray) -> str:
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

    def _store(self, stem: str, codes: AnyArray, params: QuantParams) -> list[str]:
        """Store codes with their scale and zero point."""
        return [self._constant(stem, codes), *self._pair(stem, params)]

    def _pair(self, stem: str, params: QuantParams) -> list[str]:
        """Store a scale and a zero point as ``stem_scale`` and ``stem_zero_point``."""
        return [
            self._constant(f"{stem}_scale", params.scale),
            self._constant(f"{stem}_zero_point", params.zero_point),
        ]

    def _edge(self, name: str) -> Edge:
        """Return an edge; raises ModelError if the model has none of this name."""
        if name not in self.model.edges:
            next_step = "Add the edge to the model, or name another input of the layer."
            raise wrong(name, "a layer reads an edge that nothing makes", next_step=next_step)
        return self.model.edges[name]

    def _params(self, name: str) -> QuantParams:
        """Return the parameters of an edge; raises ModelError for a float edge."""
        params = self._edge(name).params
        if params is None:
            next_step = "Give the edge its parameters, or make the layer a float island."
            raise wrong(name, "an integer layer has a float edge", next_step=next_step)
        return params

    def _parameters(self, name: str) -> list[str]:
        """Return the initializers of an edge's scale and zero point, stored on first use.

        Reshaped edges share those of the edge they come from.
        """
        params = self._params(name)
        while name in self._reshaped:
            name = self._reshaped[name]
        return self._pair(f"{name}/y", params)

    def _constants(self, layer: Layer) -> dict[str, tuple[AnyArray, QuantParams]]:
        """Return codes and parameters of weight and bias by name, checked."""
        if not isinstance(layer, (Conv, Dense)):
            return {}
        weight, bias = layer.weight, layer.bias
        if weight.params is None or weight.values.dtype != weight.params.dtype:
            next_step = "Quantize the weights first: bitbybit.quantize."
            what = "the weights are not integers with parameters"
            raise wrong(layer.name, what, next_step=next_step)
        found = {f"{layer.name}/w": (weight.values, weight.params)}
        if bias is None:
            return found
        params = bias_params(self._params(layer.inputs[0]), weight.params)
        if bias.values.dtype != np.int32:
            next_step = "Round the bias to multiples of x_scale * w_scale, as int32."
            what = "the bias has a wrong type"
            raise wrong(layer.name, what, "int32", bias.values.dtype, next_step)
        if bias.params is not None and not bias.params.same_as(params):
            next_step = "Give the bias no parameters: they follow from the others."
            raise wrong(layer.name, "the bias scale is not x_scale * w_scale", next_step=next_step)
        return found | {f"{layer.name}/b": (bias.values, params)}

    def _bias(self, layer: str, constants: dict[str, tuple[AnyArray, QuantParams]]) -> list[str]:
        """Store the codes of a bias, if there is one."""
        stem = f"{layer}/b"
        return [self._constant(stem, constants[stem][0])] if stem in constants else []

    # -- the file -------------------------------------------------------------------------

    def proto(self) -> onnx.ModelProto:
        """Return the model, without time, paths or other traces of its making."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            [_info(self._edge(n)) for n in self.model.inputs],
            [_info(self._edge(n)) for n in self.model.outputs],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid(ONNX_DOMAIN, self.opset)]
        domains = sorted({n.domain for n in self.nodes} - {ONNX_DOMAIN})
        opsets += [helper.make_opsetid(d, self.model.opsets.get(d, 1)) for d in domains]
        return helper.make_model(
            graph,
            producer_name="bitbybit",
            opset_imports=opsets,
            ir_version=max(8, helper.find_min_ir_version_for(opsets, ignore_unknown=True)),
        )


def _axis(axis: int | None) -> dict[str, Any]:
    return {} if axis is None else {"axis": axis}


def _twin(layer: Layer) -> str:
    """Return the ONNX operator of a layer that may have a QLinear operator, "" of another."""
    return layer.op if isinstance(layer, Lookup) else layer.twin


def _is_flat(x: tuple[int | None, ...], y: tuple[int | None, ...]) -> bool:
    """Whether Flatten makes shape ``y`` of ``x``."""
    known = [d for d in x[1:] if d is not None]
    return len(x) > 1 and len(known) == len(x) - 1 and y == (x[0], math.prod(known))


def _attributes(layer: Layer, row: Operator) -> dict[str, Any]:
    """Return the attributes of a QLinear operator."""
    own = dict(layer.attributes) if isinstance(layer, Operation) else _window(layer)
    return own | _EXPECTED.get(row.name, {})


def _window(layer: Layer) -> dict[str, Any]:
    """Return the attributes of a convolution, none for another layer."""
    if not isinstance(layer, Conv):
        return {}
    return {
        "kernel_shape": layer.weight.values.shape[2:],
        "strides": layer.strides,
        "pads": layer.pads,
        "dilations": layer.dilations,
        "group": layer.group,
    }


def _info(edge: Edge) -> onnx.ValueInfoProto:
    """Return the type of a graph input or output; an open first dimension is called N."""
    dims: list[int | str] | None = None
    if edge.shape:
        dims = [d if d is not None else f"d{i}" if i else "N" for i, d in enumerate(edge.shape)]
    kind = helper.np_dtype_to_tensor_dtype(edge.dtype)
    return helper.make_tensor_value_info(edge.name, kind, dims)
