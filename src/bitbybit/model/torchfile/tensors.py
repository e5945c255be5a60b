"""Storages and tensors of a ``.pt`` file, with every declared size checked before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.model.names import printable
from bitbybit.model.torchfile.archive import Archive
from bitbybit.model.torchfile.machine import Constructor, refuse
from bitbybit.model.torchfile.values import Name, Storage, Stub, TorchTensor
from bitbybit.model.types import AnyArray

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


@dataclass
class Tensors:
    """Answers the calls that stand for tensors, from one folder of storages.

    Parameters
    ----------
    archive
        The open file.
    folder
        ``data/`` for what ``data.pkl`` names, ``constants/`` for ``constants.pkl``.
    """

    archive: Archive
    folder: str

    def __post_init__(self) -> None:
        self.where = f"{self.archive.shown}, {self.folder.rstrip('/')}.pkl"
        self._read: dict[Storage, AnyArray] = {}

    def storage(self, identifier: object) -> Storage:
        """Answer a persistent identifier ``('storage', class, key, location, numel)``."""
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise refuse("persistent identifier", self.where)
        cls, key, numel = identifier[1], identifier[2], identifier[4]
        if not isinstance(cls, Name) or not isinstance(key, str):
            raise refuse("persistent identifier", self.where)
        dtype = _STORAGES.get(cls.name.removesuffix("Storage"))
        if dtype is None or cls.module not in {"torch", "torch.storage"}:
            raise UnsupportedError(
                "storages of this class are not read", where=self.where, found=_shown(cls)
            )
        return Storage(key, dtype, self._count(numel))

    def constructors(self) -> dict[str, Constructor]:
        """Return the calls that are answered, by full name."""
        utils = "torch._utils."
        first = dict.fromkeys(_FIRST_ARGUMENT, _first)
        stubs = {name: _stub(name) for name in _INERT}
        return {
            **first,
            **stubs,
            utils + "_rebuild_tensor": lambda *a: self.tensor(*a[:4]),
            utils + "_rebuild_tensor_v2": lambda *a: self.tensor(*a[:4]),
            utils + "_rebuild_tensor_v3": self._tensor_v3,
            utils + "_rebuild_qtensor": lambda *a: self.quantized(*a[:5]),
            "torch._tensor._rebuild_from_type_v2": self._from_type,
            "collections.OrderedDict": _ordered_dict,
            "collections.defaultdict": lambda *_: {},
            "torch.Size": lambda size=(): size,
            "torch.device": lambda *_: None,
            "_codecs.encode": _encode,
            **dict.fromkeys(("builtins.set", "__builtin__.set"), _list),
            **dict.fromkeys(("builtins.frozenset", "__builtin__.frozenset"), _list),
            **dict.fromkeys(("builtins.getattr", "__builtin__.getattr"), _attribute_name),
            **dict.fromkeys(("copyreg._reconstructor", "copy_reg._reconstructor"), self._plain),
            **dict.fromkeys(_GRAPH_MODULES, _graph_module),
        }

    def tensor(self, storage: object, offset: object, size: object, stride: object) -> TorchTensor:
        """Return a strided view of a storage; refuses one that does not fit into it."""
        if not isinstance(storage, Storage):
            raise ModelError("a tensor without storage", where=self.where)
        shape, steps = self._dimensions(size), self._dimensions(stride)
        start = self._count(offset)
        if len(shape) != len(steps):
            raise ModelError("size and stride differ in length", where=self.where, found=shape)
        count = math.prod(shape)
        last = start + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if count and (count > storage.numel or last >= storage.numel):
            raise ModelError(
                "a tensor is larger than its storage",
                where=f"{self.where}, storage {printable(storage.key)}",
                expected=f"at most {storage.numel} values",
                found=f"shape {shape}, stride {steps}, offset {start}",
            )
        flat = self._values(storage)
        if not count:
            return TorchTensor(flat[:0].reshape(shape))
        strides = tuple(s * flat.itemsize for s in steps)
        view = np.lib.stride_tricks.as_strided(flat[start:], shape, strides, writeable=False)
        return TorchTensor(view)

    def quantized(
        self, storage: object, offset: object, size: object, stride: object, quantizer: object
    ) -> TorchTensor:
        """Return a quantized tensor: per tensor, or per channel with float64 scales."""
        tensor = self.tensor(storage, offset, size, stride)
        scheme, *rest = quantizer if isinstance(quantizer, tuple) and quantizer else (None,)
        name = _shown(scheme)
        if name == "torch.per_tensor_affine" and len(rest) == 2:
            scale, zero = np.asarray(rest[0], np.float64), np.asarray(rest[1], np.int64)
            return self._with_scale(tensor, scale, zero, None)
        if name == "torch.per_channel_affine" and len(rest) == 3:
            scales, zeros, axis = rest
            if isinstance(scales, TorchTensor) and isinstance(zeros, TorchTensor):
                values = (scales.values.astype(np.float64), zeros.values.astype(np.int64))
                return self._with_scale(tensor, *values, self._count(axis))
        raise UnsupportedError(
            "tensors with this quantization scheme are not read",
            where=self.where,
            expected="torch.per_tensor_affine or torch.per_channel_affine",
            found=name,
        )

    def _with_scale(
        self, tensor: TorchTensor, scale: AnyArray, zero: AnyArray, axis: int | None
    ) -> TorchTensor:
        shape = tensor.values.shape
        expected: tuple[int, ...] = () if axis is None else shape[axis : axis + 1]
        if scale.shape != expected or zero.shape != expected or (axis is not None and not expected):
            raise ModelError(
                "the scales do not fit the tensor",
                where=self.where,
                expected=expected,
                found=f"{scale.shape} and {zero.shape}",
            )
        return replace(
            tensor, scale=scale.astype(np.float64), zero_point=zero.astype(np.int64), axis=axis
        )

    def _tensor_v3(self, *args: object) -> TorchTensor:
        storage, offset, size, stride = args[:4]
        dtype = args[6] if len(args) > 6 else None
        name = _DTYPES.get(dtype.name) if isinstance(dtype, Name) else None
        if not isinstance(storage, Storage) or name is None:
            raise UnsupportedError(
                "tensors of this dtype are not read", where=self.where, found=_shown(dtype)
            )
        width = 2 if name == "bfloat16" else np.dtype(name).itemsize
        typed = Storage(storage.key, name, storage.numel // width)
        return self.tensor(typed, offset, size, stride)

    def _from_type(self, function: object, _cls: object, args: object, _state: object) -> object:
        constructor = self.constructors().get(_shown(function))
        if constructor is None or not isinstance(args, tuple):
            raise refuse(_shown(function), self.where)
        return constructor(*args)

    def _plain(self, cls: object, *_: object) -> Stub:
        if not isinstance(cls, Name):
            raise refuse(_shown(cls), self.where)
        return Stub(str(cls))

    def _values(self, storage: Storage) -> AnyArray:
        """Return the flat values of a storage, read once."""
        if storage in self._read:
            return self._read[storage]
        record = self.folder + storage.key
        wide = storage.dtype == "bfloat16"
        dtype = np.dtype(np.uint16 if wide else storage.dtype)
        needed, found = storage.numel * dtype.itemsize, self.archive.size(record)
        if found is None or found < needed:
            raise ModelError(
                "a storage is larger than its record" if found else "a storage is missing",
                where=f"{self.where}, {printable(record)}",
                expected=f"{needed} bytes",
                found=f"{found or 0} bytes",
            )
        stored = dtype.newbyteorder("<" if self.archive.little_endian else ">")
        raw = np.frombuffer(self.archive.read(record), stored, storage.numel)
        values: AnyArray = raw.astype(dtype, copy=False)
        if wide:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values.flags.writeable = False
        self._read[storage] = values
        return values

    def _count(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
            raise ModelError("a size is not a count", where=self.where, found=_shown(value))
        return value

    def _dimensions(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list)) or len(value) > 32:
            raise ModelError("a shape is not a list of sizes", where=self.where)
        return tuple(self._count(v) for v in value)


_FIRST_ARGUMENT = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.jit._pickle.restore_type_tag",
    "torch.jit._pickle.build_intlist",
    "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_tensorlist",
)
"""Calls whose answer is their first argument."""
_GRAPH_MODULES = (
    "torch.fx.graph_module.reduce_graph_module",
    "torch.fx.graph_module.reduce_package_graph_module",
)
_INERT = (
    "functools.partial",
    "builtins.slice",
    "builtins.complex",
    "builtins.range",
    "__builtin__.slice",
    "__builtin__.complex",
    "__builtin__.xrange",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
)
"""Calls that are recorded and not answered: nothing in the result needs their value."""


def _shown(value: object) -> str:
    """Return a value for a message; the text of a nested one could be endless."""
    return printable(str(value)) if isinstance(value, (Name, int)) else type(value).__name__


def _first(value: object = None, *_: object) -> object:
    return value


def _stub(name: str) -> Constructor:
    return lambda *args: Stub(name, args)


def _ordered_dict(pairs: object = ()) -> dict[object, object]:
    if not isinstance(pairs, (list, tuple)):
        raise TypeError
    result: dict[object, object] = {}
    for pair in pairs:
        key, value = pair
        if not isinstance(key, (str, int)):
            raise TypeError
        result[key] = value
    return result


def _list(items: object = ()) -> list[object]:
    if not isinstance(items, (list, tuple)):
        raise TypeError
    return list(items)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise TypeError
    return text.encode("latin1")


def _attribute_name(owner: object, name: object) -> Name:
    """``getattr(class, name)``, as pickle writes builtin functions: joined, never looked up."""
    if not isinstance(owner, Name) or not isinstance(name, str):
        raise TypeError
    return Name(str(owner), name)


def _graph_module(body: object = None, *_: object) -> Stub:
    return Stub("torch.fx.graph_module.GraphModule", state=body)
