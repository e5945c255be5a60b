"""The calls of a ``.pt`` file that are answered: storages, tensors and plain containers.

Every declared size is checked before it is used, and what several tensors share is counted.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bitbybit.model.torch_file.archive import (
    Archive,
    Budget,
    Name,
    Storage,
    Stub,
    TorchTensor,
    Unread,
    damaged,
)
from bitbybit.model.torch_file.pickle_machine import Constructor, Machine, refuse
from bitbybit.model.types import AnyArray
from bitbybit.text import printable, shortened

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "QInt8": "int8",
    "QUInt8": "uint8",
    "QInt32": "int32",
    "Untyped": "uint8",
}
"""Storage class, without the word Storage → NumPy dtype (bfloat16 is widened on reading)."""
_DTYPES = {name: name for name in (*_STORAGES.values(), "uint16", "uint32", "uint64")}
"""Name of a torch dtype → NumPy dtype, for tensors that name it beside their bytes."""


class Rebuild(Machine):
    """Answers the calls of one pickle, with the storages of one folder.

    Parameters
    ----------
    archive
        The open file.
    name
        ``data`` for ``data.pkl`` with its storages in ``data/``, or ``constants``.
    budget
        What reading the file may take.
    """

    def __init__(self, archive: Archive, name: str, budget: Budget) -> None:
        super().__init__(budget, f"{archive.shown}, {name}.pkl")
        self.archive = archive
        self.folder = f"{name}/"
        self._records: dict[tuple[str, str], AnyArray] = {}

    def persistent(self, identifier: object) -> Storage | Unread:
        """Answer a persistent identifier ``('storage', class, key, location, numel)``."""
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise refuse("persistent identifier", self.where)
        cls, key, numel = identifier[1], identifier[2], identifier[4]
        if not isinstance(cls, Name) or not isinstance(key, str):
            raise refuse("persistent identifier", self.where)
        dtype = _STORAGES.get(cls.name.removesuffix("Storage"))
        if dtype is None or cls.module not in {"torch", "torch.storage"}:
            return Unread(f"a storage of class {_shown(cls)} is not read")
        return Storage(key, dtype, self._count(numel))

    def answer(self, name: str) -> Constructor | None:
        """Return the function that answers a call, None for a call that is not on the list."""
        name = name.replace("__builtin__.", "builtins.")  # as Python 2 called it
        if name in _FIRST_ARGUMENT:
            return _first
        if name in _INERT:
            return lambda *args: Stub(name, args)
        if name in _UNREAD:
            return lambda *_: Unread(f"{name.rpartition('.')[2]} is not read")
        functions: dict[str, Constructor] = {
            "torch._utils._rebuild_tensor": lambda *a: self.tensor(*a[:4]),
            "torch._utils._rebuild_tensor_v2": lambda *a: self.tensor(*a[:4]),
            "torch._utils._rebuild_tensor_v3": self._tensor_v3,
            "torch._utils._rebuild_qtensor": lambda *a: self.quantized(*a[:5]),
            "torch._tensor._rebuild_from_type_v2": self._from_type,
            "torch.fx.graph_module.reduce_graph_module": _graph_module,
            "torch.fx.graph_module.reduce_package_graph_module": _graph_module,
            "collections.OrderedDict": self._ordered_dict,
            "collections.defaultdict": lambda *_: {},
            "torch.Size": lambda size=(): size,
            "torch.device": lambda *_: None,
            "_codecs.encode": self._encode,
            "builtins.set": self._list,
            "builtins.frozenset": self._list,
            "builtins.getattr": _attribute_name,
        }
        return functions.get(name)

    def tensor(
        self, storage: object, offset: object, size: object, stride: object
    ) -> TorchTensor | Unread:
        """Return a strided view of a storage; refuses one that does not fit into it."""
        if isinstance(storage, Unread):
            return storage
        if not isinstance(storage, Storage):
            raise damaged("a tensor without storage", self.where)
        shape, steps = self._dimensions(size), self._dimensions(stride)
        start = self._count(offset)
        if len(shape) != len(steps):
            raise damaged("size and stride differ in length", self.where, found=shape)
        count = math.prod(shape)
        last = start + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if count and last >= storage.numel:
            where = f"{self.where}, storage {printable(storage.key)}"
            expected = f"at most {storage.numel} values"
            found = f"shape {shape}, stride {steps}, offset {start}"
            raise damaged(
                "a tensor is larger than its storage", where, expected=expected, found=found
            )
        self.budget.take(elements=count)  # a stride of 0 repeats values, as Tensor.expand does
        flat = self._values(storage)
        if not count:
            return TorchTensor(flat[:0].reshape(shape))
        strides = tuple(s * flat.itemsize for s in steps)
        view = np.lib.stride_tricks.as_strided(flat[start:], shape, strides, writeable=False)
        return TorchTensor(view)

    def quantized(
        self, storage: object, offset: object, size: object, stride: object, quantizer: object
    ) -> TorchTensor | Unread:
        """Return a quantized tensor: per tensor, or per channel with float64 scales."""
        tensor = self.tensor(storage, offset, size, stride)
        scheme, *rest = quantizer if isinstance(quantizer, tuple) and quantizer else (None,)
        name = _shown(scheme)
        if isinstance(tensor, Unread):
            return tensor
        if name == "torch.per_tensor_affine" and len(rest) == 2:
            return self._with_scale(tensor, np.asarray(rest[0]), np.asarray(rest[1]), None)
        if name == "torch.per_channel_affine" and len(rest) == 3:
            scales, zeros, axis = rest
            if isinstance(scales, TorchTensor) and isinstance(zeros, TorchTensor):
                self.budget.take(elements=16 * scales.values.size)
                return self._with_scale(tensor, scales.values, zeros.values, self._count(axis))
        return Unread(f"the quantization scheme {name} is not read")

    def _with_scale(
        self, tensor: TorchTensor, scale: AnyArray, zero: AnyArray, axis: int | None
    ) -> TorchTensor | Unread:
        shape = tensor.values.shape
        expected: tuple[int, ...] = () if axis is None else shape[axis : axis + 1]
        if scale.shape != expected or zero.shape != expected or (axis is not None and not expected):
            found = f"{scale.shape} and {zero.shape}"
            what = "the scales do not fit the tensor"
            raise damaged(what, self.where, expected=expected, found=found)
        if scale.dtype.kind not in "fiu" or zero.dtype.kind not in "iu":
            return Unread("its scales are no numbers, or its zero points no integers")
        return replace(
            tensor, scale=scale.astype(np.float64), zero_point=zero.astype(np.int64), axis=axis
        )

    def _tensor_v3(self, *args: object) -> TorchTensor | Unread:
        storage, offset, size, stride = args[:4]
        dtype = args[6] if len(args) > 6 else None
        name = _DTYPES.get(dtype.name) if isinstance(dtype, Name) else None
        if isinstance(storage, Unread):
            return storage
        if not isinstance(storage, Storage) or name is None:
            return Unread(f"a tensor of type {_shown(dtype)} is not read")
        typed = Storage(storage.key, name, storage.numel // _width(name))
        return self.tensor(typed, offset, size, stride)

    def _from_type(self, function: object, _cls: object, args: object, _state: object) -> object:
        constructor = self.answer(_shown(function))
        if constructor is None or not isinstance(args, tuple):
            raise refuse(_shown(function), self.where)
        return constructor(*args)

    def _values(self, storage: Storage) -> AnyArray:
        """Return the flat values of a storage; each record is read once for each type."""
        name = self.folder + storage.key
        needed, found = storage.numel * _width(storage.dtype), self.archive.length(name)
        if found is None or found < needed:
            what = "a storage is larger than its record" if found else "a storage is missing"
            where, bytes_there = f"{self.where}, {printable(name)}", f"{found or 0} bytes"
            raise damaged(what, where, expected=f"{needed} bytes", found=bytes_there)
        if (name, storage.dtype) not in self._records:
            self._records[name, storage.dtype] = self._read(name, storage.dtype)
        return self._records[name, storage.dtype][: storage.numel]

    def _read(self, name: str, dtype: str) -> AnyArray:
        wide = dtype == "bfloat16"
        native = np.dtype(np.uint16 if wide else dtype)
        stored = native.newbyteorder("<" if self.archive.little_endian else ">")
        data = self.archive.read(name)
        raw = np.frombuffer(data, stored, len(data) // native.itemsize)
        values: AnyArray = raw.astype(native, copy=False)
        if wide:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values.flags.writeable = False
        return values

    def _ordered_dict(self, pairs: object = ()) -> dict[object, object]:
        result: dict[object, object] = {}
        for pair in self._list(pairs):
            key, value = pair if isinstance(pair, (list, tuple)) else (None, None)
            if not isinstance(key, (str, int)):
                raise TypeError
            result[key] = value
        return result

    def _list(self, items: object = ()) -> list[object]:
        if not isinstance(items, (list, tuple)):
            raise TypeError
        self.budget.take(steps=len(items))
        return list(items)

    def _encode(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise TypeError
        self.budget.take(elements=len(text))
        return text.encode("latin1")

    def _count(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
            raise damaged("a size is not a count", self.where, found=_shown(value))
        return value

    def _dimensions(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list)) or len(value) > 32:
            raise damaged("a shape is not a list of at most 32 sizes", self.where)
        return tuple(self._count(v) for v in value)


_JIT = ("restore_type_tag", "build_intlist", "build_doublelist", "build_boollist")
_FIRST_ARGUMENT = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    *(f"torch.jit._pickle.{name}" for name in (*_JIT, "build_tensorlist")),
}
"""Calls whose answer is their first argument."""
_INERT = {
    *("functools.partial", "builtins.slice", "numpy.dtype"),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
}
"""Calls that are recorded and not answered: nothing in the result needs their value."""
_UNREAD = {f"torch._utils._rebuild_{kind}_tensor" for kind in ("sparse", "sparse_csr", "nested")}
"""Calls that stand for tensors of a kind that is not read."""


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _shown(value: object) -> str:
    """Return a value for a message; the text of a nested one could be endless."""
    if isinstance(value, int) and abs(value) < 2**64:
        return str(value)
    return shortened(value) if isinstance(value, Name) else type(value).__name__


def _first(value: object = None, *_: object) -> object:
    return value


def _attribute_name(owner: object, name: object) -> Name:
    """``getattr(class, name)``, as pickle writes builtin functions: joined, never looked up."""
    if not isinstance(owner, Name) or not isinstance(name, str):
        raise TypeError
    return Name(str(owner), name)


def _graph_module(body: object = None, *_: object) -> Stub:
    return Stub("torch.fx.graph_module.GraphModule", state=body)
