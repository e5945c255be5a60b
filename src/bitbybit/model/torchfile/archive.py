"""The ZIP archive that ``torch.save`` and TorchScript write: records with checked sizes.

torch stores every record that is read here without compression, so a record can never be
larger than the file: a compressed one is refused instead of inflated.
"""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from pathlib import Path

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.names import printable

_RESAVE = "Load it in a trusted torch and write it again with torch.save."


class Archive:
    """The records of one file, by their path below the archive's top folder.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    names : paths of the records, for example ``data.pkl`` and ``data/0``
    little_endian : byte order of the storages
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = printable(str(path))
        zip_file = _open(path, self.shown)
        self._zip = zip_file
        self._entries = _entries(zip_file, path.stat().st_size, self.shown)
        self.names = tuple(self._entries)
        order = self.read("byteorder") if "byteorder" in self._entries else b"little"
        if order not in {b"little", b"big"}:
            raise ModelError("the byte order is neither little nor big", where=self.shown)
        self.little_endian = order == b"little"

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes, hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def size(self, name: str) -> int | None:
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
            raise ModelError("the archive has no such record", where=self.shown, found=name)
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError):
            # RuntimeError: the archive says that the record is encrypted
            raise ModelError(
                "the record is damaged", where=f"{self.shown}, {printable(name)}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _open(path: Path, shown: str) -> zipfile.ZipFile:
    if not path.exists():
        raise ModelError("there is no such file", where=shown)
    if not path.is_file():
        raise ModelError("this is not a regular file", where=shown)
    if path.stat().st_size == 0:
        raise ModelError("the file is empty", where=shown)
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        _refuse_legacy(path, shown)
        raise ModelError("not a torch file, or a truncated one", where=shown) from None


def _refuse_legacy(path: Path, shown: str) -> None:
    with path.open("rb") as file:
        head = file.read(2)
    is_tar = False
    try:
        is_tar = tarfile.is_tarfile(path)
    except (OSError, EOFError, ValueError):
        is_tar = False
    if is_tar:
        raise UnsupportedError(
            "this is torch's tar format of 2016, which is not read",
            where=shown,
            next_step=_RESAVE,
        ) from None
    if head[:1] == b"\x80" and head[1:] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        raise UnsupportedError(
            "this is a bare pickle, as torch wrote before version 1.6, which is not read",
            where=shown,
            next_step=_RESAVE,
        ) from None


def _entries(zip_file: zipfile.ZipFile, size: int, shown: str) -> dict[str, zipfile.ZipInfo]:
    infos = zip_file.infolist()
    pickles = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        raise ModelError("not a torch file: the archive has no data.pkl", where=shown)
    top = min(pickles, key=len).removesuffix("data.pkl")
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if not info.filename.startswith(top):
            continue
        name = info.filename.removeprefix(top)
        if name.startswith("code/"):
            continue  # TorchScript's source text: compressed, and never read
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise UnsupportedError(
                "a record is compressed",
                where=f"{shown}, {printable(name)}",
                expected="stored records, as torch writes them",
                next_step=_RESAVE,
            )
        if name in entries:
            raise ModelError("two records have one name", where=shown, found=printable(name))
        entries[name] = info
    total = sum(info.file_size for info in entries.values())
    if total > size:
        raise ModelError(
            "the records overlap",
            where=shown,
            expected=f"at most {size} bytes",
            found=f"{total} bytes",
        )
    return entries
