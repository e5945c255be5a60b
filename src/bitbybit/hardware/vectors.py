"""Writing a pack: every integer of every layer, for whoever builds the layer elsewhere.

A set of stimuli is written layer by layer; what is whole is noted in ``unfinished.jsonl``, so that
an interrupted run goes on from there. The manifest comes last.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from bitbybit import __version__, arithmetic
from bitbybit.digits import hex_float, shortest
from bitbybit.errors import BitbybitError, UnsupportedError
from bitbybit.execution.engine import accumulate, has_accumulator, trace
from bitbybit.execution.feed import Feed, Input, batches, feed, input_values, stimuli
from bitbybit.execution.verification import require_integers
from bitbybit.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from bitbybit.hardware.c_source import write_c
from bitbybit.hardware.coverage import coverage
from bitbybit.hardware.layouts import (
    FORMATS,
    Where,
    arranged,
    as_header,
    as_words,
    block_of,
    npy_bytes,
    word_bytes,
)
from bitbybit.hardware.pack import (
    FORMAT,
    MANIFEST,
    SCHEMA,
    VERSION,
    Pack,
    Record,
    check_file,
    files_of,
    load_array,
    read_pack,
    schema,
    wrong,
)
from bitbybit.hardware.scheme import Scheme
from bitbybit.hardware.stimuli import MOST, PATTERNS, Target, directed_inputs, hazard_inputs
from bitbybit.model import types
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel, QuantParams
from bitbybit.text import file_names, printable

BATCH = 64
"""Images of one set of real stimuli: memory and the loss of an interruption are bounded by it."""

JOURNAL = "unfinished.jsonl"

STIMULI = ("real", "directed", "hazard")

CONTRACT = 1
"""Version of the arithmetic that the vectors follow."""

_CONTRACT = (
    "the integer graph of ONNX with ONNX Runtime's requantization in float32: a is an int32 "
    "accumulator with its bias, modulo 2^32; m = (x_scale * w_scale) / y_scale from left to right; "
    "y = rint(clip(float32(a) * m, qmin - z, qmax - z)) + z with z = y_zero_point, ties to even"
)

Progress = Callable[[str, int, int], None]
"""What is being written, how many parts are done, and of how many (0: not known)."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a pack shall hold.

    Attributes
    ----------
    layers : names of the layers; none means all
    stimuli : of "real" (whole images through the network), "directed" and "hazard"
    hazard_images : at most so many images of a layer's hazards
    scheme : how accumulators become codes
    formats : of "npy", "hex", "bin" and "c"; the ``.npy`` files in ONNX layout are always there
    layouts : of NCHW, NHWC, NC/8HW8 (any block) and im2col, for the formats
    word_bits : width of a word of a hex file
    words : what the images are, in words
    labels : one name for each image
    """

    layers: tuple[str, ...] = ()
    stimuli: tuple[str, ...] = ("real",)
    hazard_images: int = MOST
    scheme: Scheme = field(default_factory=Scheme)
    formats: tuple[str, ...] = ("npy",)
    layouts: tuple[str, ...] = ("NCHW",)
    word_bits: int = 64
    words: str = "seeded stimuli"
    labels: tuple[str, ...] = ()


def write_pack(
    model: QuantizedModel,
    folder: Path | str | None = None,
    inputs: Input | None = None,
    choice: Choice | None = None,
    progress: Progress | None = None,
) -> Pack:
    """Write the vectors of a network's layers, or go on where an interrupted run ended.

    Parameters
    ----------
    model
        A quantized network.
    folder
        An empty folder, one that is made, or the one of an interrupted run with the same wishes; by
        default a temporary one, which goes when nobody holds the pack any more.
    inputs
        Values of the graph inputs, as for :func:`bitbybit.execution.engine.trace`; by
        default seeded stimuli that reach every code of the inputs.
    choice
        What the pack shall hold; by default each layer's tensors for the inputs.
    progress
        Called before each part.

    Returns
    -------
    The pack, every hash checked.

    Raises
    ------
    DataError
        The folder holds something else, a layer has no such name, or an input is wrong.
    UnsupportedError
        The network has no integers.
    """
    require_integers(model)
    if inputs is None:
        inputs = stimuli(model, 4)
    where = Path(tempfile.mkdtemp() if folder is None else folder)
    writer = _Writer(model, where, input_values(model, inputs), choice or Choice())
    pack = writer.run(progress or (lambda *_: None))
    if folder is None:
        weakref.finalize(pack, shutil.rmtree, where, ignore_errors=True)
    return pack


class _Writer:
    """One run: a set of stimuli after the other, a layer after the other."""

    def __init__(self, model: QuantizedModel, folder: Path, inputs: Feed, choice: Choice) -> None:
        self.model, self.folder, self.inputs, self.choice = model, folder, inputs, choice
        chosen = [model.layer(name) for name in choice.layers] or list(model.layers)
        self.layers = [layer for layer in model.layers if layer in chosen]
        self.names = file_names([*model.inputs, *(layer.name for layer in model.layers)])
        self.scheme = choice.scheme
        _check(choice)
        self.sets: dict[str, Record] = {}
        self.done: dict[tuple[str, str], Record] = {}
        self.files: dict[str, Record] = {}

    def run(self, progress: Progress) -> Pack:
        """Write what is not there yet, then the manifest."""
        request = self._request()
        if (self.folder / MANIFEST).exists():
            return self._finished(request)
        self._open_journal(request)
        constants = {layer.name: self._constants(layer) for layer in self.layers}
        for name, part in self._real():
            self._write_set(name, part, progress)
        for kind in STIMULI[1:]:
            if kind in self.choice.stimuli:
                self._write_alone(kind, progress)
        self._file(SCHEMA, (json.dumps(schema(), indent=1) + "\n").encode())
        manifest = self._manifest(request, constants)
        atomic_write_json(self.folder / MANIFEST, manifest)
        (self.folder / JOURNAL).unlink()
        return Pack(self.folder, manifest)

    # What was asked for, and what is there of it.

    def _request(self) -> str:
        """Hash everything that decides the bytes of the pack."""
        asked = {
            "version": VERSION,
            "bitbybit": __version__,
            "model": [self.model.path.name, self.model.sha256],
            "choice": self._asked(),
            "inputs": {
                name: [values.dtype.str, values.shape, hashlib.sha256(values.tobytes()).hexdigest()]
                for name, values in self.inputs.items()
            },
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _asked(self) -> Record:
        """Return the choice as plain data."""
        own = {name: np.asarray(m).tolist() for name, m in self.scheme.own.items()}
        chosen = {x.name: getattr(self.choice, x.name) for x in fields(self.choice)}
        return chosen | {"scheme": [self.scheme.name, own]}

    def _finished(self, request: str) -> Pack:
        """Return the pack that is there already, if it is the one that was asked for."""
        pack = read_pack(self.folder)
        if pack.manifest["request"] != request:
            what = "the folder holds another pack"
            raise wrong(self.folder, what, "Name an empty folder, or remove this one.")
        return pack

    def _open_journal(self, request: str) -> None:
        """Read what an interrupted run has finished; refuse a folder of something else."""
        journal = self.folder / JOURNAL
        lines = journal.read_text("utf-8").splitlines() if journal.is_file() else []
        entries = [found for line in lines if (found := _json(line)) is not None]
        if not entries:
            if self.folder.exists() and (
                not self.folder.is_dir() or set(self.folder.iterdir()) - {journal}
            ):
                what = "there is something else in the folder"
                raise wrong(self.folder, what, "Name an empty folder, or a new one.")
        elif entries[0].get("request") != request:
            what = "the folder holds an unfinished pack of another run"
            next_step = "Repeat that command to finish it, or name an empty folder."
            raise wrong(self.folder, what, next_step)
        for entry in entries[1:]:
            self._take_up(entry)
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = [{"request": request}, *self.done.values()]
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        atomic_write_text(journal, text)

    def _take_up(self, entry: Record) -> None:
        """Take a part of an interrupted run, unless one of its files is not what it was."""
        try:
            for file in files_of(entry):
                check_file(self.folder, file)
        except BitbybitError:
            return
        self.done[entry["set"], entry["layer"]] = entry

    def _note(self, entry: Record) -> None:
        """Note that a part is whole."""
        self.done[entry["set"], entry["layer"]] = entry
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")

    # The vectors.

    def _real(self) -> Iterator[tuple[str, Feed]]:
        """Yield the images as sets of at most :data:`BATCH`, and note what is in each."""
        if "real" not in self.choice.stimuli:
            return
        parts = list(batches(self.model, self.inputs, BATCH))
        begin = 0
        for number, part in enumerate(parts):
            name = "real" if len(parts) == 1 else f"real-{number:04}"
            count = max((len(v) for v in part.values() if v.ndim), default=1)
            labels = self.choice.labels[begin : begin + count]
            items = labels or [f"image {begin + i}" for i in range(count)]
            self.sets[name] = {"kind": "real", "words": self.choice.words, "items": list(items)}
            begin += count
            yield name, part

    def _write_set(self, name: str, part: Feed, progress: Progress) -> None:
        """Write the layers of one set of images that are not there yet."""
        missing = [layer for layer in self.layers if (name, layer.name) not in self.done]
        if not missing:
            return
        progress(name, 0, len(missing))
        values = self._values(part)
        for number, layer in enumerate(missing):
            progress(f"{name}, {layer.name}", number, len(missing))
            inputs = [values[edge] for edge in layer.inputs]
            tensors = _sums(self.model, layer, inputs) | {"y": values[layer.name]}
            self._note(self._vectors(name, layer, inputs, tensors))

    def _write_alone(self, kind: str, progress: Progress) -> None:
        """Write stimuli made for each layer alone, where there are any."""
        items = list(PATTERNS) if kind == "directed" else []
        self.sets[kind] = {"kind": kind, "words": _WORDS[kind], "items": items}
        for number, layer in enumerate(self.layers):
            progress(f"{kind}, {layer.name}", number, len(self.layers))
            if (kind, layer.name) in self.done or isinstance(layer, NOT_ALONE):
                continue
            targets: list[Target] = []
            shapes = [self._shapes[edge] for edge in layer.inputs]
            if kind == "directed":
                inputs = directed_inputs(self.model, layer, shapes)
            else:
                inputs, targets = hazard_inputs(
                    self.model, layer, shapes, self.choice.hazard_images
                )
            if not inputs:
                continue
            tensors = _sums(self.model, layer, inputs)
            try:
                y = self.scheme.output(self.model, layer, inputs, tensors.get("acc"))
            except BitbybitError:  # a layer that takes no other number of images
                continue
            self._note(self._vectors(kind, layer, inputs, tensors | {"y": y}, targets))

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one image on every edge."""
        first = next(iter(batches(self.model, self.inputs, 1)))
        return {name: values.shape[1:] for name, values in trace(self.model, first).items()}

    def _values(self, part: Feed) -> Mapping[str, AnyArray]:
        """Return the values of all edges, under the scheme."""
        if self.scheme.is_contract:
            return trace(self.model, part)
        values: dict[str, AnyArray] = dict(feed(self.model, part))
        for layer in self.model.layers:
            inputs = [values[edge] for edge in layer.inputs]
            acc = _sums(self.model, layer, inputs).get("acc")
            values[layer.name] = self.scheme.output(self.model, layer, inputs, acc)
        return values

    def _vectors(
        self,
        name: str,
        layer: Layer,
        inputs: Sequence[AnyArray],
        tensors: Mapping[str, AnyArray],
        targets: Sequence[Target] = (),
    ) -> Record:
        """Save the tensors of one layer; an edge of the network only once, whoever reads it."""
        folder = f"{name}/{self.names[layer.name]}"
        on_edges = self.sets[name]["kind"] == "real"
        saved: Record = {"x": []}
        for place, array in enumerate(inputs):
            where = Where(self.model, layer, "x", place)
            file = f"{folder}/x{place or ''}"
            if on_edges:
                edge = layer.inputs[place]
                made = f"{name}/{self.names[edge]}/{'x' if edge in self.model.inputs else 'y'}"
                saved["x"].append(self._save(made, array, where, file))
            else:
                saved["x"].append(self._save(file, array, where))
        for tensor, array in tensors.items():
            saved[tensor] = self._save(
                f"{folder}/{tensor}", array, Where(self.model, layer, tensor)
            )
        saved["coverage"] = coverage(self.model, layer, inputs, tensors, targets)
        if targets:
            lines = (",".join(map(str, target)) + "\n" for target in (Target._fields, *targets))
            saved["targets"] = self._file(f"{folder}/targets.csv", "".join(lines).encode())
        return {"set": name, "layer": layer.name, "vectors": saved}

    def _save(self, file: str, values: AnyArray, where: Where, matrix: str = "") -> Record:
        """Write an array and its copies, and return its entry; what is written stays.

        ``matrix`` is the name of its im2col copies, which each reader of an edge has its own of.
        """
        plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(values.shape)
        copies = []
        for layout in self.choice.layouts:
            name = matrix if matrix and layout == "im2col" else file
            copies += [
                self._copy(f"{name}.{layout.replace('/', '')}", form, layout, (plain, where))
                for form in self.choice.formats
                if (form, layout) != ("npy", "NCHW")
            ]
        return {
            "dtype": plain.dtype.name,
            "shape": list(plain.shape),
            **self._file(f"{file}.npy", npy_bytes(plain)),
            "copies": [copy for copy in copies if copy],
        }

    def _copy(
        self, name: str, form: str, layout: str, what: tuple[AnyArray, Where]
    ) -> Record | None:
        """Write an array in another layout and format, where there is such a thing."""
        values = arranged(what[0], layout, what[1])
        if values is None:
            return None
        entry: Record = {"format": form, "layout": layout, "shape": list(values.shape)}
        content = npy_bytes(values) if form == "npy" else values.tobytes()
        if form == "hex":
            bits = 8 * word_bytes(values.dtype, self.choice.word_bits)
            entry |= {"word_bits": bits, "lanes": bits // (8 * values.dtype.itemsize)}
            content = as_words(values, bits).encode()
        elif form == "c":
            entry["name"] = re.sub(r"\W", "_", name.partition("/")[2])
            words = f"{values.dtype.name} {list(values.shape)}, layout {layout}"
            content = as_header(values, entry["name"], words).encode()
        return entry | self._file(f"{name}.{'h' if form == 'c' else form}", content)

    def _file(self, name: str, content: bytes) -> Record:
        """Write a file, unless this run has, and return its path, size and hash."""
        if name not in self.files:
            atomic_write_bytes(self.folder / name, content)
            digest = hashlib.sha256(content).hexdigest()
            self.files[name] = {"file": name, "bytes": len(content), "sha256": digest}
        return self.files[name]

    # The manifest.

    def _constants(self, layer: Layer) -> Record:
        """Save what no stimuli change: weights, bias, multiplier."""
        found: dict[str, AnyArray] = {}
        if isinstance(layer, (Conv, Dense)):
            found["w"] = layer.weight.values
            if layer.bias is not None:
                found["b"] = layer.bias.values
        found |= self.scheme.constants(self.model, layer)
        folder = f"constants/{self.names[layer.name]}"
        return {
            name: self._save(f"{folder}/{name}", array, Where(self.model, layer, name))
            for name, array in found.items()
        }

    def _manifest(self, request: str, constants: Mapping[str, Record]) -> Record:
        """Return the manifest: plain data for JSON."""
        layers = []
        for layer in self.layers:
            vectors = {
                name: self.done[name, layer.name]["vectors"]
                for name in self.sets
                if (name, layer.name) in self.done
            }
            entry = _described(self.model, layer) | {"tensors": constants[layer.name]}
            multiplier = self.scheme.described(self.model, layer)
            entry |= {} if multiplier is None else {"multiplier": multiplier}
            layers.append(entry | {"vectors": vectors})
        more = {"program": self._program()} if "c" in self.choice.formats else {}
        return more | {
            "format": FORMAT,
            "version": VERSION,
            "schema": self.files[SCHEMA],
            "made_by": {"bitbybit": __version__},
            "request": request,
            "model": {
                "file": printable(self.model.path.name),
                "sha256": self.model.sha256,
                "form": self.model.form,
            },
            "contract": {"version": CONTRACT, "rule": _CONTRACT},
            "scheme": {
                "name": self.scheme.name,
                "formula": self.scheme.rule.formula,
                "source": self.scheme.rule.source,
                "own_multipliers": [x.name for x in self.layers if x.name in self.scheme.own],
            },
            "words": {"byte_order": "little", "lane_order": "element 0 in the lowest bits"},
            "stimuli": self.sets,
            "layers": layers,
            "example": self._example(layers),
        }

    def _program(self) -> Record:
        """Write the network as a C program, and return its files, or why there is none."""
        try:
            paths = write_c(self.model, self.folder / "c")
        except UnsupportedError as error:
            return {"files": [], "reason": printable(error)}
        names = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        files = [self._file(name, (self.folder / name).read_bytes()) for name in names]
        return {"files": files, "reason": ""}

    def _example(self, layers: list[Record]) -> Record | None:
        """Decode the first elements of an output of 8 bits: of a hex file where there is one."""
        for entry in layers:
            for vectors in entry["vectors"].values():
                y = vectors["y"]
                if y["dtype"] not in ("int8", "uint8") or not math.prod(y["shape"]):
                    continue
                hex_files = (copy for copy in y["copies"] if copy["format"] == "hex")
                copy = next(hex_files, {"layout": "NCHW", "lanes": EXAMPLE, "file": y["file"]})
                where = Where(self.model, self.model.layer(entry["name"]), "y")
                numbers = np.arange(math.prod(y["shape"])).reshape(y["shape"])
                order = np.asarray(arranged(numbers, copy["layout"], where)).reshape(-1)
                first = np.unravel_index(order[: min(EXAMPLE, copy["lanes"])], y["shape"])
                content = (self.folder / copy["file"]).read_bytes()
                text = content[: content.index(b"\n")].decode() if "format" in copy else ""
                offset = 0 if text else y["bytes"] - numbers.size
                return {
                    "file": copy["file"],
                    "offset": offset,
                    "text": text or content[offset : offset + len(first[0])].hex(" "),
                    "reading": _READ_WORD if text else _READ_BYTES,
                    "indices": np.transpose(first).tolist(),
                    "values": load_array(self.folder, y)[first].tolist(),
                }
        return None


EXAMPLE = 4
"""Elements of the worked example."""

_READ_WORD = (
    "the first line is the first word; its last two digits are lane 0, the element of the first "
    "index, the two before them lane 1, and so on; of a signed type 80 to ff stand for -128 to -1"
)
_READ_BYTES = (
    "bytes from offset on, behind the header of the .npy file, one an element; of a signed type 80 "
    "to ff stand for -128 to -1"
)

_WORDS = {
    "directed": "codes into each layer alone, one pattern an image",
    "hazard": "codes into each layer alone, for the sums in its targets.csv",
}

NOT_ALONE = (types.Reshape, types.FloatIsland)
"""Kinds of layer that have real vectors only."""


def _check(choice: Choice) -> None:
    """Refuse what cannot be written before anything is."""
    choice.scheme.rule  # noqa: B018 (it says which schemes there are)
    word_bytes(np.dtype(np.int8), choice.word_bits)
    for layout in choice.layouts:
        block_of(layout)
    for what, given, known in (
        ("stimuli", choice.stimuli, STIMULI), ("format", choice.formats, FORMATS)
    ):  # fmt: skip
        for name in given:
            if name not in known:
                raise wrong(what, "no such thing", "Choose among these.", ", ".join(known), name)


def _sums(model: QuantizedModel, layer: Layer, inputs: Sequence[AnyArray]) -> dict[str, AnyArray]:
    """Return a layer's accumulators before and after the bias, where it has any."""
    x = model.edges[layer.inputs[0]].params if layer.inputs else None
    if not has_accumulator(layer) or x is None:
        return {}
    acc = accumulate(model, layer, inputs)
    bias = getattr(layer, "bias", None)
    if bias is None:
        return {"sum": acc, "acc": acc}
    with np.errstate(over="ignore"):
        return {"sum": acc - arithmetic.along(bias.values, 1, acc.ndim), "acc": acc}


def _described(model: QuantizedModel, layer: Layer) -> Record:
    """Return what the manifest says of a layer beside its files."""
    edges = [model.edges[name] for name in (*layer.inputs, layer.name)]
    quantization: Record = {
        "x": [_params(edge.params) for edge in edges[:-1]],
        "y": _params(edges[-1].params),
    }
    found: Record = {
        "name": layer.name,
        "kind": layer.kind,
        "nodes": [[printable(word) for word in node] for node in layer.nodes],
        "inputs": list(layer.inputs),
        "reason": printable(getattr(layer, "reason", "")),
        "attributes": _attributes(layer),
        "quantization": quantization,
    }
    if isinstance(layer, (Conv, Dense)):
        quantization["w"] = _params(layer.weight.params)
        if layer.bias is not None:
            quantization["b"] = _params(layer.bias.params)
    if isinstance(layer, Conv):
        zero = edges[0].params
        found["padding"] = {
            "rule": "pads are (top, left, bottom, right); a tap outside the image holds value, the "
            "zero point of x, and so adds 0",
            "value": None if zero is None else int(zero.zero_point),
        }
    return found


def _attributes(layer: Layer) -> Record:
    """Return what sets this layer apart from others of its kind, as plain data."""
    names = ("op", "relu", "strides", "pads", "dilations", "group", "shape")
    found = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    found |= getattr(layer, "attributes", {})
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    """Return a value as JSON has it; text is escaped, a number that is none becomes text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else printable(value)


def _params(p: QuantParams | None) -> Record | None:
    """Return scales and zero points in decimal, scales also in hex; None of a float tensor."""
    if p is None:
        return None
    return {
        "dtype": p.dtype.name,
        "signed": p.dtype.kind == "i",
        "axis": p.axis,
        "scale": shortest(p.scale.reshape(-1)),
        "scale_hex": hex_float(p.scale.reshape(-1)),
        "zero_point": [int(z) for z in p.zero_point.reshape(-1)],
    }


def _json(line: str) -> Record | None:
    """Return a line of the journal, None of one that was not written to its end."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
