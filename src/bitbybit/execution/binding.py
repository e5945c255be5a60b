"""Models whose weights, scales or zero points are graph inputs: given values become constants.

The node tests of the ONNX specification are of this kind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from bitbybit.errors import DataError, UnsupportedError
from bitbybit.model.layer_names import printable
from bitbybit.model.onnx_file import read_file

DATA_INPUTS = {
    "DequantizeLinear": (0,),
    "QGemm": (0,),
    "QLinearAdd": (0, 3),
    "QLinearConv": (0,),
    "QLinearGlobalAveragePool": (0,),
    "QLinearMatMul": (0,),
    "QuantizeLinear": (0,),
}
"""Operator → positions of its data; all its other inputs are parameters."""


def bind_parameters(
    path: str | os.PathLike[str], given: Mapping[str, NDArray[Any]] | None, folder: Path
) -> tuple[Path, dict[str, NDArray[Any]] | None]:
    """Make constants of the graph inputs that are parameters of quantized operators.

    Parameters
    ----------
    path
        The model file.
    given
        Graph input name → values.
    folder
        Where a changed model is written, under the same file name.

    Returns
    -------
    The file to use, and ``given`` without what it holds as constants.  A model without such
    inputs is returned as it is.

    Raises
    ------
    DataError
        A parameter has no values.
    UnsupportedError
        Such a model with external data.
    """
    file = read_file(path)
    graph = file.proto.graph
    parameters = _parameters(graph)
    if not parameters:
        return file.path, None if given is None else dict(given)
    rest = dict(given or {})
    missing = [printable(name) for name in parameters if name not in rest]
    if missing:
        raise DataError(
            "parameters of this model are graph inputs and have no values",
            where=file.path.name,
            found=", ".join(missing),
            next_step="Give them with --inputs.",
        )
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer):
        raise UnsupportedError(
            "parameters as graph inputs and external data are not read together",
            where=file.path.name,
            next_step="Store the parameters as initializers, or the initializers inside the file.",
        )
    bound = onnx.ModelProto()
    bound.CopyFrom(file.proto)
    kept = [info for info in graph.input if info.name not in parameters]
    del bound.graph.input[:]
    bound.graph.input.extend(kept)
    for name in parameters:
        bound.graph.initializer.append(numpy_helper.from_array(rest.pop(name), name))
    target = folder / file.path.name
    target.write_bytes(bound.SerializeToString())
    return target, rest


def _parameters(graph: onnx.GraphProto) -> list[str]:
    """Return the graph inputs that only feed parameters of quantized operators."""
    inputs = {info.name for info in graph.input} - {t.name for t in graph.initializer}
    parameters, data = dict[str, None](), set[str]()
    for node in graph.node:
        for position, name in enumerate(node.input):
            is_data = position in DATA_INPUTS.get(node.op_type, range(len(node.input)))
            if name in inputs and is_data:
                data.add(name)
            elif name in inputs:
                parameters[name] = None
    return [name for name in parameters if name not in data]
