"""Somebody's dump against a pack of vectors: every file found, read, compared, the first diagnosed.

A dump is a folder, an ``.npz`` file or one file. Names say what a file holds: as in the pack
(``real/stem/y.NHWC.hex``), or ``LAYER.hex`` and ``LAYER.acc.hex``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bitbybit.arithmetic.requantizers import REQUANTIZERS, FixedPoint
from bitbybit.execution.engine import accumulate, has_accumulator
from bitbybit.execution.feed import read_npz
from bitbybit.model.types import AnyArray, QuantizedModel
from bitbybit.text import shortened

from .diagnosis import Diagnosis, diagnose, different
from .layouts import LAYOUTS, Where, arranged, of_words, read_values, restored, word_bytes
from .pack import Pack, wrong
from .scheme import Scheme

TENSORS = ("sum", "acc", "y")
"""What a dump may hold of a layer, in the order in which hardware makes them."""

SUFFIXES = {".npy": "npy", ".hex": "hex", ".mem": "hex", ".bin": "bin"}
OTHER_LAYOUTS = (*LAYOUTS, "NC/4HW4", "NC/16HW16", "NC/32HW32")


class Target(NamedTuple):
    """One tensor of one set of stimuli."""

    stimuli: str
    layer: str
    tensor: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user says of a dump where its names do not.

    Attributes
    ----------
    layout : of files that are not called as in the pack
    word_bits : of a word of a hex file
    target : layer, or layer and tensor ("stem.acc"), of a dump that is one file
    stimuli : the set of stimuli, by default the first of the pack
    images : how many images the dump holds, by default all of the pack
    """

    layout: str = "NCHW"
    word_bits: int = 64
    target: str = ""
    stimuli: str = ""
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The comparison of one tensor.

    Attributes
    ----------
    stimuli, layer, tensor : which
    file : where it was dumped
    elements, different : how many were compared, and differ
    follows : of a later tensor that differs, the name of the scheme under which it is what the
        dump's own inputs give: the pack's, or one that explains the first; else ""
    """

    stimuli: str
    layer: str
    tensor: str
    file: str
    elements: int
    different: int
    follows: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What came of a check.

    Attributes
    ----------
    model : the network
    pack, dump : the two folders
    compared : in graph order
    missing : layers of the pack that the dump does not hold
    ignored : files of the dump that are none of the pack's tensors
    diagnosis : of the first tensor that differs, None if none does
    first : its comparison
    inputs : whether that layer's inputs match, in words
    place : file, word and lane of its first element that differs, in words
    """

    model: QuantizedModel
    pack: Path
    dump: Path
    compared: tuple[Compared, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    diagnosis: Diagnosis | None = None
    first: Compared | None = None
    inputs: str = ""
    place: str = ""

    @property
    def exit_status(self) -> int:
        """0: every element that was compared is equal; 1: one is not."""
        return int(self.diagnosis is not None)


def check(model: QuantizedModel, pack: Pack, dump: Path | str, given: Given | None = None) -> Check:
    """Compare a dump with a pack, and diagnose the first layer that differs.

    Parameters
    ----------
    model
        The network of the pack.
    pack
        From :func:`read_pack`.
    dump
        A folder, an ``.npz`` file, or one ``.npy``, ``.hex``, ``.mem`` or ``.bin`` file.
    given
        What the names of the files do not say.

    Raises
    ------
    DataError
        Nothing of the dump can be compared, or a file is too short, too long, of another layout
        or byte order: what fits is named.
    """
    return _Run(model, pack, Path(dump), given or Given()).check()


@dataclass(frozen=True)
class _File:
    """One tensor of a dump, with how it lies there."""

    target: Target
    name: str
    values: AnyArray
    unknown: AnyArray
    layout: str
    lanes: int


class _Run:
    def __init__(self, model: QuantizedModel, pack: Pack, dump: Path, given: Given) -> None:
        self.model, self.pack, self.dump, self.given = model, pack, dump, given
        self.ignored: list[str] = []
        self.stimuli = given.stimuli or next(iter(pack.stimuli), "")
        if self.stimuli not in pack.stimuli:
            expected = ", ".join(pack.stimuli)
            next_step = "Name one of these."
            raise wrong(pack.folder, "no such stimuli", next_step, expected, self.stimuli)

    def check(self) -> Check:
        """Compare everything, then look closer at the first that differs."""
        files = {file.target: file for file in self._files()}
        if not files:
            names = ", ".join(f"{layer}.hex" for layer in self.pack.layers[:3])
            next_step = "Call the files by their layers, or name the layer with --layer."
            had = ", ".join(self.ignored[:3]) or "no file"
            raise wrong(self.dump, "nothing here can be compared", next_step, names, had)
        order = {name: place for place, name in enumerate(self.pack.layers)}
        ordered = sorted(files, key=lambda t: (order[t.layer], TENSORS.index(t.tensor), t.stimuli))
        self.got = {target: self._logical(files[target]) for target in ordered}
        wrongs = {
            target: int(different(self._right(target), values).sum())
            for target, values in self.got.items()
        }
        first = next((target for target in ordered if wrongs[target]), None)
        compared = tuple(
            Compared(
                stimuli=target.stimuli,
                layer=target.layer,
                tensor=target.tensor,
                file=files[target].name,
                elements=self.got[target].size,
                different=wrongs[target],
            )
            for target in ordered
        )
        held = {target.layer for target in ordered}
        found = Check(
            model=self.model, pack=self.pack.folder, dump=self.dump, compared=compared,
            missing=tuple(name for name in self.pack.layers if name not in held),
            ignored=tuple(self.ignored),
        )  # fmt: skip
        return found if first is None else self._closer(found, files[first], ordered.index(first))

    def _closer(self, found: Check, file: _File, number: int) -> Check:
        """Diagnose the first tensor that differs."""
        target = file.target
        layer = self.model.layer(target.layer)
        others = {
            name: self._right(t)
            for name in self.pack.layers
            if name not in (*layer.inputs, layer.name)
            and self._has(t := Target(target.stimuli, name, "y"))
        }
        diagnosis = diagnose(
            self.model, layer.name, self._inputs(target), self.got[target],
            tensor=target.tensor, scheme=self.scheme, others=others,
        )  # fmt: skip
        dumped = [
            t for name in layer.inputs if (t := target._replace(layer=name, tensor="y")) in self.got
        ]
        words = "its inputs match" if len(dumped) == len(layer.inputs) else (
            "not all of its inputs were dumped: if the mistake lies before it, dump "
            + ", ".join(name for name in layer.inputs if name not in [t.layer for t in dumped])
        )  # fmt: skip
        if not self._is_real(target):
            words = "its inputs are stimuli of the pack"
        elif layer.inputs[0] in self.model.inputs:
            words = "it reads the input of the network"
        place = "" if diagnosis.first is None else self._place(file, diagnosis.first.index)
        named = [name for name in REQUANTIZERS for e in diagnosis.explanations
                 if e.mistakes[0].name.startswith(f"the scheme {name}:")]  # fmt: skip
        schemes = [self.scheme, *map(Scheme, named)]
        compared = [
            replace(row, follows=self._follows(Target(row.stimuli, row.layer, row.tensor), schemes))
            if row.different and place_of > number
            else row
            for place_of, row in enumerate(found.compared)
        ]
        return replace(
            found, compared=tuple(compared), diagnosis=diagnosis, first=found.compared[number],
            inputs=words, place=place,
        )  # fmt: skip

    # The pack.

    @cached_property
    def scheme(self) -> Scheme:
        """How the pack's accumulators became codes."""
        told, own = self.pack.manifest["scheme"], {}
        for layer in told["own_multipliers"]:
            tensors = self.pack.layer(layer)["tensors"]
            parts = [
                self.pack.tensor(layer, name) for name in ("m", "q", "shift") if name in tensors
            ]
            own[layer] = FixedPoint(*parts) if len(parts) == 2 else parts[0]
        return Scheme(told["name"], own)

    def _is_real(self, target: Target) -> bool:
        """Whether a layer's inputs are what the layers before it make."""
        return bool(self.pack.manifest["stimuli"][target.stimuli]["kind"] == "real")

    def _has(self, target: Target) -> bool:
        vectors = self.pack.layer(target.layer)["vectors"]
        return target.tensor in vectors.get(target.stimuli, {})

    def _right(self, target: Target) -> AnyArray:
        values = self.pack.tensor(target.layer, target.tensor, target.stimuli)
        return values if self.given.images is None else values[: self.given.images]

    def _inputs(self, target: Target) -> list[AnyArray]:
        count = range(len(self.model.layer(target.layer).inputs))
        return [
            self.pack.tensor(target.layer, "x", target.stimuli, place)[: self.given.images]
            for place in count
        ]

    def _follows(self, target: Target, schemes: list[Scheme]) -> str:
        """Return the scheme under which an output is right for the inputs that the dump holds."""
        layer = self.model.layer(target.layer)
        given = [self.got.get(target._replace(layer=name, tensor="y")) for name in layer.inputs]
        known = target.tensor == "y" and self._is_real(target)
        if not known or any(v is None or np.ma.is_masked(v) for v in given):
            return ""
        inputs = [np.ma.getdata(v) for v in given if v is not None]
        acc = accumulate(self.model, layer, inputs) if has_accumulator(layer) else None
        for scheme in schemes:
            made = scheme.output(self.model, layer, inputs, acc)
            if not different(made, self.got[target]).any():
                return scheme.name
        return ""

    # The dump.

    @cached_property
    def names(self) -> dict[str, tuple[Target, str]]:
        """What a file may be called, without its suffix and with dots, → tensor and layout."""
        found: dict[str, tuple[Target, str]] = {}
        targets = [
            Target(s, n, t) for s in self.pack.stimuli for n in self.pack.layers for t in TENSORS
        ]
        for target in filter(self._has, targets):
            entry = self.pack.entry(target.layer, target.tensor, target.stimuli)
            own = entry["file"].rpartition(".")[0].replace("/", ".")
            for copy in entry["copies"]:
                found[copy["file"].rpartition(".")[0].replace("/", ".")] = target, copy["layout"]
            short = [f"{target.layer}.{target.tensor}"] + [target.layer] * (target.tensor == "y")
            keys = [own, *(f"{target.stimuli}.{name}" for name in short)]
            for key in (*keys, *(short if target.stimuli == self.stimuli else ())):
                found.setdefault(key, (target, self.given.layout if key != own else ""))
        return found

    def _files(self) -> Iterator[_File]:
        """Yield every tensor of the dump."""
        if self.dump.suffix == ".npz":
            for name, values in read_npz(self.dump).items():
                if (known := self._known(name)) is not None:
                    target, layout = known
                    unknown = np.zeros(values.shape, bool)
                    yield _File(target, f"{self.dump.name}[{name}]", values, unknown, layout, 1)
            return
        whole = self.dump.is_dir()
        if not whole and not self.dump.is_file():
            raise wrong(self.dump, "there is no such file or folder", "Check the path.")
        for path in sorted(self.dump.rglob("*")) if whole else [self.dump]:
            if path.is_dir() or path.suffix not in SUFFIXES:
                continue
            name = str(path.relative_to(self.dump).with_suffix("")) if whole else path.stem
            told = self.given.target if self.given.target and not whole else name
            known = self._known(told, path.suffix)
            if known is not None:
                yield self._read(path, *known)

    def _known(self, name: str, suffix: str = "") -> tuple[Target, str] | None:
        """Return the tensor and layout that a name stands for."""
        known = self.names.get(re.sub(r"[/\\]", ".", name))
        if known is None:
            if self.given.target:
                expected, next_step = ", ".join(self.pack.layers), "Name a layer of the pack."
                raise wrong("--layer", "no such layer in the pack", next_step, expected, name)
            self.ignored.append(shortened(name + suffix))
        return known

    def _read(self, path: Path, target: Target, layout: str) -> _File:
        """Read a file; digits x and z of a hex file are unknown."""
        dtype = np.dtype(self.pack.entry(target.layer, target.tensor, target.stimuli)["dtype"])
        form, bits = SUFFIXES[path.suffix], self.given.word_bits
        if form != "hex":
            values = read_values(path, form, dtype)
            return _File(target, path.name, values, np.zeros(values.shape, bool), layout, 1)
        try:
            text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text("utf-8"), flags=re.DOTALL)
        except (OSError, UnicodeDecodeError):
            raise wrong(path, "the file cannot be read", "Dump it as $writememh does.") from None
        marks = re.sub(r"@\S+|[0-9a-fA-FxXzZ]", _mark, text)
        values = of_words(re.sub("[xXzZ]", "0", text), dtype, bits, path)
        unknown = of_words(marks, np.dtype(f"u{dtype.itemsize}"), bits, path) != 0
        lanes = word_bytes(dtype, bits) // dtype.itemsize
        return _File(target, path.name, values, unknown, layout, lanes)

    def _logical(self, file: _File) -> Any:
        """Return a file as a masked array in ONNX layout and the pack's dtype."""
        target, right = file.target, self._right(file.target)
        where = Where(self.model, self.model.layer(target.layer), target.tensor)
        raw = file.values
        if raw.dtype != right.dtype:
            raw = _as_codes(file, right.dtype)
        layout = self._layout(file)
        order = arranged(right, layout, where)
        size = -1 if order is None else order.size
        if 0 <= raw.size - size < file.lanes:
            raw, unknown = raw.reshape(-1)[:size], file.unknown.reshape(-1)[:size]
        else:
            raise self._misfit(file, raw, right, layout)
        values = restored(raw, layout, where, right.shape)
        if not np.array_equal(values, right):
            self._require_no_other_reading(file, raw, values, right)
        mask = restored(unknown.astype(np.int64), layout, where, right.shape) == 1
        return np.ma.masked_array(values, mask if unknown.any() else np.zeros(right.shape, bool))

    def _layout(self, file: _File) -> str:
        """Return how a file lies in memory; an array with the shape of ONNX tells it itself."""
        right = self._right(file.target)
        where = Where(self.model, self.model.layer(file.target.layer), file.target.tensor)
        layout = file.layout or "NCHW"
        made = arranged(right, layout, where)
        shape = None if made is None else made.shape
        told = file.values.ndim > 1 and file.values.shape == right.shape != shape
        return "NCHW" if told else layout

    def _at(self, file: _File) -> Path:
        """Return where a file of the dump lies."""
        return self.dump / file.name if self.dump.is_dir() else self.dump.with_name(file.name)

    def _misfit(self, file: _File, raw: AnyArray, right: AnyArray, layout: str) -> Exception:
        """Say that a file has too few or too many elements, and what would fit."""
        target = file.target
        where = Where(self.model, self.model.layer(target.layer), target.tensor)
        fits = [
            other
            for other in OTHER_LAYOUTS
            if (made := arranged(right, other, where)) is not None and made.size == raw.size
        ]
        images, rest = divmod(raw.size, right.size // max(len(right), 1) or 1)
        next_step = "Dump the whole tensor, in one of the pack's layouts."
        if fits:
            next_step = f"It fits the layout {fits[0]}: --layout {fits[0]}."
        elif not rest and 0 < images < len(right):
            which = "image" if images == 1 else f"{images} images"
            next_step = f"If it holds the first {which}: --images {images}."
        what = "the dump is too short" if raw.size < right.size else "the dump is too long"
        expected = f"{right.size} elements {list(right.shape)} as {layout}"
        return wrong(self._at(file), what, next_step, expected, raw.size)

    def _require_no_other_reading(
        self, file: _File, raw: AnyArray, values: AnyArray, right: AnyArray
    ) -> None:
        """Refuse a dump that is right in another layout or byte order, and name that."""
        where = Where(self.model, self.model.layer(file.target.layer), file.target.tensor)
        for other in OTHER_LAYOUTS:
            made = arranged(right, other, where)
            if made is not None and np.array_equal(made.reshape(-1), raw.reshape(-1)):
                found, next_step = self._layout(file), f"Add --layout {other}."
                raise wrong(self._at(file), "the layout is another", next_step, found, other)
        swapped = values.byteswap()
        if right.itemsize > 1 and ((values == right) | (swapped == right)).all():
            mixed = "mixed" if (values == right)[values != swapped].any() else "big-endian"
            next_step = "Dump the lowest byte of each element first."
            raise wrong(self._at(file), "the byte order", next_step, "little-endian", mixed)

    def _place(self, file: _File, index: tuple[int, ...]) -> str:
        """Say where an element lies in its file."""
        right = self._right(file.target)
        where = Where(self.model, self.model.layer(file.target.layer), file.target.tensor)
        numbers = np.arange(right.size).reshape(right.shape) + 1000  # no fill is like one of them
        order = arranged(numbers, self._layout(file), where)
        at = int(np.flatnonzero(np.asarray(order).reshape(-1) == numbers[index])[0])
        if file.lanes > 1:
            return f"{file.name}, word {at // file.lanes}, lane {at % file.lanes}"
        return f"{file.name}, element {at}"


def _mark(found: re.Match[str]) -> str:
    """Write an address as it is, an unknown digit as f, any other as 0."""
    return found[0] if found[0][0] == "@" else "f" if found[0] in "xXzZ" else "0"


def _as_codes(file: _File, dtype: np.dtype[Any]) -> AnyArray:
    """Return whole numbers of another type as the pack's, if each is the same number there."""
    with np.errstate(invalid="ignore"):
        cast = file.values.astype(dtype)
    if file.values.dtype.kind not in "iuf" or not np.array_equal(cast, file.values):
        next_step = f"Dump its bytes as {dtype}; in NumPy: array.view({dtype.name!r})."
        what = "the dump is of another type"
        raise wrong(file.name, what, next_step, dtype.name, file.values.dtype.name)
    return cast
