"""Reading and writing the plain PNG files of the bundled samples, with NumPy alone.

Only one kind of PNG is read and written: 8-bit RGB, not interlaced, rows unfiltered, the
compressed stream stored.  So the bytes of a file do not depend on the version of zlib.
Source: the PNG specification (W3C, third edition), sections 5 (chunks) and 9 (filtering).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of ``image`` (uint8 ``[3, H, W]``, RGB planes)."""
    _, height, width = image.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = image.transpose(1, 2, 0).reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_png(path: Path) -> NDArray[np.uint8]:
    """Return the image in ``path`` as uint8 ``[3, H, W]``, RGB planes.

    Raises
    ------
    DataError
        If the file is absent, damaged, or not a PNG of the kind that :func:`encode_png` writes.
    """
    try:
        return _decode(path.read_bytes())
    except (OSError, ValueError, KeyError, struct.error, zlib.error) as error:
        raise DataError(
            "not a PNG of the bundled kind",
            where=path,
            expected="8-bit RGB, not interlaced, unfiltered rows",
            found=str(error) or type(error).__name__,
            next_step="Run `python scripts/draw_samples.py` to draw the samples again.",
        ) from error


def _decode(data: bytes) -> NDArray[np.uint8]:
    if not data.startswith(_SIGNATURE):
        raise ValueError("no PNG signature")
    chunks: dict[bytes, bytes] = {}
    position = len(_SIGNATURE)
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunk = data[position + 4 : position + 8 + length]
        if struct.unpack_from(">I", data, position + 8 + length) != (zlib.crc32(chunk),):
            raise ValueError("a chunk's checksum is wrong")
        chunks[chunk[:4]] = chunks.get(chunk[:4], b"") + chunk[4:]
        position += 12 + length
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if kind != [8, 2, 0, 0, 0] or not 0 < width * height <= 1 << 20:
        raise ValueError(f"{width}x{height}, depth, colour, compression, filter, interlace {kind}")
    size = height * (1 + 3 * width)
    stream = zlib.decompressobj().decompress(chunks[b"IDAT"], size + 1)
    if len(stream) != size:
        raise ValueError(f"{len(stream)} of {size} bytes of pixels")
    rows = np.frombuffer(stream, dtype=np.uint8).reshape(height, 1 + 3 * width)
    if rows[:, 0].any():
        raise ValueError("filtered rows")
    return rows[:, 1:].reshape(height, width, 3).transpose(2, 0, 1).copy()
