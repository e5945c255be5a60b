"""From a path to a parsed ONNX file.  Nothing is executed and nothing outside is read."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.names import printable

OLDEST_OPSET = 10
"""The first ONNX opset with QuantizeLinear, DequantizeLinear and QLinearConv."""

_LARGEST_FILE = 2**31 - 1  # protobuf's limit for one message


@dataclass(frozen=True)
class OnnxFile:
    """A parsed file.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    proto : the model, external data not yet read
    opsets : domain → version, "ai.onnx" written as ""
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    opsets: dict[str, int]

    @property
    def folder(self) -> Path:
        """The only folder, with its subfolders, from which external data may come."""
        return self.path.parent


def read_file(path: str | os.PathLike[str]) -> OnnxFile:
    """Parse an ONNX file and check its header.

    Parameters
    ----------
    path : a regular file whose name ends in ``.onnx``

    Raises
    ------
    ModelError : no such file, wrong extension, not ONNX, truncated
    UnsupportedError : an ONNX opset below 10, model-local functions
    """
    path = Path(path)
    data = _read_bytes(path)
    shown = printable(str(path))
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError("not an ONNX file, or a truncated one", where=shown) from None
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError("not an ONNX file, or a truncated one: it holds no graph", where=shown)
    opsets = {_domain(entry.domain, shown): entry.version for entry in proto.opset_import}
    if "" not in opsets:
        raise ModelError("the file names no opset of the ONNX operators", where=shown)
    if opsets[""] < OLDEST_OPSET:
        raise UnsupportedError(
            "the ONNX opset is too old for quantized operators",
            where=shown,
            expected=f">= {OLDEST_OPSET}",
            found=opsets[""],
            next_step="Convert it with onnx.version_converter.",
        )
    if proto.functions:
        raise UnsupportedError(
            "model-local functions are not read",
            where=shown,
            found=printable(proto.functions[0].name),
            next_step="Inline them with onnx.inliner.inline_local_functions.",
        )
    return OnnxFile(path, hashlib.sha256(data).hexdigest(), proto, opsets)


def _read_bytes(path: Path) -> bytes:
    shown = printable(str(path))
    try:
        status = path.stat()
    except (OSError, ValueError):
        raise ModelError("there is no such file", where=shown) from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError("this is not a regular file", where=shown)
    if path.suffix.lower() != ".onnx":
        raise ModelError(
            "wrong extension", where=shown, expected=".onnx", found=path.suffix or "none"
        )
    if status.st_size == 0:
        raise ModelError("the file is empty", where=shown)
    if status.st_size > _LARGEST_FILE:
        raise ModelError(
            "the file is larger than a protobuf message can be",
            where=shown,
            expected=f"<= {_LARGEST_FILE} bytes",
            found=f"{status.st_size} bytes",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"the file cannot be read ({error.strerror})", where=shown) from None


def _domain(domain: object, where: str) -> str:
    if not isinstance(domain, str):
        raise ModelError("an operator domain is not UTF-8 text", where=where)
    return "" if domain == "ai.onnx" else domain
