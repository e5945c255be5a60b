"""Fetching CIFAR-10: a verified download that can be resumed, and a guarded extraction."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from bitbybit.errors import DataError, EnvironmentProblem
from bitbybit.resnet8.cifar10 import BATCHES, FOLDER
from workshop.progress import progress

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60
MEMBERS = frozenset((*BATCHES["train"], *BATCHES["test"], "batches.meta"))
"""The files that are taken from the archive; its readme is left out."""
MAX_MEMBER_BYTES = 64 << 20


@dataclass(frozen=True)
class Archive:
    """Where the archive is, how many bytes it has, and their SHA-256 in hexadecimal."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file name of the archive."""
        return self.url.rpartition("/")[2]


CIFAR10 = Archive(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    170498071,
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
"""The official archive, python version (MD5 c58f30108f718f92721af3b95e74349a)."""


def download(folder: Path, archive: Archive = CIFAR10) -> Path:
    """Fetch the archive, verify it and extract its batches into ``folder``.

    An interrupted download leaves ``NAME.partial`` behind and is resumed by the next call.
    Nothing is fetched when the batches are already there.

    Returns
    -------
    Path
        ``folder / "cifar-10-batches-py"``.

    Raises
    ------
    DataError
        If the server cannot be reached, the transfer breaks off, or the bytes are not those of
        the official archive.
    EnvironmentProblem
        If the folder cannot be written to.
    """
    batches = folder / FOLDER
    if batches.is_dir():
        return batches
    partial = folder / f"{archive.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise _unwritable(folder, error) from error
    if partial.stat().st_size < archive.size:
        _fetch(archive, partial)
    try:
        extract(partial, folder, archive)
    except DataError:
        partial.unlink()  # resuming could not repair it
        raise
    partial.unlink()
    return batches


def _fetch(archive: Archive, partial: Path) -> None:
    """Append what is missing to ``partial``; raises DataError if it stays incomplete."""
    start = partial.stat().st_size
    request = urllib.request.Request(archive.url)  # noqa: S310 (a constant, not the user's)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            if response.status != 206:
                start = 0
            with partial.open("r+b") as file:
                file.seek(start)
                file.truncate()
                count = -(-(archive.size - start) // CHUNK)
                chunks = _chunks(response, archive.size - start)
                for chunk in progress(chunks, archive.name, total=count):
                    file.write(chunk)
    except urllib.error.HTTPError as error:
        raise _interrupted(archive, partial, f"{error.code} {error.reason}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise _interrupted(archive, partial, str(reason)) from error
    except OSError as error:
        raise _unwritable(partial, error) from error
    if (size := partial.stat().st_size) != archive.size:
        raise _interrupted(archive, partial, f"{size} of {archive.size} bytes")


def _chunks(response: HTTPResponse, limit: int) -> Iterator[bytes]:
    """Yield the body, at most one byte more than ``limit``."""
    left = limit + 1
    while left and (chunk := response.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def extract(path: Path, folder: Path, archive: Archive = CIFAR10) -> Path:
    """Verify the archive at ``path`` and extract its batches into ``folder``.

    The batches appear under their final name only when all of them are complete.
    Raises :class:`DataError` for other bytes than the official ones, and
    :class:`EnvironmentProblem` if the folder cannot be written to.
    """
    _verify(path, archive)
    target = folder / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", suffix=".partial", dir=folder))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        with tarfile.open(path, "r:gz") as source:
            _extract_members(source, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise _altered(path, "a damaged archive") from error
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _verify(path: Path, archive: Archive) -> None:
    try:
        size = path.stat().st_size
        if size != archive.size:
            raise _altered(path, f"{size} bytes instead of {archive.size}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            "the archive cannot be read",
            where=path,
            found=error.strerror or "an error",
            next_step="Check its permissions, or download it again.",
        ) from error
    if digest != archive.sha256:
        raise _altered(path, f"SHA-256 {digest[:16]}... instead of {archive.sha256[:16]}...")


def _extract_members(source: tarfile.TarFile, folder: Path) -> None:
    """Write the wanted members, by their bare names, into ``folder``."""
    found = set()
    for member in source:
        parent, _, name = member.name.rpartition("/")
        if parent != FOLDER or name not in MEMBERS:
            continue
        data = source.extractfile(member) if member.isreg() else None
        if data is None or member.size > MAX_MEMBER_BYTES:
            raise tarfile.ReadError(f"{name} is not a file of a plausible size")
        with data, (folder / name).open("xb") as file:
            shutil.copyfileobj(data, file)
        found.add(name)
    if found != MEMBERS:
        raise tarfile.ReadError(f"no {', '.join(sorted(MEMBERS - found))}")


def _interrupted(archive: Archive, partial: Path, found: str) -> DataError:
    return DataError(
        "the download did not complete",
        where=archive.url,
        found=found,
        next_step=f"Run the command again: it continues after the {partial.stat().st_size} bytes "
        f"in {partial}.",
    )


def _altered(path: Path, found: str) -> DataError:
    return DataError(
        "not the official CIFAR-10 archive",
        where=path,
        found=found,
        next_step="Download it again.",
    )


def _unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"cannot be written: {error.strerror or type(error).__name__}",
        where=path,
        next_step="Choose another folder, or make room.",
    )
