"""From a path to a parsed ONNX file, and from its tensors to arrays.

Nothing is executed, nothing outside the file's folder is read, and every declared size is
compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.types import AnyArray
from bitbybit.text import shortened

OLDEST_OPSET = 10
"""The first ONNX opset with QuantizeLinear, DequantizeLinear and QLinearConv."""

MOST_DIMENSIONS = 64
"""Of a NumPy array."""

_LARGEST_FILE = 2**31 - 1  # protobuf's limit for one message

_COPY = "Copy or export it again."
_SAVE = "Save the model and its data again with onnx.save."

DTYPES: dict[int, np.dtype[np.generic]] = {
    number: helper.tensor_dtype_to_np_dtype(number)
    for name, number in TensorProto.DataType.items()
    if name not in ("UNDEFINED", "STRING", "FLOAT6E2M3", "FLOAT6E3M2")
}
"""ONNX element type → NumPy dtype, for the types that are read: all but strings and 6 bits."""

_PER_BYTE = {
    number: 4 if "2" in name.removesuffix("E2M1") else 2
    for name, number in TensorProto.DataType.items()
    if name in ("INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1")
}
"""How many values of a type share a byte."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What reading a file may take, so that a small file cannot ask for a large machine.

    Attributes
    ----------
    nodes : nodes of the graph
    elements : elements of one tensor between layers, open dimensions counted as 1
    bytes : bytes of constants that are computed from others, and again of those that are copied
        into float islands, both beyond eight times the size of the file
    """

    nodes: int = 2**16
    elements: int = 2**40
    bytes: int = 2**27


class Allowance:
    """Memory for constants of one file: what the budget gives, and eight times the file's size."""

    def __init__(self, budget: Budget, file: OnnxFile) -> None:
        self._left = budget.bytes + 8 * file.size

    def take(self, size: int, where: str, what: str) -> None:
        """Take some bytes for ``what``; raises UnsupportedError if so many are not left."""
        self._left -= size
        if self._left < 0:
            raise too_much(where, f"{what} takes more memory than reading may take")


def too_much(
    where: object, what: str, expected: object = "", found: object = ""
) -> UnsupportedError:
    """Return the error of a file that takes more than the budget."""
    next_step = "If you trust the file, raise the budget: load(path, budget=Budget(...))."
    return unsupported(where, what, expected, found, next_step=next_step)


def wrong(
    where: object,
    what: str,
    expected: object = "",
    found: object = "",
    next_step: str | None = "Export the model again.",
) -> ModelError:
    """Return the error of a file or network that contradicts itself."""
    return ModelError(what, where=where, expected=expected, found=found, next_step=next_step)


def unsupported(
    where: object, what: str, expected: object = "", found: object = "", *, next_step: str
) -> UnsupportedError:
    """Return the error of what is valid and not read or written."""
    return UnsupportedError(what, where=where, expected=expected, found=found, next_step=next_step)


