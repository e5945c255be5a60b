"""The ZIP archive of a ``.pt`` file, with checked sizes, and what it may be made of.

torch stores every record that is read here without compression, so a record can never be larger
than the file: a compressed one is refused instead of inflated. Names, inert objects and tensors
are all that comes out; none of them acts.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.types import AnyArray
from bitbybit.text import printable

STEPS = 1_000_000
"""Opcodes, copied items and looked at values that a file may ask for: seconds of work."""
ELEMENTS = 1 << 24
"""Elements of tensors and bytes of copies, beyond eight for each byte of the file."""
RAISE_BUDGET = (
    "Save a plain state dict with a trusted torch, or, if you trust the file, raise the budget: "
    "read_torch_file(path, budget_factor=8)."
)
RESAVE = "Load it in a trusted torch and save a plain state dict: torch.save(state_dict, path)."


def damaged(what: str, where: str, *, expected: object = "", found: object = "") -> ModelError:
    """Return the error for a file that contradicts itself."""
    next_step = "Copy or download the file again."
    return ModelError(what, where=where, expected=expected, found=found, next_step=next_step)


@dataclass
class Budget:
    """What reading one file may still take; a small file that asks for more is a bomb.

    Attributes
    ----------
    where : the file, for the message
    steps : opcodes, copied items and looked at values
    elements : elements of all tensors together, of which many may share one storage, and
        bytes of what is copied
    """

    where: str
    steps: int
    elements: int

    def take(self, steps: int = 0, elements: int = 0) -> None:
        """Take steps, and a tensor's elements or a copy's bytes.

        Raises
        ------
        ModelError
            If too few are left.
        """
        self.steps -= steps
        self.elements -= elements
        if self.steps < 0 or self.elements < 0:
            what = "values" if self.steps < 0 else "elements"
            raise ModelError(
                f"the file unfolds to more {what} than its size allows",
                where=self.where,
                next_step=RAISE_BUDGET,
            )


@dataclass(frozen=True)
class Name:
    """A reference to a class or function by name. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Stub:
    """An object of a class that is not built: what the file records of it, and nothing else.

    Attributes
    ----------
    name : full name of its class
    args : what its constructor would have been given
    state : what its ``__setstate__`` would have been given
    items : keys and values, or values, that the file puts into it
    """

    name: str
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class Storage:
    """A typed run of bytes in the archive: ``numel`` values of ``dtype`` in record ``key``."""

    key: str
    dtype: str
    numel: int


@dataclass(frozen=True)
class Unread:
    """A storage or tensor of a kind that is not read, and why: the rest of the file is."""

    reason: str


@dataclass(frozen=True, eq=False)
class TorchTensor:
    """A tensor.

    Attributes
    ----------
    values : the codes of a quantized tensor (int8, uint8 or int32), else the values;
        bfloat16 is widened to float32; read-only
    scale : float64, ``()`` per tensor or ``[C]`` per channel; None if not quantized
    zero_point : int64, same shape; None if not quantized
    axis : the channel axis; None per tensor
    """

    values: AnyArray
    scale: NDArray[np.float64] | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether the values are codes."""
        return self.scale is not None


class Archive:
    """The records of one file, by their path below the archive's top folder.

    Attributes
    ----------
    path, size : the file and its length in bytes
    shown : its path, for messages
    names : paths of the records, for example ``data.pkl`` and ``data/0``
    little_endian : byte order of the storages
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = printable(path)
        self._zip = _open(path, self.shown)
        self.size = path.stat().st_size
        self._entries = _entries(self._zip, self.size, self.shown)
        self.names = tuple(self._entries)
        order = self.read("byteorder") if "byteorder" in self._entries else b"little"
        if order not in {b"little", b"big"}:
            raise damaged("the byte order is neither little nor big", self.shown)
        self.little_endian = order == b"little"

    def sha256(self) -> str:
        """Hash the file's bytes; hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def length(self, name: str) -> int | None:
        """Return the number of bytes of a record, None if there is none of that name."""
        entry = self._entries.get(name)
        return None if entry is None else entry.file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of a record.

        Raises
        ------
        ModelError
            If the record is absent or its checksum does not fit.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise damaged("the archive has no such record", self.shown, found=name)
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError):
            # RuntimeError: the archive says that the record is encrypted
            raise damaged("the record is damaged", f"{self.shown}, {printable(name)}") from None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _open(path: Path, shown: str) -> zipfile.ZipFile:
    if not path.exists():
        raise ModelError("there is no such file", where=shown, next_step="Check the path.")
    if not path.is_file():
        raise ModelError("this is not a regular file", where=shown, next_step="Name a .pt file.")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        with path.open("rb") as file:
            head = file.read(2)
    if len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        what = "this is a bare pickle, as torch wrote before version 1.6, which is not read"
        raise UnsupportedError(what, where=shown, next_step=RESAVE)
    raise damaged("not a torch file, or a truncated one" if head else "the file is empty", shown)


def _entries(zip_file: zipfile.ZipFile, size: int, shown: str) -> dict[str, zipfile.ZipInfo]:
    """Return the records below the folder of ``data.pkl``, none of them compressed or shared."""
    infos = zip_file.infolist()
    pickles = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        what = "not a torch file: the archive has no data.pkl"
        raise ModelError(what, where=shown, next_step=RESAVE)
    top = min(pickles, key=len).removesuffix("data.pkl")
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removeprefix(top)
        if not info.filename.startswith(top) or name.startswith("code/"):
            continue  # TorchScript's source text: compressed, and never read
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise UnsupportedError(
                "a record is compressed",
                where=f"{shown}, {printable(name)}",
                expected="stored records, as torch writes them",
                next_step=RESAVE,
            )
        if name in entries:
            raise damaged("two records have one name", shown, found=printable(name))
        entries[name] = info
    total = sum(info.file_size for info in entries.values())
    if total > size:
        expected, found = f"at most {size} bytes", f"{total} bytes"
        raise damaged("the records overlap", shown, expected=expected, found=found)
    return entries
