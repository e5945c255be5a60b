"""The ZIP archive that ``torch.save`` and TorchScript write: records with checked sizes.

torch stores every record that is read here without compression, so a record can never be
larger than the file: a compressed one is refused instead of inflated.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.torch_file.values import RESAVE, damaged
from bitbybit.text import printable


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
        raise UnsupportedError(
            "this is a bare pickle, as torch wrote before version 1.6, which is not read",
            where=shown,
            next_step=RESAVE,
        )
    raise damaged("not a torch file, or a truncated one" if head else "the file is empty", shown)


def _entries(zip_file: zipfile.ZipFile, size: int, shown: str) -> dict[str, zipfile.ZipInfo]:
    """Return the records below the folder of ``data.pkl``, none of them compressed or shared."""
    infos = zip_file.infolist()
    pickles = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        raise ModelError(
            "not a torch file: the archive has no data.pkl", where=shown, next_step=RESAVE
        )
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
        raise damaged(
            "the records overlap", shown, expected=f"at most {size} bytes", found=f"{total} bytes"
        )
    return entries
