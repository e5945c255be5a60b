"""The network that computes in the page: its integers, its pictures, and the script that runs it.

The directive ``live`` names committed models; the first computes when the page opens.  A page
that has it loads ``live.js``, the modules of ``book/_static/live`` in one classic script, and
``live-NAME.js``, which assigns the integers of a model to a global: browsers load neither modules
nor JSON from ``file://``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import Trace
from bitbybit.model import types
from bitbybit.model.types import QuantizedModel, QuantParams

FORMAT = 1
GLOBAL = "bitbybitLive"
EIGHT_BIT = ("int8", "uint8")
STORED = ("int8", "uint8", "int32", "float32")
IMPORT = re.compile(r"^import \{[^}]*\} from \"\./([\w-]+)\.js\";\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=const|let|class|function|async function)", re.MULTILINE)
DECLARED = re.compile(r"^(?:const|let|class|function|async function) +(\[[^\]]*\]|\{[^}]*\}|[\w$]+)",
                      re.MULTILINE)  # fmt: skip
COMMENT = re.compile(r"^ *(?://.*|/\*\*?(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
INDENT = re.compile(r"^ +", re.MULTILINE)


def exported(model: QuantizedModel) -> dict[str, Any]:
    """Return a network as JSON values: what the script needs to compute it, bit for bit.

    Raises UnsupportedError, which names the layer, for what the script has no arithmetic for.
    """
    if len(model.inputs) != 1 or model.edges[model.inputs[0]].dtype != np.float32:
        raise refused(model.path.name, "the script feeds one float32 input", list(model.inputs))
    layers = []
    for layer in model.layers:
        write = WRITERS.get(type(layer))
        if write is None:
            raise refused(layer.name, "the script has no arithmetic for it", layer.kind)
        common = {"name": layer.name, "kind": layer.kind, "inputs": list(layer.inputs)}
        layers.append(common | write(model, layer))
    edges = {name: edge_values(edge) for name, edge in model.edges.items()}
    return {
        "format": FORMAT, "name": model.path.name, "sha256": model.sha256,
        "input": model.inputs[0], "edges": edges, "layers": layers,
    }  # fmt: skip


def refused(where: str, what: str, found: object) -> UnsupportedError:
    """Return the error for a network that the page cannot compute."""
    return UnsupportedError(
        what, where=where, found=found,
        next_step="Show another model in the page, or extend book/_static/live/engine.js.",
    )  # fmt: skip


def edge_values(edge: types.Edge) -> dict[str, Any]:
    """Return the shape of one image's values, and the parameters of their codes."""
    shape = edge.shape[1:]
    if None in shape or not shape:
        raise refused(edge.name, "the script needs a fixed shape", list(edge.shape))
    values: dict[str, Any] = {"shape": list(shape)}
    if edge.params is not None:
        values |= quantized(edge.params, edge.name)
    return values


def quantized(params: QuantParams, name: str) -> dict[str, Any]:
    """Return rails, zero point and scale of a tensor with one scale and eight-bit codes."""
    if params.dtype.name not in EIGHT_BIT or params.axis is not None:
        raise refused(name, "the script computes 8-bit codes of one scale", params.dtype.name)
    return {
        "dtype": params.dtype.name, "qmin": params.qmin, "qmax": params.qmax,
        "zero": int(params.zero_point), "scale": packed(params.scale),
    }  # fmt: skip


def packed(values: NDArray[Any]) -> dict[str, str]:
    """Return an array as its type and the base64 of its little-endian bytes."""
    flat = np.atleast_1d(values).ravel()
    little = flat.astype(flat.dtype.newbyteorder("<"))
    assert flat.dtype.name in STORED
    return {"type": flat.dtype.name, "data": base64.b64encode(little.tobytes()).decode()}


def needed(model: QuantizedModel, name: str) -> QuantParams:
    """Return the parameters of an edge."""
    params = model.edges[name].params
    if params is None:
        raise refused(name, "the script needs a quantized tensor here", "float32")
    return params


def weighted(model: QuantizedModel, layer: Any, weight: NDArray[Any]) -> dict[str, Any]:
    """Return the constants of a layer with weights, arranged ``[M, C/G, kH, kW]``."""
    x, y, w = needed(model, layer.inputs[0]), needed(model, layer.name), layer.weight.params
    if w is None or w.dtype.name not in EIGHT_BIT:
        raise refused(layer.name, "the script needs eight-bit weights", layer.weight.values.dtype)
    values = {
        "weight": packed(weight), "weightZero": packed(w.zero_point), "shape": list(weight.shape),
        "multiplier": packed(arithmetic.conv_multiplier(x.scale, w.scale, y.scale)),
    }  # fmt: skip
    if layer.bias is not None:
        values["bias"] = packed(layer.bias.values)
    return values


