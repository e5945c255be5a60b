"""Writing files so that a reader never sees half of one.

Each function writes to a temporary neighbour, flushes it to the disk and then renames it over
the target: after any failure the target is what it was before, and the neighbour is gone, unless
the process is killed outright: then it stays, hidden, and nothing reads it. A symbolic link is
followed, and stays one; devices are left alone.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bitbybit.errors import DataError, EnvironmentProblem

_MOST_LINKS = 40
_DEVICES = (Path("/dev"), Path("/dev/fd"))
_NAME_KEPT, _LONGEST_SUFFIX = 30, 16


def atomic_write(path: Path | str, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then give it the name ``path``.

    Parameters
    ----------
    path
        The target. Its folder is made if it is missing; an existing file is replaced, and of a
        symbolic link the file that it names.
    write
        Called with the path of an empty temporary file in the same folder, with the same suffix.

    Raises
    ------
    EnvironmentProblem
        If the folder cannot be made or written to, the disk is full, or ``path`` is a device,
        or names one that another program opened (``/dev/stdout``).
    Exception
        Whatever ``write`` raises, after the temporary file is removed.
    """
    try:
        target = _followed(Path(path))
        temporary = _temporary_neighbour(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        write(temporary)
        _flush_to_disk(temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data``; see :func:`atomic_write` for what is raised."""
    atomic_write(path, lambda temporary: temporary.write_bytes(data))


def atomic_write_text(path: Path | str, text: str) -> None:
    r"""Write ``text`` as UTF-8 with ``\n`` line ends; see :func:`atomic_write`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON: two spaces, keys in the given order, no NaN, a final newline.

    Raises
    ------
    TypeError, ValueError
        If ``value`` holds what JSON cannot say; nothing is written then.
    EnvironmentProblem
        As :func:`atomic_write`.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def require_apart(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse to write one file twice, or over a file that is read.

    Raises
    ------
    DataError
        Two outputs, or an output and an input, are one file.
    """
    taken = {_identity(path) for path in inputs}
    for path in outputs:
        if _identity(path) in taken:
            raise DataError(
                "two files of one command would overwrite each other",
                where=path,
                next_step="Name another output.",
            )
        taken.add(_identity(path))


def _identity(path: Path) -> object:
    """Return what two names of one file have in common."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _followed(path: Path) -> Path:
    """Return the path of a regular file, or of none yet, that ``path`` and its links lead to.

    Raises OSError for a device: the administrator may rename over it, and /dev/null would become
    a file. /dev/stdout and its kind may lead to a regular file, and still are no place for one.
    """
    for _ in range(_MOST_LINKS):
        path = path.parent.resolve() / path.name
        if path.parent in _DEVICES or path.is_relative_to("/proc"):
            break
        if not path.is_symlink():
            if path.exists() and not path.is_file() and not path.is_dir():
                break
            return path
        path = path.parent / path.readlink()
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    raise OSError(errno.EINVAL, "not a regular file")


def _temporary_neighbour(target: Path) -> Path:
    """Make an empty file beside ``target``, with the permissions of a file made by ``open``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # No longer than the target's own name may be; writers look at the suffix.
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name[:_NAME_KEPT]}.", suffix=f".partial{suffix}"
    )
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)
    os.close(handle)
    return Path(name)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _cannot_write(path: Path | str, error: OSError) -> EnvironmentProblem:
    reason = error.strerror or type(error).__name__
    return EnvironmentProblem(
        f"the file cannot be written: {reason[:1].lower()}{reason[1:]}",
        where=path,
        next_step="Choose another place, or make room, and run the command again.",
    )
