"""Files changed at random: their bytes, the opcodes of a pickle, arrays."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from typing import Any

import numpy as np

Rng = np.random.Generator


def pick(rng: Rng, items: Any) -> Any:
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def changed_bytes(rng: Rng, data: bytes) -> bytes:
    """Overwrite, cut, double or insert some bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(len(changed) + 1))
        kind, length = int(rng.integers(6)), int(rng.integers(1, 40))
        if kind <= 2 and at < len(changed):
            changed[at] = int(rng.integers(256)) if kind else changed[at] ^ 1 << rng.integers(8)
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif rng.random() < 0.3:
            del changed[at:]
        else:
            changed[at:at] = rng.bytes(length)
        if not changed:
            return b""
    return bytes(changed)


def not_utf8(rng: Rng, data: bytes) -> bytes:
    """Break the text of some names, whose length stays."""
    changed = bytearray(data)
    letters = [i for i, byte in enumerate(data) if 97 <= byte <= 122]
    for _ in range(int(rng.integers(1, 6))):
        if letters:
            changed[pick(rng, letters)] = int(pick(rng, (0xFF, 0xC0, 0xED, 0x80, 0, 27)))
    return bytes(changed)


GLOBALS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\nPopen\n", b"ctorch\nload\n",
    b"cbuiltins\ngetattr\n", b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_qtensor\n",
    b"cbuiltins\nset\n", b"cfunctools\npartial\n", b"ctorch.nn.modules.conv\nConv2d\n",
)  # fmt: skip
CALLS = (b")R", b"", b"(tR", b")\x81", b"Nb")
OPCODES = (
    b"N", b"h\x00", b"G\x7f\xf8" + bytes(6), b"K\xff", b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\x7f" * 9, b"]", b"}", b"(", b"t", b"R", b"b", b"0",
)  # fmt: skip


def pickle_file(rng: Rng, data: bytes) -> bytes:
    """Change a ``.pt`` file: its pickle opcode by opcode with a fitting checksum, or its bytes."""
    if rng.random() < 0.25:
        return changed_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, record in records.items():
            changed = _changed_pickle(rng, record) if name.endswith(".pkl") else record
            archive.writestr(name, changed)
    return made.getvalue()


def _changed_pickle(rng: Rng, data: bytes) -> bytes:
    try:
        places = [at for *_, at in pickletools.genops(data) if at is not None]
    except ValueError:
        return changed_bytes(rng, data)
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    for _ in range(int(rng.choice((1, 1, 1, 2, 4)))):
        at, other = (int(i) for i in rng.integers(len(parts), size=2))
        kind = int(rng.integers(6))
        if kind == 0:
            parts[at] = parts[other]
        elif kind == 1:
            parts.insert(at, parts[other])
        elif kind == 2 and len(parts) > 2:
            del parts[at]
        elif kind == 3:
            parts[at] = changed_bytes(rng, parts[at])
        elif kind == 4:
            parts.insert(at, pick(rng, GLOBALS) + pick(rng, CALLS))
        else:
            parts[at] = pick(rng, OPCODES)
    return b"".join(parts)


def arrays_file(rng: Rng, arrays: dict[str, Any]) -> bytes:
    """Change named arrays and write them as ``.npz``: names, types, shapes, values, bytes."""
    made = dict(arrays)
    for _ in range(int(rng.integers(1, 3))):
        name = str(pick(rng, list(made))) if made else ""
        kind = int(rng.integers(7))
        if not made or kind == 0 or made[name].dtype == object:
            made[pick(rng, ("x", "no such name", "a/b", "\x1b[2J"))] = np.zeros(3)
        elif kind == 1:
            made[pick(rng, ("other", "y", f"{name}:0"))] = made.pop(name)
        elif kind == 2:
            types = (np.int8, np.uint8, np.int32, np.float16, np.float64, np.complex64, np.bool_)
            with warnings.catch_warnings(action="ignore"):
                made[name] = made[name].astype(pick(rng, types))
        elif kind == 3:
            made[name] = made[name].reshape(-1)[: int(rng.integers(4))]
        elif kind == 4 and made[name].ndim:
            made[name] = made[name][None] if rng.random() < 0.5 else made[name][:0]
        elif kind == 5:
            made[name] = np.array(["text", None], dtype=object)
        else:
            del made[name]
    file = io.BytesIO()
    np.savez(file, **made)
    return changed_bytes(rng, file.getvalue()) if rng.random() < 0.2 else file.getvalue()
