"""``.pt`` archives made by hand, byte by byte: what torch would never write among them."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
QTENSOR = b"ctorch._utils\n_rebuild_qtensor\n"


def text(value: str) -> bytes:
    """Opcode for a string."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Opcode for an integer."""
    return b"I%d\n" % value


def tuple_of(*items: bytes) -> bytes:
    """Opcodes for a tuple."""
    return b"(" + b"".join(items) + b"t"


def call(name: bytes, *args: bytes) -> bytes:
    """Opcodes for a call of ``module\\nname``."""
    return b"c" + name + b"\n" + tuple_of(*args) + b"R"


def storage(key: str, numel: int, kind: bytes = b"torch\nFloatStorage") -> bytes:
    """Opcodes for a persistent identifier of a storage."""
    parts = (text("storage"), b"c" + kind + b"\n", text(key), text("cpu"), number(numel))
    return tuple_of(*parts) + b"Q"


def tensor(
    key: str,
    numel: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    offset: int = 0,
    kind: bytes = b"torch\nFloatStorage",
) -> bytes:
    """Opcodes for a tensor."""
    sizes = tuple_of(*map(number, shape)), tuple_of(*map(number, stride))
    ordered = call(b"collections\nOrderedDict")
    parts = (storage(key, numel, kind), number(offset), *sizes, b"I00\n", ordered)
    return TENSOR + tuple_of(*parts) + b"R"


def dictionary(**items: bytes) -> bytes:
    """Opcodes for a dictionary."""
    return b"}(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def write(path: Path, pickle: bytes, records: dict[str, bytes] | None = None) -> Path:
    """Write an archive whose ``data.pkl`` is ``pickle`` (the STOP opcode is added)."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickle + b".")
        for name, data in (records or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path
