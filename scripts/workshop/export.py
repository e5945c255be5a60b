"""Float export: a state dict of ResNet8 becomes an ONNX file, built node by node.

No tracer is involved, so the bytes of the file depend on the weights alone.  Node and tensor
names are the canonical layer names; a tensor before its ReLU has the suffix ``/linear``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bitbybit.errors import ModelError
from workshop.layers import (
    CLASS_COUNT,
    EPSILON,
    STACKS,
    Convolution,
    convolutions,
    state_shapes,
)

OPSET, IR_VERSION = 17, 8
"""Old enough for every tool in use; nothing newer is needed for float layers."""

State = Mapping[str, NDArray[Any]]


def check_state(state: State, where: str | os.PathLike[str] = "the state dict") -> None:
    """Raise :class:`ModelError` unless ``state`` is a float state dict of ResNet8."""
    expected = state_shapes()
    found = {k: v.shape for k, v in state.items() if not k.endswith(".num_batches_tracked")}
    wrong = [k for k in (*expected, *found) if expected.get(k) != found.get(k)]
    if wrong:
        name = wrong[0]
        raise ModelError(
            "not the weights of ResNet8",
            where=os.fspath(where),
            expected=f"{name} of shape {expected[name]}" if name in expected else f"no {name}",
            found=f"shape {found[name]}" if name in found else "none",
            next_step="Name a file that scripts/train.py wrote.",
        )
    for name in expected:
        if state[name].dtype.kind != "f" or not np.isfinite(state[name]).all():
            raise ModelError(
                "a weight is not a finite float",
                where=f"{os.fspath(where)}, {name}",
                found=state[name].dtype,
                next_step="Train again: the run has diverged.",
            )
        if name.endswith("running_var") and (state[name] < 0).any():
            raise ModelError(
                "a variance is negative",
                where=f"{os.fspath(where)}, {name}",
                found=float(state[name].min()),
                next_step="Train again: the file is damaged.",
            )


def fold_batch_norm(
    state: State, conv: Convolution
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight ``[M, C, kH, kW]`` and bias ``[M]`` of a convolution with its batch norm.

    With ``f = gamma / sqrt(variance + epsilon)`` per output channel: ``w * f`` and
    ``(b - mean) * f + beta``, in float64, rounded once to float32.
    """
    weight = state[f"{conv.name}.weight"].astype(np.float64)
    bias = state[f"{conv.name}.bias"].astype(np.float64)
    if conv.batch_norm:
        gamma, beta, mean, variance = (
            state[f"{conv.name}_bn.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        weight = weight * factor[:, None, None, None]
        bias = (bias - mean) * factor + beta
    return weight.astype(np.float32), bias.astype(np.float32)


def float_model(state: State, where: str | os.PathLike[str] = "the state dict") -> onnx.ModelProto:
    """Build the float ONNX model of ResNet8, batch-norm folded.

    Parameters
    ----------
    state
        Name and value of each tensor, as :func:`workshop.state_dict.read_state_dict`
        returns them.
    where
        What to call the state dict in an error.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` float32 ``[N, 3, 32, 32]``, raw pixels 0..255; output ``logits``
        float32 ``[N, 10]``.

    Raises
    ------
    ModelError
        If ``state`` is not a float state dict of ResNet8.
    """
    check_state(state, where)
    graph = _Graph()
    by_name = {conv.name: conv for conv in convolutions()}
    edge = graph.convolution(state, by_name["stem"], "image")
    for stack, *_, stride in STACKS:
        inner = graph.convolution(state, by_name[f"{stack}.conv1"], edge)
        inner = graph.convolution(state, by_name[f"{stack}.conv2"], inner)
        if stride > 1:
            edge = graph.convolution(state, by_name[f"{stack}.shortcut"], edge)
        edge = graph.node("Add", f"{stack}.add", [inner, edge], relu=True)
    edge = graph.node("GlobalAveragePool", "pool", [edge])
    edge = graph.node("Flatten", "flatten", [edge], axis=1)
    weight = graph.constant("dense.weight", state["dense.weight"].T)
    bias = graph.constant("dense.bias", state["dense.bias"])
    graph.node("Gemm", "dense", [edge, weight, bias], output="logits")
    return graph.model()


class _Graph:
    """Nodes and initializers in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        data = np.ascontiguousarray(values, dtype="<f4")
        self._constants.append(
            helper.make_tensor(name, TensorProto.FLOAT, data.shape, data.tobytes(), raw=True)
        )
        return name

    def node(
        self,
        op_type: str,
        name: str,
        inputs: list[str],
        *,
        relu: bool = False,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node, and its ReLU; return the name of the tensor that comes out."""
        result = output or name
        linear = f"{name}/linear" if relu else result
        self._nodes.append(helper.make_node(op_type, inputs, [linear], name, **attributes))
        if relu:
            self._nodes.append(helper.make_node("Relu", [linear], [result], f"{name}/relu"))
        return result

    def convolution(self, state: State, conv: Convolution, edge: str) -> str:
        weight, bias = fold_batch_norm(state, conv)
        inputs = [
            edge,
            self.constant(f"{conv.name}.weight", weight),
            self.constant(f"{conv.name}.bias", bias),
        ]
        return self.node(
            "Conv",
            conv.name,
            inputs,
            relu=conv.relu,
            kernel_shape=(conv.kernel, conv.kernel),
            pads=conv.pads,
            strides=(conv.stride, conv.stride),
        )

    def model(self) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 32, 32])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASS_COUNT])
        graph = helper.make_graph(self._nodes, "resnet8", [image], [logits], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bitbybit"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model