def conv(model: QuantizedModel, layer: types.Conv) -> dict[str, Any]:
    """Return the constants of a convolution and how its window moves."""
    return weighted(model, layer, layer.weight.values) | {
        "strides": list(layer.strides), "pads": list(layer.pads),
        "dilations": list(layer.dilations), "group": layer.group,
    }  # fmt: skip


def dense(model: QuantizedModel, layer: types.Dense) -> dict[str, Any]:
    """Return a dense layer as the convolution of one pixel that it is."""
    if len(model.edges[layer.inputs[0]].shape) != 2:
        raise refused(
            layer.name, "the script multiplies one row", model.edges[layer.inputs[0]].shape
        )
    weight = layer.weight.values.T[:, :, None, None]
    window = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    return weighted(model, layer, weight) | window


def add(model: QuantizedModel, layer: types.Add) -> dict[str, Any]:
    """Return the ratios and the constant of an addition; the latter also with no output zero."""
    a, b, c = (needed(model, name) for name in (*layer.inputs, layer.name))
    shapes = {model.edges[name].shape[1:] for name in (*layer.inputs, layer.name)}
    if len(shapes) > 1 or max(shapes.pop(), default=1) == 1:
        raise refused(layer.name, "the script adds tensors of one shape", layer.inputs)
    operands = (a.scale, a.zero_point, b.scale, b.zero_point, c.scale)
    first, second, fixed = arithmetic.add_constants(*operands, c.zero_point)
    without = arithmetic.add_constants(*operands, np.zeros_like(c.zero_point))[2]
    return {
        "ratios": packed(np.float32([first, second])),
        "fixed": packed(np.float32([fixed, without])),
    }


def global_pool(model: QuantizedModel, layer: types.GlobalPool) -> dict[str, Any]:
    """Return the multiplier of a mean."""
    x, y = needed(model, layer.inputs[0]), needed(model, layer.name)
    pixels = int(np.prod(model.edges[layer.inputs[0]].shape[2:], dtype=int))
    return {"multiplier": packed(arithmetic.pool_multiplier(x.scale, y.scale, pixels))}


def ends(model: QuantizedModel, layer: types.Layer) -> dict[str, Any]:
    """Return nothing more: what quantizes, dequantizes or reshapes needs its edges only."""
    sizes = {int(np.prod(model.edges[name].shape[1:])) for name in (*layer.inputs, layer.name)}
    if len(sizes) > 1:
        raise refused(layer.name, "the script keeps the size of an image's tensor", sorted(sizes))
    return {}


WRITERS: Mapping[type[types.Layer], Callable[[QuantizedModel, Any], dict[str, Any]]] = {
    types.Quantize: ends, types.Dequantize: ends, types.Reshape: ends,
    types.Conv: conv, types.Dense: dense, types.Add: add, types.GlobalPool: global_pool,
}  # fmt: skip


def checksum(trace: Trace) -> int:
    """Return FNV-1a over all codes of one image in graph order, as engine.js computes it."""
    value = 0x811C9DC5
    for name, edge in trace.model.edges.items():
        if edge.params is not None:
            for code in trace[name].ravel().astype(np.uint8).tolist():
                value = (value ^ code) * 0x01000193 & 0xFFFFFFFF
    return value


def assigned(key: str, values: Any) -> str:
    """Return a classic script that puts values under a key of the page's global."""
    text = json.dumps(values, separators=(",", ":"), sort_keys=True)
    return f'(window.{GLOBAL} = window.{GLOBAL} || {{}})["{key}"] = {text};\n'


def script(folder: Path, entry: str) -> str:
    """Return a module and all that it imports as one classic script.

    The modules share one function scope, so no two may declare the same name.
    """
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for imported in IMPORT.findall((folder / f"{name}.js").read_text(encoding="utf-8")):
                visit(imported)
            order.append(name)

    visit(entry)
    parts, owners = [], {}
    for name in order:
        text = EXPORT.sub("", IMPORT.sub("", (folder / f"{name}.js").read_text(encoding="utf-8")))
        for declared in DECLARED.findall(text):
            if owners.setdefault(declared, name) != name:
                raise ValueError(f"{name}.js and {owners[declared]}.js both declare {declared}")
        parts.append(INDENT.sub("", COMMENT.sub("", text)).strip())
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"
