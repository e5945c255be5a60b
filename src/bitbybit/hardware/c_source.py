"""The whole network in C99: the contract, written by hand, and one network as data and calls.

The folder ``c`` beside this file holds the operators; :func:`write_c` copies them and adds
``network.c``, which it makes of a model. Nothing but a C99 compiler and libm is needed.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bitbybit.errors import BitbybitError, EnvironmentProblem, UnsupportedError
from bitbybit.execution.engine import Trace, compute, has_accumulator, params, trace
from bitbybit.execution.feed import stimuli
from bitbybit.files import atomic_write_bytes, atomic_write_text
from bitbybit.model import types
from bitbybit.model.types import Add, AnyArray, Conv, Dense, Layer, QuantizedModel
from bitbybit.text import file_names

SOURCES = Path(__file__).parent / "c"
"""The folder of what is the same for every network."""

FLAGS = "-std=c99 -O2 -Wall -Wextra -Werror -ffp-contract=off"
COMPILE = f"cc {FLAGS} -o network *.c -lm"
"""How to compile what :func:`write_c` wrote, in its folder."""


class ProgramReport(NamedTuple):
    """What the C program said.

    Attributes
    ----------
    text : what it printed: the first mismatch of each tensor, and the sum
    mismatches : values that differ
    """

    text: str
    mismatches: int


class Listing(str):
    """A piece of C; it is shown as such in a notebook."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return f"```c\n{self}```"


_CALLS: dict[type[Layer], str] = {
    types.Quantize: "quantize_linear({x}_y, {size}, {y}_p, {y}_y)",
    types.Dequantize: "dequantize_linear({x}_y, {x}_p, {size}, {y}_y)",
    Conv: "qlinear_conv({x}_y, {x}_p, &{y}_layer, &{y}_window, {y}_p, {y}_acc, {y}_y)",
    Dense: "qlinear_matmul({x}_y, {x}_p, &{y}_layer, {rows}, {inner}, {columns}, {y}_p, "
    "{y}_acc, {y}_y)",
    types.GlobalPool: "qlinear_global_average_pool({x}_y, {x}_p, {size}, {pixels}, {y}_p, {y}_acc, "
    "{y}_y)",
    Add: "qlinear_add({x}_y, {x}_p, {b}_y, {b}_p, {size}, {y}_p, {y}_y)",
    types.MaxPool: "max_pool({x}_y, &{y}_window, {qmin}, {y}_y)",
    types.Lookup: "lookup({x}_y, {y}_w, {qmin}, {size}, {y}_y)",
    types.Reshape: "memcpy({y}_y, {x}_y, sizeof {y}_y)",
}
_KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "UINT16", "INT32")


def write_c(model: QuantizedModel, folder: Path | str) -> tuple[Path, ...]:
    """Write a network as a C99 program: ``network.c`` and the operators that it calls.

    ``network.c`` says how to compile it. ``network INPUTS --write FOLDER`` writes every tensor,
    ``--compare FOLDER`` holds them against files, ``--layers FOLDER`` runs each layer alone on
    inputs of its own. ``NAME/y.bin`` is the output of layer NAME, ``acc`` its accumulators with
    bias, ``x`` an input: little-endian, ONNX layout, one run after the other, as in a pack of
    vectors with ``--format bin``.

    Parameters
    ----------
    model
        A network of integer layers only. An open batch size becomes 1: one run is one image.
    folder
        Where to write; it is made if it is missing.

    Returns
    -------
    The files.

    Raises
    ------
    UnsupportedError
        A layer or tensor type without a C form, or an input whose shape is open.
    EnvironmentProblem
        A file cannot be written.
    """
    texts = {path.name: path.read_text(encoding="utf-8") for path in SOURCES.glob("*.[ch]")}
    texts["network.c"] = _Writer(model).text()
    for name, text in texts.items():
        atomic_write_text(Path(folder) / name, text)
    return tuple(Path(folder) / name for name in texts)