@dataclass(frozen=True)
class OnnxFile:
    """A parsed file.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    proto : the model, external data not yet read
    opsets : domain → version, "ai.onnx" written as ""
    size : bytes of the file
    initializers : constants by name, their sizes checked
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    opsets: dict[str, int]
    size: int = field(default=0, kw_only=True)
    initializers: dict[str, TensorProto] = field(default_factory=dict, kw_only=True)

    @property
    def where(self) -> str:
        """The file, for messages."""
        return shortened(str(self.path))

    @property
    def folder(self) -> Path:
        """The only folder, with its subfolders, from which external data may come."""
        return self.path.parent


def read_file(path: str | os.PathLike[str], budget: Budget) -> OnnxFile:
    """Parse an ONNX file, check its header, its names and the sizes of its constants.

    Parameters
    ----------
    path : a regular file whose name ends in ``.onnx``
    budget : how many nodes it may have

    Raises
    ------
    ModelError : no such file, wrong extension, not ONNX, truncated, names that are no text, a
        constant of false size or with another's name
    UnsupportedError : an ONNX opset below 10, model-local functions, sparse tensors, more nodes
        than the budget
    """
    path = Path(path)
    data = _read_bytes(path)
    shown = shortened(str(path))
    proto = onnx.ModelProto()
    what = "not an ONNX file, or a truncated one"
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise wrong(shown, what, next_step=_COPY) from None
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise wrong(shown, f"{what}: it holds no graph", next_step=_COPY)
    opsets = {_domain(entry.domain, shown): entry.version for entry in proto.opset_import}
    if "" not in opsets:
        next_step = "Export it with onnx.helper.make_model or a framework, which name one."
        raise wrong(shown, "the file names no opset of the ONNX operators", next_step=next_step)
    if opsets[""] < OLDEST_OPSET:
        next_step = "Convert it with onnx.version_converter."
        what = "the ONNX opset is too old for quantized operators"
        raise unsupported(shown, what, f">= {OLDEST_OPSET}", opsets[""], next_step=next_step)
    if proto.functions:
        next_step = "Inline them with onnx.inliner.inline_local_functions."
        what, found = "model-local functions are not read", shortened(proto.functions[0].name)
        raise unsupported(shown, what, found=found, next_step=next_step)
    count = len(proto.graph.node)
    if count > budget.nodes:
        what = "the graph has more nodes than reading may take"
        raise too_much(shown, what, f"<= {budget.nodes}", count)
    file = OnnxFile(path, hashlib.sha256(data).hexdigest(), proto, opsets, size=len(data))
    _check_text(proto.graph, shown)
    if proto.graph.sparse_initializer:
        next_step = "Store the weights densely."
        raise unsupported(shown, "sparse initializers are not read", next_step=next_step)
    for tensor in proto.graph.initializer:
        where = f"{shown}, initializer '{shortened(tensor.name)}'"
        if tensor.name in file.initializers:
            raise wrong(where, "two initializers have this name", next_step="Rename one of them.")
        check_tensor(tensor, file.folder, where)
        file.initializers[tensor.name] = tensor
    return file


def _read_bytes(path: Path) -> bytes:
    shown = shortened(str(path))
    try:
        status = path.stat()
    except (OSError, ValueError):
        next_step = "Check the path; `make models` makes those in models/."
        raise wrong(shown, "there is no such file", next_step=next_step) from None
    if not stat.S_ISREG(status.st_mode):
        raise wrong(shown, "this is not a regular file", next_step="Name an .onnx file.")
    if path.suffix.lower() != ".onnx":
        next_step = "Name an .onnx file; `bitbybit inspect` lists the tensors of .pt files."
        raise wrong(shown, "wrong extension", ".onnx", path.suffix or "none", next_step)
    if status.st_size == 0:
        raise wrong(shown, "the file is empty", next_step=_COPY)
    if status.st_size > _LARGEST_FILE:
        next_step = "Save it with its weights as external data."
        what = "the file is larger than a protobuf message can be"
        raise wrong(shown, what, f"<= {_LARGEST_FILE} bytes", f"{status.st_size} bytes", next_step)
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        raise wrong(shown, what, next_step="Check its permissions.") from None


def _check_text(proto: onnx.GraphProto, where: str) -> None:
    """Refuse names that are not UTF-8: the protobuf parser leaves them as bytes."""
    names: list[object] = [t.name for t in (*proto.initializer, *proto.input, *proto.output)]
    for node in proto.node:
        names += [node.op_type, node.name, node.domain, *node.input, *node.output]
        names += [a.name for a in node.attribute]
    for name in names:
        if not isinstance(name, str):
            raise wrong(where, "a name is not UTF-8 text", found=repr(name)[:80])


def _domain(domain: object, where: str) -> str:
    if not isinstance(domain, str):
        raise wrong(where, "an operator domain is not UTF-8 text")
    return "" if domain == "ai.onnx" else domain


def dtype_name(data_type: int) -> str:
    """Return the name of an element type: NumPy's, ONNX's where it has none."""
    names = TensorProto.DataType
    if data_type in DTYPES:
        return str(DTYPES[data_type])
    return names.Name(data_type).lower() if data_type in names.values() else str(data_type)


def check_tensor(tensor: TensorProto, folder: Path, where: str) -> None:
    """Compare the size a tensor declares with the bytes that are present.

    Strings and element types that nobody defined pass here, and have no values.

    Raises
    ------
    ModelError : a negative dimension, a size that does not fit, external data that is missing,
        too short, or outside ``folder``
    UnsupportedError : more dimensions than a NumPy array can have
    """
    dims = list(tensor.dims)
    if any(d < 0 for d in dims):
        raise wrong(where, "a dimension is negative", found=_short(dims))
    if len(dims) > MOST_DIMENSIONS:
        next_step = "Reshape the tensor; NumPy knows no more either."
        what = "a tensor has too many dimensions"
        raise unsupported(where, what, f"<= {MOST_DIMENSIONS}", len(dims), next_step=next_step)
    if tensor.data_type not in DTYPES:
        return
    if tensor.data_location == TensorProto.EXTERNAL:
        _locate(tensor, folder, where)
        return
    expected, found, unit = _bytes(tensor), len(tensor.raw_data), "bytes"
    if not tensor.HasField("raw_data"):
        parts = 2 if DTYPES[tensor.data_type].kind == "c" else 1
        stored = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
        expected, found, unit = _elements(tensor) * parts, len(stored), "values"
    if expected != found:
        what = f"the tensor declares shape {_short(dims)} and does not hold its values"
        raise wrong(where, what, f"{expected} {unit}", f"{found} {unit}", _COPY)


def _elements(tensor: TensorProto) -> int:
    """Return how many elements a tensor stores; values of 4 and 2 bits share one."""
    count = math.prod(int(size) for size in tensor.dims)
    return -(-count // _PER_BYTE.get(tensor.data_type, 1))


def _bytes(tensor: TensorProto) -> int:
    return int(_elements(tensor) * DTYPES[tensor.data_type].itemsize)


def tensor_values(tensor: TensorProto, folder: Path, where: str) -> AnyArray:
    """Return the values of a tensor, shape as declared, in native byte order.

    Raises
    ------
    ModelError : as :func:`check_tensor`; a value outside its type
    UnsupportedError : strings, types that nobody defined
    """
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        next_step = "Convert the tensor to float32, or to an integer type of 8 to 64 bits."
        what = "tensors of this type are not read"
        raise unsupported(where, what, found=dtype_name(tensor.data_type), next_step=next_step)
    check_tensor(tensor, folder, where)
    if tensor.data_location == TensorProto.EXTERNAL:
        path, offset = _locate(tensor, folder, where)
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(_bytes(tensor))
        tensor = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data)
    elif dtype.kind in "iub" and not tensor.HasField("raw_data"):
        _check_range(tensor, dtype, where)
    values: AnyArray = numpy_helper.to_array(tensor)
    return values


def _check_range(tensor: TensorProto, dtype: np.dtype[np.generic], where: str) -> None:
    """Refuse values that would wrap around: the fields are wider than the types they hold."""
    stored = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
    if not stored or tensor.data_type in _PER_BYTE:
        return
    low, high = 0, 1
    if dtype.kind != "b":
        low, high = int(np.iinfo(dtype.name).min), int(np.iinfo(dtype.name).max)
    if min(stored) < low or max(stored) > high:
        raise wrong(where, f"a value lies outside {dtype}")


def _locate(tensor: TensorProto, folder: Path, where: str) -> tuple[Path, int]:
    """Return file and offset of a tensor's external data, proved to lie inside ``folder``."""
    size, entries = _bytes(tensor), {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    shown = shortened(location)
    if not location or "\0" in location:
        raise wrong(where, "external data has no location")
    root = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(root / location))
    if Path(location).is_absolute() or not path.is_relative_to(root):
        next_step = "Move the data beside the model and save it again with onnx.save."
        what = "external data must lie inside the model's folder"
        raise wrong(where, what, found=shown, next_step=next_step)
    try:
        status = path.stat()
    except OSError:
        what, next_step = "the external data file is missing", "Put it beside the model."
        raise wrong(where, what, found=shown, next_step=next_step) from None
    if not stat.S_ISREG(status.st_mode):
        next_step = "Put the data file itself there."
        raise wrong(where, "external data is not a regular file", found=shown, next_step=next_step)
    offset = _integer(entries.get("offset", "0"), where)
    length = _integer(entries.get("length", str(size)), where)
    if length != size:
        what = f"external data of shape {_short(list(tensor.dims))} has the wrong length"
        raise wrong(where, what, f"{size} bytes", f"{length} bytes", _SAVE)
    if offset + size > status.st_size:
        what = "the external data file is too short"
        next_step = "Copy the data file again: it is truncated, or of another model."
        needed, there = f"{offset + size} bytes", f"{status.st_size} bytes"
        raise wrong(f"{where}, {shown}", what, needed, there, next_step)
    return path, offset


def _integer(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        what = "external data needs a non-negative offset and length"
        raise wrong(where, what, found=shortened(text), next_step=_SAVE)
    return int(text)


def _short(dims: list[int]) -> str:
    return str(dims) if len(dims) <= 8 else f"{str(dims[:8])[:-1]}, …]"
