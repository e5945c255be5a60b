"""Canonical view → ONNX: the only writer of quantized files.

Equal models give equal bytes on every machine.  Node names are the canonical layer names, the
tensor of an integer edge carries the edge's name, and initializers are called
``<layer>/w``, ``<layer>/w_scale``, ``<layer>/w_zero_point``, ``<layer>/b``, ``<edge>/y_scale``,
``<edge>/y_zero_point``.  No reader needs to rely on that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import onnx

from bitbybit.files import atomic_write_bytes
from bitbybit.model.onnx_file import unsupported, wrong
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    Dequantize,
    FloatIsland,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    Reshape,
)
from bitbybit.model.write_forms import QdqWriter, QOperatorWriter

Form = Literal["qdq", "qoperator"]

OPSET = 13
"""ONNX opset of written files: the first with per-axis QuantizeLinear."""

_OPSET_16_BIT = 21  # the first opset with int16 and uint16 codes


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
    if form == "qdq":
        form_writer = QdqWriter(model)
    elif form == "qoperator":
        form_writer = QOperatorWriter(model, standard_only=standard_only)
    else:
        next_step = "Choose one of these."
        raise unsupported("form", "unknown form", "qdq or qoperator", form, next_step=next_step)
    opset = _opset(model)
    for layer in model.layers:
        _write_layer(form_writer, layer)
    proto = form_writer.proto(opset)
    ends = (*proto.graph.input, *proto.graph.output)
    if not all(i.type.tensor_type.HasField("shape") for i in ends):
        return proto  # the checker wants what the model does not know
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        next_step = "Report this with the model: the writer should never build such a file."
        raise wrong(
            model.path, f"the model cannot be written: {reason}", next_step=next_step
        ) from None
    return proto


def _write_layer(form_writer: QdqWriter, layer: Layer) -> None:
    match layer:
        case Quantize():
            form_writer.quantize(layer)
        case Dequantize():
            form_writer.dequantize(layer)
        case Conv():
            form_writer.conv(layer)
        case Dense():
            form_writer.dense(layer)
        case Add():
            form_writer.add(layer)
        case GlobalPool():
            form_writer.pool(layer)
        case Reshape():
            form_writer.reshape(layer)
        case FloatIsland():
            form_writer.island(layer)
        case _:
            next_step = "Write the network with the layers that bitbybit.load gives."
            raise unsupported(
                layer.name, "a layer of unknown kind", found=layer.kind, next_step=next_step
            )


def _opset(model: QuantizedModel) -> int:
    """Return the opset: that of the islands if there are any, since their nodes are copied."""
    needed = OPSET
    if any(e.params is not None and e.params.dtype.itemsize == 2 for e in model.edges.values()):
        needed = _OPSET_16_BIT
    islands = [x for x in model.layers if isinstance(x, FloatIsland)]
    if not islands:
        return needed
    opset = model.opsets[""]
    if opset < needed:
        next_step = "Convert the file with onnx.version_converter first."
        raise unsupported(
            f"{model.path}, layer '{islands[0].name}'",
            "its float islands come from an opset that is too old",
            f">= {needed}",
            opset,
            next_step=next_step,
        )
    return opset