def c_compiler() -> str:
    """Return the path of gcc, clang or cc, the first that is there; "" where none is."""
    return next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), "")


def check_c(
    traced: Trace,
    layers: Sequence[str] = (),
    changes: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> ProgramReport:
    """Compile the C program of a network here, and hold its tensors against a trace.

    Parameters
    ----------
    traced
        What the network must compute.
    layers
        Layers to run alone, each on its inputs in the trace; by default the network runs.
    changes
        Text of ``contract.c`` and what to put in its place: what would this mistake do?
    options
        Further options of the compiler.

    Raises
    ------
    EnvironmentProblem
        There is no compiler, or it refuses the program: its words are told.
    UnsupportedError
        As :func:`write_c`.
    """
    model, compiler = traced.model, c_compiler()
    if not compiler:
        what, next_step = "there is no C compiler", "Install gcc or clang."
        raise EnvironmentProblem(what, where="gcc, clang, cc", next_step=next_step)
    with tempfile.TemporaryDirectory() as name:
        folder, golden = Path(name), Path(name) / "golden"
        write_c(model, folder)
        text = (folder / "contract.c").read_text(encoding="utf-8")
        for old, new in (changes or {}).items():
            text = text.replace(old, new)
        atomic_write_text(folder / "contract.c", text)
        sources = map(str, sorted(folder.glob("*.c")))
        _run([compiler, *FLAGS.split(), *options, "-o", "network", *sources, "-lm"], folder)
        for file, values in tensor_files(traced, layers).items():
            content = values.astype(values.dtype.newbyteorder("<")).tobytes()
            atomic_write_bytes(golden / f"{file}.bin", content)
        mode = "--layers" if layers else "--compare"
        said = _run([str(folder / "network"), "golden", mode, "golden"], folder)
    return ProgramReport(said, int(re.findall(r"(\d+) mismatches", said)[-1]))


def tensor_files(traced: Trace, layers: Sequence[str] = ()) -> dict[str, AnyArray]:
    """Return the tensors that the C program compares, by the name of their file, without suffix.

    Parameters
    ----------
    traced
        Their values.
    layers
        Layers that run alone and need their inputs; by default the inputs are the network's.
    """
    model = traced.model
    names = file_names([*model.inputs, *(layer.name for layer in model.layers)])
    found = {} if layers else {f"{names[name]}.x": traced[name] for name in model.inputs}
    for layer in model.layers:
        if not layers or layer.name in layers:
            found[f"{names[layer.name]}.y"] = traced[layer.name]
            if has_accumulator(layer):
                found[f"{names[layer.name]}.acc"] = traced.accumulator(layer.name)
        for place, name in enumerate(layer.inputs if layer.name in layers else ()):
            found[f"{names[layer.name]}.x{place or ''}"] = traced[name]
    return found


def _run(words: list[str], folder: Path) -> str:
    """Return what a program prints."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode > 1 or done.stderr:
        next_step = f"Compile the program by hand: {COMPILE}"
        raise EnvironmentProblem(
            "failed", where=words[0], found=done.stderr.strip(), next_step=next_step
        )
    return done.stdout


def c_function(name: str) -> Listing:
    """Return the text of one function of ``contract.c``, with the comment above it.

    A notebook shows it as C.

    Parameters
    ----------
    name
        For example ``"requantize"``.

    Raises
    ------
    BitbybitError
        There is no such function.
    """
    source = (SOURCES / "contract.c").read_text(encoding="utf-8")
    comment, opening = r"(?:^/\*(?:(?!\*/).)*\*/\n)?", r"^(?:[a-z]\w* )+\*?"
    pattern = rf"{comment}{opening}{re.escape(name)}\([^;]*?\)\n\{{.*?^\}}\n"
    found = re.search(pattern, source, re.MULTILINE | re.DOTALL)
    if found is None:
        what, next_step = "there is no such function", "contract.h lists them."
        raise BitbybitError(what, where="contract.c", found=name[:120], next_step=next_step)
    return Listing(found[0])


class _Writer:
    """Collects the parts of one ``network.c``."""

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        for layer in model.layers:
            if type(layer) not in _CALLS:
                expected = ", ".join(kind.kind for kind in _CALLS)
                raise self.no_form(layer.name, expected, getattr(layer, "reason", layer.kind))
        for name in model.inputs:
            if None in model.edges[name].shape[1:] or not model.edges[name].shape:
                raise self.no_form(name, "a shape", list(model.edges[name].shape))
        one_run = trace(model, stimuli(model, 1))
        self.shapes = {name: values.shape for name, values in one_run.items()}
        self.files = file_names([*model.inputs, *(layer.name for layer in model.layers)])
        plain = [file if file[0].isalpha() else f"n{file}" for file in self.files.values()]
        self.names = dict(zip(self.files, file_names(plain, "_").values(), strict=True))
        self.data: list[str] = []
        self.tensors: list[str] = []
        self.rows: list[str] = []
        self.places: dict[str, int] = {}

    def no_form(self, name: str, expected: object, found: object) -> UnsupportedError:
        """Return the error of what cannot be written."""
        return UnsupportedError(
            "this has no C form",
            where=f"{self.model.path.name}, {name}",
            expected=expected,
            found=found,
            next_step="Write a network without it: cut it off, or fix the shape.",
        )

    def text(self) -> str:
        """Return the whole file."""
        for name in self.model.inputs:
            self.tensor(name, "x", self.model.edges[name].dtype.name)
        calls = [
            f"    case {place}: {self.layer(layer)}; break;"
            for place, layer in enumerate(self.model.layers)
        ]
        return (SOURCES / "network.c.in").read_text(encoding="utf-8").format(
            name=re.sub(r"[^\w.-]", "_", self.model.path.name, flags=re.ASCII),
            sha256=self.model.sha256,
            compile=COMPILE,
            data="\n".join(self.data),
            calls="\n".join(calls),
            inputs=len(self.model.inputs),
            tensors="\n".join(self.tensors),
            layers="\n".join(self.rows),
        )  # fmt: skip

    def layer(self, layer: Layer) -> str:
        """Declare what a layer makes and has; return its call."""
        self.data.append(f"\n/* {layer.kind} {self.files[layer.name]} */")
        first = len(self.tensors)
        if has_accumulator(layer):
            self.tensor(layer.name, "acc", "int32")
        self.tensor(layer.name, "y", self.model.edges[layer.name].dtype.name)
        edges = [*layer.inputs, layer.name]
        size = {name: math.prod(self.shapes[name]) for name in edges}
        if isinstance(layer, Add) and size[layer.name] == 1:
            edges[:2] = edges[1::-1]  # the runtime takes a single number for the repeated operand
        reads = [self.places[name] for name in layer.inputs]
        count = self.places[layer.name] - first + 1
        self.rows.append(f"    {{{first}, {count}, {len(reads)}, {_braces(reads)}}},")
        call = _CALLS[type(layer)]
        fields: dict[str, Any] = dict(zip("xb", (self.names[n] for n in edges[:-1]), strict=False))
        fields |= {"y": self.names[layer.name], "size": size[layer.name]}
        fields["pixels"] = size[edges[0]] // size[layer.name]
        if isinstance(layer, (Conv, Dense)):
            self.constants(layer)
        if isinstance(layer, (types.MaxPool, types.Lookup)):
            read = params(self.model.edges[layer.inputs[0]], layer)
            fields["qmin"] = read.qmin
            if isinstance(layer, types.Lookup):
                every_code = np.arange(read.qmin, read.qmax + 1).astype(read.dtype)
                self.array("code", f"{fields['y']}_w", compute(self.model, layer, [every_code]))
            else:
                moves = [layer.attributes[n] for n in ("kernel_shape", "strides", "dilations")]
                self.window(layer, [*moves, layer.attributes["pads"][:2]], 1)
        if isinstance(layer, Dense):
            inner, columns = layer.weight.values.shape
            fields |= {"inner": inner, "columns": columns, "rows": size[layer.name] // columns}
            if self.model.edges[layer.name].params is None:
                call = call.replace("qlinear_matmul", "matmul_to_float").replace(" {y}_p,", "")
        made = call.format(**fields)
        for name in edges:
            if f"{self.names[name]}_p" in made:
                self.params(name, layer)
        return made

    def tensor(self, edge: str, part: str, dtype: str) -> None:
        """Declare an array and its row in the table."""
        shape = self.shapes[edge]
        if dtype.upper() not in _KINDS or len(shape) > 8:
            found = f"{dtype} {list(shape)}"
            raise self.no_form(edge, f"{', '.join(_KINDS)}, at most 8 axes", found)
        kind = {"acc": "int32_t"}.get(part, "float" if dtype == "float32" else "code")
        name = f"{self.names[edge]}_{'acc' if part == 'acc' else 'y'}"
        self.data.append(f"static {kind} {name}[{math.prod(shape)}];")
        sizes = _braces(shape or (1,))
        row = f'"{self.files[edge]}", "{part}", {dtype.upper()}, {len(shape)}, {sizes}, {name}'
        self.places[edge] = len(self.tensors)
        self.tensors.append(f"    {{{row}}},")

    def params(self, name: str, layer: Layer) -> None:
        """Declare the parameters of an edge, once."""
        p = params(self.model.edges[name], layer)
        if p.scale.size > 1:
            raise self.no_form(name, "one scale", f"{p.scale.size} scales")
        scale, zero_point = p.scale.item(), int(p.zero_point.item())
        values = _braces([f"{scale.hex()}f", zero_point, p.qmin, p.qmax])
        text = f"static const params {self.names[name]}_p = {values}; /* scale {scale:.9g} */"
        if text not in self.data:
            self.data.append(text)

    def constants(self, layer: Conv | Dense) -> None:
        """Declare weights, their parameters, the bias, and how a kernel moves."""
        name, weight, p = self.names[layer.name], layer.weight.values, params(layer.weight, layer)
        channels = weight.shape[0 if isinstance(layer, Conv) else 1]
        per_channel = {
            "w_scale": p.scale,
            "w_zero_point": p.zero_point,
            "b": np.int32(0) if layer.bias is None else layer.bias.values,
        }
        self.array("code", f"{name}_w", weight.flat)
        for part, values in per_channel.items():
            kind = {"w_scale": "float", "b": "int32_t"}.get(part, "code")
            self.array(kind, f"{name}_{part}", np.broadcast_to(values, channels))
        arrays = _braces(f"{name}_{part}" for part in ("w", *per_channel))
        self.data.append(f"static const weights {name}_layer = {arrays};")
        if isinstance(layer, Conv):
            moves = weight.shape[2:], layer.strides, layer.dilations, layer.pads[:2]
            self.window(layer, moves, layer.group)

    def window(self, layer: Layer, moves: Iterable[Sequence[int]], group: int) -> None:
        """Declare how a kernel moves: its size, strides, dilations, and the pads before."""
        (n, c, *size), (_, m, *made) = (self.shapes[e] for e in (layer.inputs[0], layer.name))
        fields = [n, c, _braces(size), m, _braces(made), *map(_braces, moves), group]
        self.data.append(
            f"static const window {self.names[layer.name]}_window = {_braces(fields)};"
        )

    def array(self, kind: str, name: str, values: Iterable[Any]) -> None:
        """Declare constants."""
        written = [f"{float(v).hex()}f" if kind == "float" else str(int(v)) for v in values]
        body = textwrap.indent(textwrap.fill(", ".join(written), 94), "    ")
        self.data.append(f"static const {kind} {name}[{len(written)}] = {{\n{body}\n}};")


def _braces(values: Iterable[Any]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"
