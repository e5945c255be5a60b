"""A pack of vectors: a folder with a manifest, which names each file by its hash.

``manifest.json`` follows ``vectors.schema.json``. A pack is whole once it has a manifest, which is
written last; :func:`read_pack` then holds every file against it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.model.types import QuantizedModel

FORMAT = "bitbybit vectors"
VERSION = 1
MANIFEST = "manifest.json"
SCHEMA = "vectors.schema.json"

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Pack:
    """Vectors of the layers of one network, from a folder whose hashes were checked.

    Attributes
    ----------
    folder : where it lies
    manifest : ``manifest.json`` as plain data
    """

    folder: Path
    manifest: Record

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in graph order."""
        return tuple(entry["name"] for entry in self.manifest["layers"])

    @property
    def stimuli(self) -> tuple[str, ...]:
        """The names of the sets of stimuli; a set without vectors of some layer is possible."""
        return tuple(self.manifest["stimuli"])

    def layer(self, name: str) -> Record:
        """Return what the manifest says of a layer.

        Raises
        ------
        DataError
            The pack has no such layer.
        """
        found = next((x for x in self.manifest["layers"] if x["name"] == name), None)
        if found is None:
            next_step = "Name one of these layers, or write a pack of all."
            raise wrong(self.folder, "no such layer", next_step, ", ".join(self.layers), name)
        return dict(found)

    def entry(self, layer: str, tensor: str, stimuli: str = "", place: int = 0) -> Record:
        """Return what the manifest says of one tensor.

        Parameters
        ----------
        layer
            Its canonical name.
        tensor
            ``"w"``, ``"b"`` or ``"m"`` (multiplier), which no stimuli change; ``"x"``,
            ``"sum"`` (the accumulator before the bias), ``"acc"`` (after it) or ``"y"``.
        stimuli
            The name of a set; of "w", "b" and "m" none.
        place
            Which input, for "x".

        Raises
        ------
        DataError
            The pack has no such tensor.
        """
        found = self.layer(layer)
        tensors = found["vectors"].get(stimuli, {}) if stimuli else found["tensors"]
        tensors = {k: v for k, v in tensors.items() if k not in ("coverage", "targets")}
        given = tensors.get(tensor)
        entries = given if isinstance(given, list) else [given] if given else []
        if place >= len(entries):
            have = ", ".join(tensors) or "nothing"
            where = f"{self.folder}, layer {layer}, {stimuli or 'constants'}"
            raise wrong(where, "no such tensor", "Ask for one of these.", have, tensor)
        return dict(entries[place])

    def tensor(self, layer: str, tensor: str, stimuli: str = "", place: int = 0) -> NDArray[Any]:
        """Return the values of one tensor, in ONNX layout and its own dtype.

        Parameters
        ----------
        layer, tensor, stimuli, place
            As for :meth:`entry`.

        Raises
        ------
        DataError
            The pack has no such tensor, or its file is no longer what was checked.
        """
        entry = self.entry(layer, tensor, stimuli, place)
        return load_array(self.folder, entry)


