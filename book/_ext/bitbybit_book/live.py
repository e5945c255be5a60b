"""The network that computes in the page: its integers, its pictures, and the script that runs it.

The directive ``live`` names committed models, of which the first computes when the page opens, and
the output whose receipt is open; its text is for notebooks, where no script runs.  A page
that has it loads ``live.js``, the modules of ``book/_static/live`` in one classic script, and
``live-NAME.js``, which assigns the integers of a model to a global: browsers load neither modules
nor JSON from ``file://``.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from numpy.typing import NDArray
from PIL import Image
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import bitbybit
from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import Trace
from bitbybit.model import types
from bitbybit.model.types import QuantizedModel, QuantParams
from bitbybit.pictures.tensor_images import LEVELS, palette

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


def checksums(trace: Trace, names: Sequence[str]) -> dict[str, int]:
    """Return FNV-1a over all codes of each image in graph order, as engine.js computes it."""
    found = {}
    for image, name in enumerate(names):
        value = 0x811C9DC5
        for edge in trace.model.edges.values():
            if edge.params is not None:
                for code in trace[edge.name][image].ravel().astype(np.uint8).tolist():
                    value = (value ^ code) * 0x01000193 & 0xFFFFFFFF
        found[name] = value
    return found


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


# --- what stands on the page before a script runs, or without one -------------------------------

STATIC = Path("_build/drawn")
PAGE_SCRIPT = """<script defer src="{static}live-{first}.js"></script>
<script defer src="{static}live-page.js"></script>
<script defer src="{static}live.js"></script>"""


class LiveNetwork(nodes.General, nodes.Element):  # type: ignore[misc]
    """The place of the live network; the attributes are those of the directive."""


class LiveDirective(Directive):  # type: ignore[misc]
    """Show committed models at work."""

    has_content = True
    option_spec = dict.fromkeys(("models", "at"), directives.unchanged_required)  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Keep what was asked for."""
        picture, layer, *at = self.options["at"].split("/")
        models = self.options["models"].split()
        return [LiveNetwork(models=models, picture=picture, layer=layer, at=" ".join(at))]


