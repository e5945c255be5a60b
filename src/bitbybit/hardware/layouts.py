"""Orders of elements in memory, and words: how a tensor in ONNX layout becomes a file, and back.

=========  ==============================  =========================  ==========================
layout     activations ``[N, C, H, W]``    weights ``[M, C, kH, kW]``  inverse
=========  ==============================  =========================  ==========================
NCHW       as they are                     as they are
NHWC       ``[N, H, W, C]``                ``[M, kH, kW, C]``
NC/8HW8    ``[N, C/8, H, W, 8]``           ``[M, C/8, kH, kW, 8]``     drops the lanes that fill
im2col     x ``[G, V, K]``, others         ``[G, K, M/G]``            pixels that no window reads
           ``[V, M]``, ``V = N*H_out*W_out``                          come back as the zero point
=========  ==============================  =========================  ==========================

C is rounded up to whole blocks; NC/xHWx takes any x. A tensor ``[N, K]`` is in blocks along K and
else the same in every layout, a vector ``[M]`` is the same in all.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.hardware.matrices import rows_of
from bitbybit.hardware.pack import wrong
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel

LAYOUTS = ("NCHW", "NHWC", "NC/8HW8", "im2col")
"""What the command offers; other block sizes by their name."""

FORMATS = ("npy", "hex", "bin", "c")


class Where(NamedTuple):
    """Which tensor it is, as far as its layout depends on that.

    Attributes
    ----------
    model, layer : whose tensor
    tensor : "x", "w", "b", "m", "sum", "acc" or "y"
    place : which input, for "x"
    """

    model: QuantizedModel
    layer: Layer
    tensor: str
    place: int = 0

    @property
    def fill(self) -> int:
        """What lanes without an element hold: the zero point of codes, 0 of anything else."""
        names = {"x": self.layer.inputs[self.place : self.place + 1], "y": (self.layer.name,)}
        p = [self.model.edges[name].params for name in names.get(self.tensor, ())]
        return int(p[0].zero_point) if p and p[0] is not None and p[0].axis is None else 0


def block_of(layout: str) -> int:
    """Return x of the layout NC/xHWx, 0 of another layout.

    Raises
    ------
    DataError
        There is no such layout.
    """
    found = re.fullmatch(r"NC/([1-9]\d{0,3})HW\1", layout)
    if found is None and layout not in LAYOUTS:
        next_step = "Choose one of these; other block sizes than 8 are allowed."
        raise wrong("layout", "no such layout", next_step, ", ".join(LAYOUTS), layout)
    return int(found[1]) if found else 0


def arranged(values: AnyArray, layout: str, where: Where) -> AnyArray | None:
    """Return a tensor in another layout, None where the layout knows no such tensor.

    Parameters
    ----------
    values
        In ONNX layout.
    layout
        One of :data:`LAYOUTS`, or NC/xHWx.
    where
        Which tensor it is.

    Returns
    -------
    dtype of ``values``, shape as the table of this module says

    Raises
    ------
    DataError
        There is no such layout.
    """
    return _arranged(values, layout, where, where.fill)


def restored(values: AnyArray, layout: str, where: Where, shape: tuple[int, ...]) -> AnyArray:
    """Return a tensor of another layout in ONNX layout: the inverse of :func:`arranged`.

    Parameters
    ----------
    values
        The elements in the order of ``layout``, of any shape.
    layout, where
        As for :func:`arranged`.
    shape
        The shape in ONNX layout.

    Raises
    ------
    DataError
        There is no such layout, or it has another number of elements.
    """
    order = _arranged(np.arange(math.prod(shape)).reshape(shape), layout, where, -1)
    if order is None or order.size != values.size:
        what = f"this is not the layout {layout}"
        expected = "no such tensor" if order is None else f"{order.size} elements"
        next_step = "Name the layout that the values have."
        raise wrong(f"layer {where.layer.name}", what, next_step, expected, values.size)
    found = np.full(math.prod(shape), where.fill, values.dtype)
    here = order.reshape(-1) >= 0
    found[order.reshape(-1)[here]] = values.reshape(-1)[here]
    return found.reshape(shape)


def _arranged(values: AnyArray, layout: str, where: Where, fill: int) -> AnyArray | None:
    """Return a tensor in another layout; ``fill`` stands where it has no element."""
    block, channels = block_of(layout), values.shape[1:2]
    if layout == "im2col":
        return _as_matrix(values, where, fill)
    if block and channels:
        edges = [(0, -channels[0] % block if axis == 1 else 0) for axis in range(values.ndim)]
        padded = np.pad(values, edges, constant_values=fill)
        blocks = padded.reshape(len(values), -1, block, *values.shape[2:])
        return np.moveaxis(blocks, 2, -1)
    return np.moveaxis(values, 1, -1) if layout == "NHWC" and values.ndim > 2 else values


def _as_matrix(values: AnyArray, where: Where, fill: int) -> AnyArray | None:
    """Return the rows of an input, the columns of weights, the rows of an output."""
    layer = where.layer
    if not isinstance(layer, (Conv, Dense)):
        return None
    if where.tensor == "x":
        return rows_of(layer, values, fill)
    groups = layer.group if isinstance(layer, Conv) else 1
    if where.tensor == "w":
        rows = values.reshape(len(values), -1) if isinstance(layer, Conv) else values.T
        return rows.reshape(groups, -1, rows.shape[1]).swapaxes(1, 2)
    if values.ndim < 2:
        return values
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def as_words(values: AnyArray, word_bits: int) -> str:
    """Write elements as words of ``$readmemh``, one a line: lane 0 in the lowest bits.

    Parameters
    ----------
    values
        Any number type; an element wider than a word makes words of its own width.
    word_bits
        A multiple of 8. The last word is filled with 0.
    """
    size = word_bytes(values.dtype, word_bits)
    raw = _little(values).tobytes()
    raw += bytes(-len(raw) % size)
    words = np.frombuffer(raw, np.uint8).reshape(-1, size)[:, ::-1].tobytes().hex()
    return "".join(words[i : i + 2 * size] + "\n" for i in range(0, len(words), 2 * size))


def of_words(text: str, dtype: np.dtype[Any], word_bits: int, where: object) -> AnyArray:
    """Read words of ``$readmemh`` back: the elements, with those that fill the last word.

    Comments and underscores are passed over, as Verilog does; addresses must ascend by one.

    Parameters
    ----------
    text
        The file.
    dtype
        Of the elements.
    word_bits
        Bits of a word.
    where
        The name of the file, for messages.

    Raises
    ------
    DataError
        A digit is x, z or none at all, a word has another width, or an address leaves a gap.
    """
    digits, words = 2 * word_bytes(dtype, word_bits), list[bytes]()
    plain = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(plain.splitlines(), 1):
        for word in line.partition("//")[0].replace("_", "").split():
            place = f"{where}, line {number}"
            if word[0] == "@":
                if not re.fullmatch(r"@[0-9a-fA-F]+", word) or int(word[1:], 16) != len(words):
                    next_step = "Dump every word, in the order of addresses."
                    expected = f"@{len(words):x}"
                    raise wrong(place, "the words leave a gap", next_step, expected, word)
                continue
            if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", word):
                unknown = re.fullmatch(r"[0-9a-fA-FxXzZ]+", word) and set(word) & set("xXzZ")
                what = "a digit is unknown (x) or not driven (z)" if unknown else "not such a word"
                next_step = (
                    "Reset or write every element before the dump."
                    if unknown
                    else "Check the width of the words: --word-bits."
                )
                raise wrong(place, what, next_step, f"{digits} hex digits", word[:80])
            words.append(bytes.fromhex(word)[::-1])
    return np.frombuffer(b"".join(words), dtype.newbyteorder("<")).astype(dtype)


def word_bytes(dtype: np.dtype[Any], word_bits: int) -> int:
    """Return the bytes of a word: an element wider than a word makes it as wide.

    Raises
    ------
    DataError
        A word does not consist of whole bytes, or of whole elements.
    """
    if word_bits < 8 or word_bits % 8 or word_bits > 4096 or word_bits & (word_bits - 1):
        next_step = "Choose 8, 16, 32, 64, ..."
        raise wrong("word width", "not a power of two", next_step, "8 to 4096 bits", word_bits)
    return max(word_bits // 8, dtype.itemsize)


def npy_bytes(values: AnyArray) -> bytes:
    """Return the bytes of an ``.npy`` file of an array, version 1.0, in C order."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(values, order="C"), allow_pickle=False)
    return stream.getvalue()


