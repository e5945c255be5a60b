"""What a model consists of, as plain data: the numbers that every report prints.

Scales appear as the shortest decimal that gives the same float32 back, and as hex float.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict
from typing import Any

import numpy as np

from bitbybit.errors import BitbybitError
from bitbybit.model.costs import Cost, cost
from bitbybit.model.types import (
    Conv,
    Dense,
    Edge,
    FloatIsland,
    Layer,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
    Reshape,
)

Record = dict[str, Any]


def find_layer(model: QuantizedModel, name: str) -> Layer:
    """Return the layer called ``name``; raises BitbybitError that lists near names."""
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise BitbybitError(
            "there is no such layer",
            where=model.path,
            found=name[:120],
            next_step=f"Near: {', '.join(near)}; all: bitbybit inspect without --layer.",
        )
    return model.layer(name)


def model_record(model: QuantizedModel) -> Record:
    """Return file, layers and totals of a model.

    Keys: ``model`` (file name), ``sha256``, ``form``, ``opsets``, ``inputs``, ``outputs``,
    ``layers`` (one :func:`layer_record` each, in graph order) and ``totals``.
    """
    layers = [layer_record(model, layer) for layer in model.layers]
    totals = {
        key: _total([record[key] for record in layers])
        for key in ("macs", "weights", "biases", "weight_bytes")
    }
    return {
        "model": model.path.name,
        "sha256": model.sha256,
        "form": model.form,
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "inputs": [edge_record(model.edges[name]) for name in model.inputs],
        "outputs": [edge_record(model.edges[name]) for name in model.outputs],
        "layers": layers,
        "totals": {
            "layers": len(layers),
            "float_islands": sum(isinstance(x, FloatIsland) for x in model.layers),
            **totals,
        },
    }


def layer_record(model: QuantizedModel, layer: Layer) -> Record:
    """Return everything about one layer except its weights' values."""
    found: Cost = cost(model, layer)
    record: Record = {
        "name": layer.name,
        "kind": layer.kind,
        "nodes": [{"op_type": op, "name": name} for op, name in layer.nodes],
        "inputs": [edge_record(model.edges[name]) for name in layer.inputs],
        "output": edge_record(model.edges[layer.name]),
        "macs": found.macs,
        "parameters": found.parameters,
        "weights": found.weights,
        "biases": found.biases,
        "weight_bytes": found.weight_bytes,
        "activation_bytes": found.activation_bytes,
        "accumulator": None if found.accumulator is None else asdict(found.accumulator),
    }
    if isinstance(layer, (Conv, Dense)):
        record["weight"] = tensor_record(layer.weight)
        record["bias"] = None if layer.bias is None else tensor_record(layer.bias)
    record["attributes"] = _attributes(layer)
    if isinstance(layer, FloatIsland):
        record["reason"] = layer.reason
    return record


def edge_record(edge: Edge) -> Record:
    """Return name, shape, dtype and parameters of an edge."""
    return {
        "name": edge.name,
        "onnx_name": edge.onnx_name,
        "shape": list(edge.shape),
        "dtype": str(edge.dtype),
        "quantization": params_record(edge.params),
    }


def tensor_record(tensor: QuantizedTensor) -> Record:
    """Return name, shape, dtype, range of the stored values and parameters of a constant."""
    values = tensor.values
    return {
        "name": tensor.name,
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "min": values.min().item() if values.size else None,
        "max": values.max().item() if values.size else None,
        "quantization": params_record(tensor.params),
    }


def params_record(params: QuantParams | None) -> Record | None:
    """Return scales (decimal and hex) and zero points, a number or one per channel."""
    if params is None:
        return None
    return {
        "granularity": "per channel" if params.per_channel else "per tensor",
        "axis": params.axis,
        "dtype": str(params.dtype),
        "scale": shortest(params.scale),
        "scale_hex": hex_floats(params.scale),
        "zero_point": params.zero_point.tolist(),
        "scale_name": params.scale_name,
        "zero_point_name": params.zero_point_name,
    }


def shortest(values: np.typing.NDArray[np.float32]) -> Any:
    """Return float32 values as Python floats that print as their shortest decimal.

    Examples
    --------
    >>> shortest(np.array(0.1, np.float32))
    0.1
    """
    if values.ndim:
        return [float(str(v)) for v in values.reshape(-1)]
    return float(str(values[()]))


def hex_floats(values: np.typing.NDArray[np.float32]) -> Any:
    """Return float32 values as hex floats, written as C writes them.

    Examples
    --------
    >>> hex_floats(np.array(0.1, np.float32))
    '0x1.99999ap-4'
    """
    found = [re.sub(r"\.?0*p", "p", float(v).hex()) for v in values.reshape(-1)]
    return found if values.ndim else found[0]


def _attributes(layer: Layer) -> Record:
    names: tuple[str, ...] = ()
    if isinstance(layer, Conv):
        names = ("strides", "pads", "dilations", "group", "relu")
    elif isinstance(layer, Reshape):
        names = ("shape",)
    elif hasattr(layer, "relu"):
        names = ("relu",)
    found = {name: getattr(layer, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _total(values: list[int | None]) -> int | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None