def receipt_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Link to the receipt at ``picture/layer/channel/row/column``, which must exist."""
    picture, layer, *at = text.split("/")
    model = bitbybit.load(bitbybit.example("int8"))
    edge = model.edges.get(layer)
    sizes = [*edge.shape[1:], 1, 1][:3] if edge is not None else []
    places = [int(place) if place.isdigit() else -1 for place in at]
    inside = len(places) == len(sizes) and all(
        0 <= place < int(size or 0) for place, size in zip(places, sizes)
    )
    if picture not in pictures() or not inside:
        message = inliner.reporter.error(f"there is no receipt {text}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    said = f"{picture} · {layer} · {' · '.join(at)}"
    return [nodes.reference(rawtext, said, refuri=f"index.html#{text}", internal=True)], []


def pictures() -> dict[str, NDArray[np.uint8]]:
    """Return the bundled pictures by name."""
    split = bitbybit.samples()
    return {name.removesuffix(".png"): image for name, image in zip(split.names, split.images)}


def page_values() -> dict[str, Any]:
    """Return what the page needs beside a network: pictures, names of classes, colours."""
    ramps = {
        name: palette(diverging=diverging)[:LEVELS].tolist()
        for name, diverging in (("sequential", False), ("diverging", True))
    }
    images = pictures()
    return {
        "pictures": {name: packed(image) for name, image in images.items()},
        "classes": list(images), "ramps": ramps,
    }  # fmt: skip


def laid_out(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the columns of a layer's sheet of maps, and its width and height in codes."""
    channels, height, width = shape
    columns = min(32, channels) if height * width == 1 else 1
    while (
        height * width > 1
        and columns < channels
        and columns * width < -(-channels // columns) * height
    ):
        columns *= 2
    return columns, columns * width, -(-channels // columns) * height


def sheet(codes: NDArray[Any], params: QuantParams) -> Image.Image:
    """Return the maps ``[C, H, W]`` of a layer side by side, as paint.js draws them."""
    channels, height, width = codes.shape
    columns, wide, high = laid_out(codes.shape)
    diverging, zero = not params.at_lower_rail, int(params.zero_point)
    centred = codes.astype(float) - zero
    share = (centred / max(params.qmax - zero, zero - params.qmin) + 1) / 2
    entries = np.zeros((high // height * columns, height, width), np.uint8)
    shown = share if diverging else np.sqrt(centred / 255)
    entries[:channels] = np.floor(shown * (LEVELS - 1) + 0.5)  # as JavaScript rounds
    rows = entries.reshape(-1, columns, height, width).transpose(0, 2, 1, 3)
    image = Image.fromarray(np.ascontiguousarray(rows.reshape(high, wide)))
    image.putpalette(palette(diverging=diverging)[:LEVELS].tobytes())
    return image


def maps(model: QuantizedModel) -> list[str]:
    """Return the layers whose outputs are shown as maps: those of more than a pixel, and means."""
    return [
        layer.name for layer in model.layers
        if len(model.edges[layer.name].shape) == 4 and layer.kind != "quantize"
        and model.edges[layer.name].params is not None
    ]  # fmt: skip


def button(model: QuantizedModel, name: str, kind: str, picture: str) -> str:
    """Return the tile of a layer: a canvas of its size, or the same picture without a script."""
    shape = model.edges[name].shape[1:]
    said, label = "×".join(map(str, shape)), escape(name)
    _, width, height = laid_out(shape) if kind == "tile" else (1, 32, 32)
    size = f'width="{width}" height="{height}"'
    count = '<span class="bb-live-count"></span>' if kind == "tile" else ""
    return (
        f'<button type="button" class="bb-live-{kind}" data-layer="{label}" '
        f'aria-label="{label}, {said}: choose an output; arrow keys move"><canvas {size}></canvas>'
        f'<noscript><img src="{picture}" {size} alt="{label}"></noscript></button>'
        f'<span class="bb-live-name">{label} <small>{said}</small>{count}</span>'
    )


def skeleton(node: LiveNetwork, static: str) -> str:
    """Return the HTML of a live network with the integers of its first state."""
    model = bitbybit.load(bitbybit.example(node["models"][0]))
    image = pictures()[node["picture"]].astype(np.float32)
    trace = bitbybit.trace(model, image[None])
    first = next(layer.name for layer in model.layers if layer.kind == "quantize")
    last = [layer for layer in model.layers if layer.kind == "dense"][-1].name
    params = needed(model, last)
    drawn = f"{static}live/{node['models'][0]}-"
    tiles = "".join(
        f'<div class="bb-live-{"wide" if model.edges[name].shape[2:] == (1, 1) else "map"}">'
        + button(model, name, "tile", f"{drawn}{name}.png")
        + "</div>"
        for name in maps(model)
    )
    classes = "".join(
        f'<li><button type="button" data-layer="{last}" data-channel="{i}"'
        f"{' data-first' if i == trace[last][0].argmax() else ''}><span>{name}</span>"
        f'<meter min="{params.qmin}" max="{params.qmax}" value="{code}" aria-label="{name}">'
        f'</meter><span class="bb-live-code">{str(code).replace("-", "−")}</span></button></li>'
        for i, (name, code) in enumerate(zip(pictures(), trace[last][0].tolist()))
    )
    photo = button(model, first, "photo", f"{static}live/{node['picture']}.png")
    attributes = {
        "models": " ".join(node["models"]), "picture": node["picture"],
        "layer": node["layer"], "at": node["at"],
    }  # fmt: skip
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in attributes.items())
    return (
        f'<link rel="stylesheet" href="{static}live.css">'
        f'<div class="bb-live" {data}>'
        f'<div class="bb-live-side"><div>{photo}</div><div class="bb-live-pictures"></div>'
        f'<ol class="bb-live-classes" aria-label="Codes of {last}">{classes}</ol></div>'
        f'<div class="bb-live-maps">{tiles}</div>'
        '<div class="bb-live-status"></div>'
        '<fieldset class="bb-live-breaking"><legend>Break it</legend>'
        '<div class="bb-live-break"></div></fieldset>'
        '<div class="bb-live-receipt"></div></div>\n'
        + PAGE_SCRIPT.format(static=static, first=node["models"][0])
    )


def visit(self: HTML5Translator, node: LiveNetwork) -> None:
    """Write it; the models that it names are written beside the page's other files."""
    static = "../" * self.builder.current_docname.count("/") + "_static/"
    self.body.append(skeleton(node, static))
    raise nodes.SkipNode


def write_files(app: Sphinx, config: Any) -> None:
    """Write scripts, integers and static maps into the generated static folder."""
    here = Path(app.srcdir)
    drawn = here / STATIC
    (drawn / "live").mkdir(parents=True, exist_ok=True)
    (drawn / "live.js").write_text(script(here / "book/_static/live", "page"), encoding="utf-8")
    (drawn / "live-page.js").write_text(assigned("page", page_values()), encoding="utf-8")
    images = pictures()
    for name, image in images.items():
        Image.fromarray(image.transpose(1, 2, 0)).save(drawn / "live" / f"{name}.png")
    for key in ("int8", "int8_per_tensor", "uint8"):
        model = bitbybit.load(bitbybit.example(key))
        trace = bitbybit.trace(model, np.stack(list(images.values())).astype(np.float32))
        values = exported(model) | {"checksums": checksums(trace, list(images))}
        (drawn / f"live-{key}.js").write_text(assigned(key, values), encoding="utf-8")
        shown = list(images).index("ship")
        for name in maps(model):
            codes, params = trace[name][shown], needed(model, name)
            sheet(codes, params).save(drawn / "live" / f"{key}-{name}.png", optimize=True)


def setup(app: Sphinx) -> None:
    """Connect the directive, and write what its pages load."""
    app.add_directive("live", LiveDirective)
    app.add_role("receipt", receipt_role)
    app.add_node(LiveNetwork, html=(visit, None))
    app.connect("config-inited", write_files, priority=600)
