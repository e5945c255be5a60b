"""ONNX → canonical view: parse, recognise, name, give shapes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import cast

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.model import boundaries, match, match_qlinear, shapes
from bitbybit.model.drafts import Draft
from bitbybit.model.files import read_file
from bitbybit.model.graph import Node, Shape, declared_shape, read_graph
from bitbybit.model.islands import IslandBuilder, island_drafts, island_inputs, output_type
from bitbybit.model.names import Namer, printable
from bitbybit.model.operators import MICROSOFT, OPERATORS
from bitbybit.model.parameters import NotIntegerError
from bitbybit.model.pixels import fold_pixels
from bitbybit.model.recognise import Handler, Recogniser
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    Edge,
    FloatIsland,
    GlobalPool,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    Reshape,
)

HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "QuantizeLinear"): boundaries.quantize,
    ("", "DequantizeLinear"): boundaries.dequantize,
    ("", "Conv"): match.conv,
    ("", "Gemm"): match.gemm,
    ("", "MatMul"): match.matmul,
    ("", "Add"): match.add,
    ("", "GlobalAveragePool"): match.global_pool,
    ("", "ReduceMean"): match.global_pool,
    ("", "QLinearConv"): match_qlinear.qlinear_conv,
    ("", "QLinearMatMul"): match_qlinear.qlinear_matmul,
    (MICROSOFT, "QuantizeLinear"): boundaries.quantize,
    (MICROSOFT, "DequantizeLinear"): boundaries.dequantize,
    (MICROSOFT, "QGemm"): match_qlinear.qgemm,
    (MICROSOFT, "QLinearAdd"): match_qlinear.qlinear_add,
    (MICROSOFT, "QLinearGlobalAveragePool"): match_qlinear.qlinear_global_average_pool,
    **{("", op): boundaries.move for op, row in OPERATORS.items() if row.keeps},
}


_MOST_ELEMENTS = 2**40
"""Elements of the largest activation that is believed: 1 TiB of 8-bit codes."""


def load(path: str | os.PathLike[str]) -> QuantizedModel:
    """Read an ONNX file (float, QDQ or QOperator, opset >= 10) into the canonical view.

    Parameters are found by the position of a node's input, never by name.  Nothing is executed.
    What is no integer layer of the contract is kept as a
    :class:`~bitbybit.model.types.FloatIsland`.

    Parameters
    ----------
    path : an ``.onnx`` file; external data must lie in its folder

    Returns
    -------
    The network: layers in graph order, and edges with shape, dtype, scale and zero point.

    Raises
    ------
    ModelError : a file that is no ONNX model or contradicts itself
    UnsupportedError : an operator or construct that is not read, named with what was read so far
    """
    graph = read_graph(read_file(path))
    recogniser = Recogniser(graph, HANDLERS)
    recogniser.run()
    drafts = [*recogniser.drafts, *island_drafts(recogniser)]
    drafts.sort(key=lambda d: d.place)
    return fold_pixels(_Assembly(recogniser, drafts).model())


class _Assembly:
    """Names the drafts and walks their shapes forward."""

    def __init__(self, r: Recogniser, drafts: list[Draft]) -> None:
        self.r = r
        self.drafts = drafts
        self.names: dict[str, str] = {}
        self.shapes: dict[str, Shape | None] = {}
        namer = Namer()
        for info in r.graph.inputs:
            self.names[info.name] = namer.take(info.name, "graph_input")
            self.shapes[info.name] = declared_shape(info, r.graph.where)
        for draft in drafts:
            island = draft.layer is FloatIsland
            fallback = draft.main.op.lower() if island else draft.layer.kind
            self.names[draft.output] = namer.take(draft.main.name, fallback)
        self._build: dict[str, Callable[[Draft], Layer]] = {
            "quantize": self._simple,
            "dequantize": self._simple,
            "conv": self._conv,
            "dense": self._dense,
            "add": self._add,
            "global_pool": self._pool,
            "reshape": self._reshape,
        }

    def model(self) -> QuantizedModel:
        file = self.r.graph.file
        layers = tuple(self._layer(draft) for draft in self.drafts)
        outputs = [self.names[self.r.values[name].edge] for name in self.r.graph.outputs]
        return QuantizedModel(
            path=file.path,
            sha256=file.sha256,
            form=self._form(),
            opsets=dict(file.opsets),
            inputs=tuple(self.names[i.name] for i in self.r.graph.inputs),
            outputs=tuple(outputs),
            layers=layers,
            edges={self.names[tensor]: self._edge(tensor) for tensor in self.names},
            file_outputs=tuple(output.name for output in file.proto.graph.output),
            source=self.r.graph,
        )

    def _form(self) -> str:
        if not self.r.quantized:
            return "float"
        ops = {n.op for d in self.drafts for n in d.body if d.layer is not Reshape}
        qoperator = any(o in OPERATORS and OPERATORS[o].twin for o in ops)
        qdq = any(
            d.layer in (Conv, Dense, Add, GlobalPool) and len(d.body) > 1 for d in self.drafts
        )
        if qoperator:
            return "mixed" if qdq else "qoperator"
        return "qdq"

    def _edge(self, tensor: str) -> Edge:
        shape = self.shapes.get(tensor) or ()
        if math.prod(d for d in shape if d) > _MOST_ELEMENTS:
            raise ModelError(
                "a tensor is too large for any machine",
                where=f"{self.r.graph.where}, tensor '{printable(tensor)}'",
                expected=f"<= {_MOST_ELEMENTS} elements",
                found=f"shape {shape}",
            )
        return Edge(
            name=self.names[tensor],
            onnx_name=self.r.integer_names.get(tensor, tensor),
            shape=shape,
            dtype=self.r.dtypes.get(tensor, np.dtype(np.float32)),
            params=self.r.params.get(tensor),
        )

    def _layer(self, draft: Draft) -> Layer:
        if draft.layer is FloatIsland:
            return self._island(draft)
        try:
            return self._build[draft.layer.kind](draft)
        except NotIntegerError as error:
            draft.on_codes = draft.layer is Reshape
            draft.reason = f"{draft.main.op}: {error.reason}"
            draft.inputs = island_inputs(self.r, draft)
            return self._island(draft)

    def _island(self, draft: Draft) -> Layer:
        builder = IslandBuilder(self.r, draft, self.names, self.shapes)
        model = builder.build()
        dtype, self.shapes[draft.output] = output_type(model)
        self.r.dtypes.setdefault(draft.output, dtype)
        inputs, name, nodes = self._common(draft)
        return FloatIsland(
            name,
            inputs,
            nodes=nodes,
            reason=draft.reason,
            model=model.SerializeToString(deterministic=True),
        )

    def _common(self, draft: Draft) -> tuple[tuple[str, ...], str, tuple[tuple[str, str], ...]]:
        """Return the layer's inputs, its name, and its nodes with their DequantizeLinear."""
        nodes: dict[int, Node] = {n.index: n for n in draft.body}
        for node in draft.body:
            for tensor in node.inputs:
                maker = self.r.graph.producer.get(tensor)
                if maker is not None and maker.op == "DequantizeLinear":
                    nodes[maker.index] = maker
        inputs = tuple(self.names[e] for e in draft.inputs)
        ordered = tuple((nodes[i].op, nodes[i].name) for i in sorted(nodes))
        return inputs, self.names[draft.output], ordered

    def _simple(self, draft: Draft) -> Layer:
        """Quantize and Dequantize: the shape stays."""
        self.shapes[draft.output] = self.shapes.get(draft.inputs[0])
        inputs, name, nodes = self._common(draft)
        return draft.layer(name, inputs, nodes=nodes)

    def _conv(self, draft: Draft) -> Layer:
        weight, node = cast(QuantizedTensor, draft.weight), draft.main
        x = self.shapes.get(draft.inputs[0])
        shapes.require_rank(node, x, 4)
        strides, dilations, group = shapes.window(node, weight)
        kernel = weight.values.shape
        pads = shapes.explicit_pads(node, x, kernel[2:], strides, dilations)
        self.shapes[draft.output] = shapes.conv_shape(
            node, x, kernel, strides, pads, dilations, group
        )
        inputs, name, nodes = self._common(draft)
        return Conv(
            name,
            inputs,
            weight,
            draft.bias,
            strides=strides,
            pads=pads,
            dilations=dilations,
            group=group,
            relu=draft.relu,
            nodes=nodes,
        )

    def _dense(self, draft: Draft) -> Layer:
        weight = cast(QuantizedTensor, draft.weight)
        x = self.shapes.get(draft.inputs[0])
        self.shapes[draft.output] = shapes.dense_shape(draft.main, x, weight.values.shape)
        inputs, name, nodes = self._common(draft)
        return Dense(name, inputs, weight, draft.bias, relu=draft.relu, nodes=nodes)

    def _add(self, draft: Draft) -> Layer:
        a, b = (self.shapes.get(e) for e in draft.inputs)
        self.shapes[draft.output] = shapes.add_shape(draft.main, a, b)
        inputs, name, nodes = self._common(draft)
        return Add(name, inputs, relu=draft.relu, nodes=nodes)

    def _pool(self, draft: Draft) -> Layer:
        x = self.shapes.get(draft.inputs[0])
        if x is not None and len(x) != 4:
            raise NotIntegerError(f"its input has {len(x)} dimensions")
        self.shapes[draft.output] = (None, None, 1, 1) if x is None else (x[0], x[1], 1, 1)
        inputs, name, nodes = self._common(draft)
        return GlobalPool(name, inputs, nodes=nodes)

    def _reshape(self, draft: Draft) -> Layer:
        x = self.shapes.get(draft.inputs[0])
        shape = shapes.reshape_shape(draft.main, x, self.r.constants)
        if None in shape[1:]:
            raise NotIntegerError("its output shape is open beyond the batch")
        self.shapes[draft.output] = shape
        inputs, name, nodes = self._common(draft)
        return Reshape(name, inputs, shape=shape, nodes=nodes)