def as_header(values: AnyArray, name: str, words: str) -> str:
    """Write elements as an array of C99.

    Parameters
    ----------
    values
        Integers of 8, 16 or 32 bits, or float32, which is written in hex.
    name
        An identifier of C.
    words
        What it is, for the comment.
    """
    kind = "float" if values.dtype.kind == "f" else f"{values.dtype.name}_t"
    flat = values.reshape(-1)
    if values.dtype.kind == "f":
        items = [_c_float(float(v)) for v in flat]
    else:
        items = ["INT32_MIN" if v == -(2**31) else str(int(v)) for v in flat]
    lines = [", ".join(items[i : i + 16]) for i in range(0, len(items), 16)]
    body = ",\n    ".join(lines)
    includes = "#include <math.h>\n#include <stdint.h>\n"
    head = f"static const {kind} {name}[{len(items)}]"
    return f"/* {words} */\n{includes}\n{head} = {{\n    {body}\n}};\n"


def _c_float(value: float) -> str:
    if math.isfinite(value):
        return f"{value.hex()}f"
    return "NAN" if math.isnan(value) else f"{'-' if value < 0 else ''}INFINITY"


def read_values(path: Path, form: str, dtype: np.dtype[Any], word_bits: int = 64) -> NDArray[Any]:
    """Read the elements of a file in one of the formats npy, hex and bin.

    Parameters
    ----------
    path
        The file.
    form
        "npy", "hex" or "bin".
    dtype
        Of the elements; an ``.npy`` file says itself what it holds.
    word_bits
        Bits of a word of a hex file.

    Returns
    -------
    Flat, but of an ``.npy`` file; with the elements that fill the last word of a hex file.

    Raises
    ------
    DataError
        The file is missing, or not in this format.
    """
    try:
        if form == "npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if form == "hex":
            return of_words(path.read_text("utf-8"), dtype, word_bits, path)
        raw = path.read_bytes()
    except FileNotFoundError:
        raise wrong(path, "there is no such file", "Check the path.") from None
    except (OSError, ValueError, EOFError):
        raise wrong(path, "the file cannot be read", "Check its format.", form) from None
    if len(raw) % dtype.itemsize:
        expected = f"a multiple of {dtype.itemsize} bytes"
        raise wrong(path, "the last element is cut", "Dump it whole.", expected, len(raw))
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype)


def _little(values: AnyArray) -> AnyArray:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
