"""TensorProto → NumPy, with every declared size checked against the bytes that are there."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import numpy as np
from onnx import TensorProto

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.names import printable
from bitbybit.model.types import AnyArray

DTYPES: dict[int, np.dtype[np.generic]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.UINT8: np.dtype(np.uint8),
    TensorProto.INT8: np.dtype(np.int8),
    TensorProto.UINT16: np.dtype(np.uint16),
    TensorProto.INT16: np.dtype(np.int16),
    TensorProto.INT32: np.dtype(np.int32),
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.BOOL: np.dtype(np.bool_),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.UINT32: np.dtype(np.uint32),
    TensorProto.UINT64: np.dtype(np.uint64),
}
"""ONNX element type → NumPy dtype, for the types that are read."""

_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.INT64: "int64_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
"""Typed field of each element type; all others use ``int32_data``."""


def type_name(data_type: int) -> str:
    """Return the name of an ONNX element type, for messages."""
    names = TensorProto.DataType
    return names.Name(data_type).lower() if data_type in names.values() else str(data_type)


def check_tensor(tensor: TensorProto, folder: Path, where: str) -> None:
    """Compare the size a tensor declares with the bytes that are present.

    Element types that are not read (strings, 4-bit, float8) pass here and are refused by
    :func:`tensor_values`.

    Raises
    ------
    ModelError : a negative dimension, a size that does not fit, external data that is missing,
        too short, or outside ``folder``
    """
    dims = list(tensor.dims)
    if any(d < 0 for d in dims):
        raise ModelError("a dimension is negative", where=where, found=dims)
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        return
    count = math.prod(dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        _locate(tensor, folder, count * dtype.itemsize, where)
        return
    if tensor.HasField("raw_data"):
        expected, found, unit = count * dtype.itemsize, len(tensor.raw_data), "bytes"
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        expected, found, unit = count, len(getattr(tensor, field)), "values"
    if expected != found:
        raise ModelError(
            f"the tensor declares shape {_short(dims)} and does not hold its values",
            where=where,
            expected=f"{expected} {unit}",
            found=f"{found} {unit}",
        )


def tensor_values(tensor: TensorProto, folder: Path, where: str) -> AnyArray:
    """Return the values of a tensor, shape as declared, in native byte order.

    Raises
    ------
    ModelError : as :func:`check_tensor`; a value outside its type
    UnsupportedError : strings, 4-bit integers, float8 and other types outside ``DTYPES``
    """
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        raise UnsupportedError(
            "tensors of this type are not read", where=where, found=type_name(tensor.data_type)
        )
    check_tensor(tensor, folder, where)
    shape = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        size = math.prod(shape) * dtype.itemsize
        path, offset = _locate(tensor, folder, size, where)
        with path.open("rb") as file:
            file.seek(offset)
            return _from_bytes(file.read(size), dtype).reshape(shape)
    if tensor.HasField("raw_data"):
        return _from_bytes(tensor.raw_data, dtype).reshape(shape)
    field = getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))
    try:
        if dtype == np.float16:  # stored as bit patterns
            return np.array(list(field), dtype=np.uint16).view(np.float16).reshape(shape)
        return np.array(list(field), dtype=dtype).reshape(shape)
    except OverflowError:
        raise ModelError(f"a value lies outside {dtype}", where=where) from None


def _from_bytes(data: bytes, dtype: np.dtype[np.generic]) -> AnyArray:
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False)


def _locate(tensor: TensorProto, folder: Path, size: int, where: str) -> tuple[Path, int]:
    """Return file and offset of a tensor's external data, proved to lie inside ``folder``."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    shown = printable(location)
    if not location or "\0" in location:
        raise ModelError("external data has no location", where=where)
    root = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(root / location))
    if Path(location).is_absolute() or not path.is_relative_to(root):
        raise ModelError(
            "external data must lie inside the model's folder", where=where, found=shown
        )
    try:
        status = path.stat()
    except OSError:
        raise ModelError("the external data file is missing", where=where, found=shown) from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError("external data is not a regular file", where=where, found=shown)
    offset = _integer(entries.get("offset", "0"), where)
    length = _integer(entries.get("length", str(size)), where)
    if length != size:
        raise ModelError(
            f"external data of shape {_short(list(tensor.dims))} has the wrong length",
            where=where,
            expected=f"{size} bytes",
            found=f"{length} bytes",
        )
    if offset + size > status.st_size:
        raise ModelError(
            "the external data file is too short",
            where=f"{where}, {shown}",
            expected=f"{offset + size} bytes",
            found=f"{status.st_size} bytes",
        )
    return path, offset


def _integer(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(
            "external data needs a non-negative offset and length",
            where=where,
            found=printable(text),
        )
    return int(text)


def _short(dims: list[int]) -> str:
    return str(dims) if len(dims) <= 8 else f"{str(dims[:8])[:-1]}, …]"
