"""Reading the tensors of a PyTorch ``.pt`` file without PyTorch and without running it.

A ``.pt`` file is a zip archive: ``NAME/data.pkl`` is a pickle that describes the objects, and
each tensor's storage is a member ``NAME/data/KEY`` of raw numbers.  The pickle is a program;
:class:`RestrictedUnpickler` gives it tensors and plain containers to build, and nothing else.
Source: PyTorch's ``torch/serialization.py``, ``_save`` and ``_load``.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError

MAX_PICKLE_BYTES: Final = 64 << 20
MAX_STORAGE_BYTES: Final = 4 << 30
"""Larger members are refused before anything is allocated for them."""

STORAGE_DTYPES: Final[Mapping[str, str]] = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""Storage class of PyTorch and the NumPy type of its elements."""


class Archive:
    """The members of a ``.pt`` file, each checked for its size before it is read.

    Parameters
    ----------
    source
        The opened zip archive.

    Raises
    ------
    ValueError
        If there is not exactly one ``data.pkl``.
    """

    def __init__(self, source: zipfile.ZipFile) -> None:
        pickles = [name for name in source.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members called data.pkl")
        self._source = source
        self.prefix = pickles[0].removesuffix("data.pkl")

    def read(self, name: str, limit: int) -> bytes:
        """Return a member; raises ValueError if it is longer than ``limit`` bytes."""
        info = self._source.getinfo(self.prefix + name)
        if info.file_size > limit:
            raise ValueError(f"{name} holds {info.file_size} bytes, more than {limit}")
        return self._source.read(info)

    def byte_order(self) -> str:
        """Return NumPy's sign for the byte order of the storages: ``"<"`` or ``">"``."""
        if self.prefix + "byteorder" not in self._source.namelist():
            return "<"
        return {b"little": "<", b"big": ">"}[self.read("byteorder", 6)]


class StorageType:
    """Stands for a storage class of PyTorch: the type of the elements, nothing to call."""

    def __init__(self, code: str) -> None:
        self.code = code


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that builds NumPy arrays and plain containers from the pickle of a ``.pt``."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(io.BytesIO(archive.read("data.pkl", MAX_PICKLE_BYTES)))
        self._archive = archive
        self._order = archive.byte_order()
        self._storages: dict[str, NDArray[Any]] = {}
        self._free = MAX_STORAGE_BYTES

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name of the pickle; all other names are refused."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return rebuild_parameter
        if module == "torch" and name in STORAGE_DTYPES:
            return StorageType(STORAGE_DTYPES[name])
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """Return the storage ``("storage", type, key, location, count)``, 1-D and read-only."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, StorageType) or not key.isalnum():
            raise ValueError("a reference to something other than a storage")
        dtype = np.dtype(self._order + storage.code)
        if key not in self._storages:
            data = self._archive.read(f"data/{key}", self._free)
            self._free -= len(data)
            self._storages[key] = np.frombuffer(data, dtype)
        array = self._storages[key]
        if array.dtype != dtype or count > array.size:
            raise ValueError(f"storage {key} holds {array.size} {array.dtype}, not {count} {dtype}")
        return array


def rebuild_tensor(
    storage: NDArray[Any],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *_: object,
) -> NDArray[Any]:
    """Return the read-only view of a storage that a tensor is; offset and stride in elements."""
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and reach >= storage.size:
        raise ValueError(f"a tensor that reaches element {reach} of {storage.size}")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def rebuild_parameter(data: NDArray[Any], *_: object) -> NDArray[Any]:
    """Return the tensor of a parameter."""
    return data


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a state dict that was written by ``torch.save``.

    Parameters
    ----------
    path
        The ``.pt`` file.

    Returns
    -------
    dict
        Name and value of each tensor, in file order; read-only arrays.

    Raises
    ------
    ModelError
        If the file is not such an archive, is damaged, asks for anything but tensors and plain
        containers, or holds anything but one mapping from names to tensors.
    """
    state = _load(Path(path))
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in state.items()
    ):
        raise _refused(path, f"a {type(state).__name__} that is not name to tensor")
    return dict(state)


def _load(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as source:
            return RestrictedUnpickler(Archive(source)).load()
    except OSError as error:
        raise _refused(path, error.strerror or "a file that cannot be read") from error
    except zipfile.BadZipFile as error:
        raise _refused(path, "no complete zip archive") from error
    except pickle.UnpicklingError as error:
        raise _refused(path, f"a pickle that asks for {error}") from error
    except Exception as error:  # a hostile pickle can raise anything; none of it has run code
        raise _refused(path, str(error) or type(error).__name__) from error


def _refused(path: str | os.PathLike[str], found: str) -> ModelError:
    return ModelError(
        "not a PyTorch state dict",
        where=os.fspath(path),
        expected="a .pt file of named tensors, as torch.save(model.state_dict(), path) writes it",
        found=found,
    )
