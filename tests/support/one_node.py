"""ONNX Runtime sessions of models that are one node: the runtime's word on one operator."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

MICROSOFT = frozenset({"QGemm", "QLinearAdd", "QLinearGlobalAveragePool"})


def one_node_model(
    op_type: str,
    inputs: dict[str, NDArray[Any] | None],
    output_dtype: Any,
    attributes: dict[str, Any] | None = None,
    constants: frozenset[str] = frozenset(),
    opset: int = 21,
) -> onnx.ModelProto:
    """Return a model of one node with open dimensions.

    Parameters
    ----------
    inputs : operand name → array, in the operator's order; None for an absent optional input
    output_dtype : NumPy dtype of the one output, called ``Y``
    constants : the operands that become initializers instead of graph inputs
    """
    names = [name if value is not None else "" for name, value in inputs.items()]
    while names and not names[-1]:
        names.pop()
    domain = "com.microsoft" if op_type in MICROSOFT else ""
    node = helper.make_node(op_type, names, ["Y"], name="node", domain=domain, **(attributes or {}))
    present = {name: value for name, value in inputs.items() if value is not None}
    graph = helper.make_graph(
        [node],
        "one_node",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
            )
            for name, value in present.items()
            if name not in constants
        ],
        [
            helper.make_tensor_value_info(
                "Y", helper.np_dtype_to_tensor_dtype(np.dtype(output_dtype)), None
            )
        ],
        [
            onnx.numpy_helper.from_array(present[name], name)
            for name in present
            if name in constants
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model


def session(model: onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """Return a single-threaded CPU session that logs errors only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    serialized = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=2048)
def _cached_session(
    op_type: str,
    signature: tuple[Any, ...],
    output_dtype: str,
    attributes: tuple[Any, ...],
    opset: int,
) -> onnxruntime.InferenceSession:
    inputs = {
        name: None if dtype is None else np.zeros([1] * rank, dtype)
        for name, dtype, rank in signature
    }
    return session(one_node_model(op_type, inputs, output_dtype, dict(attributes), opset=opset))


def run(
    op_type: str,
    inputs: dict[str, Any],
    output_dtype: Any,
    attributes: dict[str, Any] | None = None,
    *,
    constants: frozenset[str] = frozenset(),
    opset: int = 21,
) -> NDArray[Any]:
    """Run one node in ONNX Runtime and return its output.

    Sessions without ``constants`` are kept and reused for every operand of the same dtypes and
    ranks; a session with constants is as specific as a real model's.
    """
    arrays = {name: None if value is None else np.asarray(value) for name, value in inputs.items()}
    feeds = {
        name: value for name, value in arrays.items() if value is not None and name not in constants
    }
    if constants:
        model = one_node_model(op_type, arrays, output_dtype, attributes, constants, opset)
        live = session(model)
    else:
        signature = tuple(
            (name, None if value is None else value.dtype.str, 0 if value is None else value.ndim)
            for name, value in arrays.items()
        )
        frozen = tuple(
            (k, tuple(v) if isinstance(v, list) else v) for k, v in (attributes or {}).items()
        )
        live = _cached_session(op_type, signature, np.dtype(output_dtype).str, frozen, opset)
    result: NDArray[Any] = live.run(None, feeds)[0]
    return result