def read_pack(folder: Path | str, model: QuantizedModel | None = None) -> Pack:
    """Read a pack and hold every file against the manifest.

    Parameters
    ----------
    folder
        What :func:`~bitbybit.hardware.write_pack` wrote.
    model
        The network that the vectors must be of; by default any.

    Raises
    ------
    DataError
        There is no whole pack, it is of a newer version or of another model, or a file is
        missing or edited: it is named.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    if model is not None and manifest["model"]["sha256"] != model.sha256:
        found = f"{manifest['model']['file']}, sha256 {manifest['model']['sha256'][:12]}"
        expected = f"{model.path.name}, sha256 {model.sha256[:12]}"
        next_step = "Name the model of this pack, or write a pack of this model."
        raise wrong(folder, "the vectors are of another model", next_step, expected, found)
    for entry in files_of(manifest):
        check_file(folder, entry)
    return Pack(folder, manifest)


def check_file(folder: Path, entry: Record) -> None:
    """Hold a file against its entry.

    Raises
    ------
    DataError
        It is missing, of another size, or edited.
    """
    name = PurePosixPath(entry["file"])
    path = folder / name
    again = "Write the pack again, into an empty folder."
    if name.is_absolute() or ".." in name.parts:
        raise wrong(folder / MANIFEST, "a file lies outside the folder", again, found=str(name))
    if not path.is_file():
        raise wrong(path, "a file of the pack is missing", again)
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise wrong(path, "a vector was cut or edited", again, f"{entry['bytes']} bytes", size)
    digest = sha256_of(path)
    if digest != entry["sha256"]:
        expected = f"sha256 {entry['sha256'][:12]}"
        raise wrong(path, "a vector was edited", again, expected, digest[:12])


def load_array(folder: Path, entry: Record) -> NDArray[Any]:
    """Return the array of an entry's ``.npy`` file; nothing is unpickled.

    Raises
    ------
    DataError
        The file is no such array.
    """
    path = folder / entry["file"]
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise wrong(path, "not an array", "Write the pack again.") from None
    if list(values.shape) != entry["shape"] or values.dtype.name != entry["dtype"]:
        expected = f"{entry['dtype']} {entry['shape']}"
        found = f"{values.dtype.name} {list(values.shape)}"
        raise wrong(
            path, "the array is not what the manifest says", "Write it again.", expected, found
        )
    return np.asarray(values)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def schema() -> Record:
    """Return the JSON Schema of a manifest (draft 2020-12)."""
    text = resources.files("bitbybit.hardware").joinpath(SCHEMA).read_text("utf-8")
    return dict(json.loads(text))


def violation(value: Any, rule: Record, where: str = "manifest", top: Record | None = None) -> str:
    """Say where a value breaks a JSON Schema, "" if nowhere.

    It knows the words that ``vectors.schema.json`` uses: $ref, type, const, enum, required,
    properties, additionalProperties, items.
    """
    top = rule if top is None else top
    if "$ref" in rule:
        rule = top["$defs"][rule["$ref"].rpartition("/")[2]]
    if not _has_type(value, rule.get("type")):
        return f"{where} is no {rule['type']}"
    if value not in rule.get("enum", [rule.get("const", value)]):
        return f"{where} is {value!r}"
    parts: list[tuple[str, Any, Record]] = []
    if isinstance(value, dict):
        missing = [name for name in rule.get("required", ()) if name not in value]
        if missing:
            return f"{where} has no {missing[0]!r}"
        known, other = rule.get("properties", {}), rule.get("additionalProperties", {})
        if other is False and set(value) - set(known):
            return f"{where} has an unknown {min(set(value) - set(known))!r}"
        parts = [(f"{where}.{k}", v, known.get(k, other)) for k, v in value.items()]
    elif isinstance(value, list):
        parts = [(f"{where}[{i}]", v, rule.get("items", {})) for i, v in enumerate(value)]
    return next((said for p, v, r in parts if (said := violation(v, r, p, top))), "")


_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
    "number": (int, float), "null": type(None),
}  # fmt: skip


def _has_type(value: Any, names: str | list[str] | None) -> bool:
    if names is None:
        return True
    names = [names] if isinstance(names, str) else names
    return any(
        isinstance(value, _TYPES[n]) and (n == "boolean" or not isinstance(value, bool))
        for n in names
    )


def _manifest(folder: Path) -> Record:
    """Return the manifest of a whole pack of this version."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "there is no pack of vectors here"
        next_step = f"Check the path, or write one: `bitbybit vectors MODEL --out {folder}`."
        if any(folder.glob("unfinished*")):
            what, next_step = "the pack is unfinished", "Repeat the command: it goes on from there."
        raise wrong(folder, what, next_step, MANIFEST)
    found: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise wrong(path, "not the manifest of a pack", "Write the pack again.", FORMAT)
    version = found.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        what = "the manifest has a newer version" if newer else "the manifest has another version"
        next_step = "Install a newer bitbybit." if newer else "Write the pack again."
        raise wrong(path, what, next_step, VERSION, version)
    said = violation(found, schema())
    if said:
        raise wrong(path, "the manifest breaks its schema", "Write the pack again.", found=said)
    return dict(found)


def files_of(manifest: Record) -> Iterator[Record]:
    """Yield the entry of each file once: path, size and hash."""
    seen = set()

    def entries(value: Any) -> Iterator[Record]:
        if isinstance(value, dict):
            if "sha256" in value and "file" in value and "bytes" in value:
                yield value
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from entries(item)

    for entry in entries(manifest):
        if entry["file"] not in seen:
            seen.add(entry["file"])
            yield entry


def wrong(
    where: object, what: str, next_step: str, expected: object = "", found: object = ""
) -> DataError:
    """Return the error of a pack that is not what it should be."""
    return DataError(what, where=where, expected=expected, found=found, next_step=next_step)
