"""The tensor index: every tensor of a file by layer, whatever wrote the file.

No user interface and no torch: ``.onnx`` goes through the reader of :mod:`bitbybit.model`,
``.pt`` through its restricted reader.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import along
from bitbybit.errors import BitbybitError
from bitbybit.inspection.columns import Column, as_json, at
from bitbybit.inspection.statistics import STATISTICS, statistics
from bitbybit.inspection.weights import constant
from bitbybit.model.island_contents import island_tensors
from bitbybit.model.load import load
from bitbybit.model.torch_file import TorchFile, TorchTensor, read_torch_file
from bitbybit.model.types import AnyArray, FloatIsland, Layer
from bitbybit.text import shortened

TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True, eq=False)
class TensorEntry:
    """One tensor.

    Attributes
    ----------
    name : its full name in the file
    stored : the values in the file: codes, or real numbers
    scale_values, zero_point_values : one value per channel, or one value; None for a float
        tensor. Scales are float32 from ONNX and float64 from torch
    axis : the channel axis; None per tensor
    """

    name: str
    stored: AnyArray = field(repr=False)
    scale_values: NDArray[Any] | None = None
    zero_point_values: NDArray[Any] | None = None
    axis: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        return tuple(self.stored.shape)

    @property
    def is_quantized(self) -> bool:
        """Whether it has scales."""
        return self.scale_values is not None

    @property
    def int_values(self) -> AnyArray | None:
        """The codes; None for a float tensor."""
        return self.stored if self.is_quantized else None

    @property
    def scale(self) -> float | None:
        """The one scale of a per-tensor quantized tensor; None per channel and for a float."""
        if self.scale_values is None or self.axis is not None:
            return None
        return float(self.scale_values[0])

    @property
    def zero_point(self) -> int | None:
        """The one zero point, likewise."""
        one = self.axis is None and self.zero_point_values is not None
        return (
            int(self.zero_point_values[0]) if one and self.zero_point_values is not None else None
        )

    @property
    def values(self) -> NDArray[Any]:
        """The real values: float32, each channel dequantized with its own scale.

        Computed at each access, so that an index of a large file stays small. A torch file may
        have any scale; what leaves float32 becomes infinite.
        """
        if self.scale_values is None or self.zero_point_values is None:
            return self.stored
        rank = self.stored.ndim
        zeros, scales = (
            along(values if self.axis is not None else values.reshape(()), self.axis, rank)
            for values in (self.zero_point_values, self.scale_values)
        )
        with np.errstate(all="ignore"):
            steps = (self.stored.astype(np.int64) - zeros).astype(np.float32)
            return np.asarray(steps * scales.astype(np.float32))


@dataclass(frozen=True, eq=False)
class LayerEntry:
    """The tensors of one layer by role (``weight``, ``bias``, ``running_mean``, ...).

    ``output_scale`` and ``output_zero_point`` are those of its output, where the file has them
    and they are numbers; ``reason`` says why a value in the file is none.
    """

    name: str
    tensors: dict[str, TensorEntry]
    output_scale: float | None = None
    output_zero_point: int | None = None
    reason: str = ""

    @property
    def is_quantized(self) -> bool:
        """Whether one of its tensors is."""
        return any(tensor.is_quantized for tensor in self.tensors.values())


@dataclass(frozen=True, eq=False)
class TensorIndex:
    """All tensors of a file.

    Attributes
    ----------
    path : the file
    format : ``"onnx"``, ``"pytorch"`` or ``"none"``
    reason : why the format is ``"none"``, one sentence; else ""
    layers : name → layer, in the order of the file
    unread : name of a tensor or number that is not read → why
    """

    path: Path
    format: str
    reason: str = ""
    layers: dict[str, LayerEntry] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def is_quantized(self) -> bool:
        """Whether one of the layers is."""
        return any(layer.is_quantized for layer in self.layers.values())


def tensor_index(path: str | os.PathLike[str]) -> TensorIndex:
    """List the tensors of an ``.onnx``, ``.pt`` or ``.pth`` file.

    Returns
    -------
    TensorIndex
        A file that is missing, cannot be read or has another extension gives ``format`` "none"
        with the reason; nothing is raised for it.
    """
    path = Path(path)
    suffix, shown = path.suffix.lower(), shortened(path)
    try:
        if suffix == ".onnx":
            return TensorIndex(path, "onnx", layers=_onnx_layers(path))
        if suffix in TORCH_SUFFIXES:
            file = read_torch_file(path)
            return TensorIndex(path, "pytorch", layers=_torch_layers(file), unread=file.unread)
        if not path.exists():
            return TensorIndex(path, "none", f"{shown}: there is no such file.")
    except BitbybitError as error:
        return TensorIndex(path, "none", str(error))
    except OSError as error:
        return TensorIndex(path, "none", f"{shown}: cannot be read: {error.strerror}.")
    return TensorIndex(
        path, "none", f"{shown}: the extension is unknown (expected .onnx, .pt or .pth)."
    )


def _onnx_layers(path: Path) -> dict[str, LayerEntry]:
    layers: dict[str, LayerEntry] = {}
    model = load(path)
    for layer in model.layers:
        tensors = _island_tensors(layer) if isinstance(layer, FloatIsland) else _constants(layer)
        params = model.edges[layer.name].params
        if tensors and params is not None and not params.per_channel:
            zero = int(params.zero_point)
            layers[layer.name] = LayerEntry(layer.name, tensors, float(params.scale), zero)
        elif tensors:
            layers[layer.name] = LayerEntry(layer.name, tensors)
    return layers


def _constants(layer: Layer) -> dict[str, TensorEntry]:
    found = {role: constant(layer, role) for role in ("weight", "bias")}
    return {
        role: TensorEntry(tensor.name, tensor.values)
        if tensor.params is None
        else _quantized(
            tensor.name,
            tensor.values,
            tensor.params.scale,
            tensor.params.zero_point,
            tensor.params.axis,
        )
        for role, tensor in found.items()
        if tensor is not None
    }


def _island_tensors(layer: FloatIsland) -> dict[str, TensorEntry]:
    return {name: TensorEntry(name, values) for name, values in island_tensors(layer).items()}


def _quantized(
    name: str, codes: AnyArray, scale: NDArray[Any], zero_point: NDArray[Any], axis: int | None
) -> TensorEntry:
    zeros = zero_point.reshape(-1).astype(np.int64)
    return TensorEntry(name, codes, scale.reshape(-1), zeros, axis)


def _torch_layers(file: TorchFile) -> dict[str, LayerEntry]:
    groups: dict[str, dict[str, TorchTensor]] = {}
    for name, tensor in file.tensors.items():
        layer, _, role = name.rpartition(".")
        groups.setdefault(layer, {})[role] = tensor
    return {layer: _torch_layer(file, layer, tensors) for layer, tensors in groups.items()}


def _torch_layer(file: TorchFile, layer: str, tensors: dict[str, TorchTensor]) -> LayerEntry:
    entries = {
        role: TensorEntry(_join(layer, role), t.values)
        if t.scale is None or t.zero_point is None
        else _quantized(_join(layer, role), t.values, t.scale, t.zero_point, t.axis)
        for role, t in tensors.items()
    }
    numbers = {
        name: found
        for name in ("scale", "zero_point")
        if (found := _number(file, tensors, layer, name)) is not None
    }
    wrong = [name for name, value in numbers.items() if not _fits(name, value)]
    scale, zero = (None if n in wrong else numbers.get(n) for n in ("scale", "zero_point"))
    return LayerEntry(
        layer,
        entries,
        None if scale is None else float(scale),
        None if zero is None else int(zero),
        f"its {' and '.join(wrong)} cannot be written as a number" if wrong else "",
    )


def _number(
    file: TorchFile, tensors: dict[str, TorchTensor], layer: str, name: str
) -> float | int | None:
    found = file.numbers.get(_join(layer, name))
    tensor = tensors.get(name)
    if found is None and tensor is not None and tensor.values.size == 1:
        found = tensor.values.reshape(()).item()
    return found if isinstance(found, (int, float)) else None


def _fits(name: str, value: float) -> bool:
    """Whether a number of a pickle, which may be any, is finite, and a zero point whole."""
    try:
        return math.isfinite(value) and (name == "scale" or float(value).is_integer())
    except OverflowError:
        return False


def _join(layer: str, role: str) -> str:
    return f"{layer}.{role}" if layer else role


TENSORS: tuple[Column[TensorEntry], ...] = (
    Column("name", "tensor", at("name")),
    Column("dtype", "dtype", lambda entry: str(entry.stored.dtype)),
    Column("shape", "shape", at("shape")),
    Column("is_quantized", "[Q]", at("is_quantized")),
    Column("axis", "axis", at("axis")),
    Column("zero_point", "zero point", at("zero_point")),
    Column("zero_point_values", "zero points", at("zero_point_values")),
)


def index_record(index: TensorIndex) -> dict[str, Any]:
    """Return the index ready for JSON: of the values the statistics, of each rest everything."""
    return {
        "path": index.path.name,
        "format": index.format,
        "is_quantized": index.is_quantized,
        "layers": {name: _layer_record(layer) for name, layer in index.layers.items()},
        "unread": index.unread,
    }


def _layer_record(layer: LayerEntry) -> dict[str, Any]:
    return {
        "is_quantized": layer.is_quantized,
        "output_scale": layer.output_scale,
        "output_zero_point": layer.output_zero_point,
        **({"reason": layer.reason} if layer.reason else {}),
        "tensors": {
            role: as_json(TENSORS, tensor)
            | _scales_record(tensor)
            | as_json(STATISTICS, statistics(tensor.values))
            for role, tensor in layer.tensors.items()
        },
    }


def _scales_record(tensor: TensorEntry) -> dict[str, Any]:
    """Return the scales in full: those of torch have float64, and may be anything."""
    if tensor.scale_values is None:
        return {"scale": None, "scale_values": None}
    scales = [s if math.isfinite(s) else None for s in tensor.scale_values.tolist()]
    record = {"scale": scales[0] if tensor.axis is None else None, "scale_values": scales}
    return record | ({"reason": "a scale is NaN or infinite"} if None in scales else {})
