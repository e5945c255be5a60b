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
from bitbybit.inspection.columns import Column, as_json
from bitbybit.inspection.inspected import Inspection
from bitbybit.inspection.report import STATISTICS
from bitbybit.inspection.statistics import statistics
from bitbybit.model.costs import island_tensors
from bitbybit.model.load import load
from bitbybit.model.torch_file import TorchFile, TorchTensor, read_torch_file
from bitbybit.model.types import AnyArray, FloatIsland, QuantParams
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
        found: float | None = self._one(self.scale_values)
        return found

    @property
    def zero_point(self) -> int | None:
        """The one zero point, likewise."""
        found: int | None = self._one(self.zero_point_values)
        return found

    def _one(self, values: NDArray[Any] | None) -> Any:
        return None if values is None or self.axis is not None else values[0].item()

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

    ``output_scale`` and ``output_zero_point`` are those of its output, where the file has them.
    """

    name: str
    tensors: dict[str, TensorEntry]
    output_scale: float | None = None
    output_zero_point: int | None = None

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
        folder = path.is_dir()
    except BitbybitError as error:
        return TensorIndex(path, "none", str(error))
    except OSError as error:
        return TensorIndex(path, "none", f"{shown}: cannot be read: {error.strerror}.")
    what = "this is a folder" if folder else "the extension is unknown"
    return TensorIndex(path, "none", f"{shown}: {what} (expected .onnx, .pt or .pth).")


def _onnx_layers(path: Path) -> dict[str, LayerEntry]:
    layers = {}
    for entry in Inspection(load(path)).layers:
        name, layer, params = entry.name, entry.layer, entry.output.params
        if isinstance(layer, FloatIsland):
            tensors = {n: TensorEntry(n, values) for n, values in island_tensors(layer).items()}
        else:
            found = {role: report.tensor for role, report in entry.tensors.items()}
            tensors = {r: _entry(t.name, t.values, t.params) for r, t in found.items()}
        if not tensors:
            continue
        layers[name] = LayerEntry(name, tensors)
        if params is not None and not params.per_channel:
            scale, zero = float(params.scale), int(params.zero_point)
            layers[name] = LayerEntry(name, tensors, scale, zero)
    return layers


def _entry(name: str, values: AnyArray, of: QuantParams | TorchTensor | None) -> TensorEntry:
    if of is None or of.scale is None or of.zero_point is None:
        return TensorEntry(name, values)
    zeros = of.zero_point.reshape(-1).astype(np.int64)
    return TensorEntry(name, values, of.scale.reshape(-1), zeros, of.axis)


def _torch_layers(file: TorchFile) -> dict[str, LayerEntry]:
    groups: dict[str, dict[str, TorchTensor]] = {}
    for name, tensor in file.tensors.items():
        layer, _, role = name.rpartition(".")
        groups.setdefault(layer, {})[role] = tensor
    return {layer: _torch_layer(file, layer, tensors) for layer, tensors in groups.items()}


def _torch_layer(file: TorchFile, layer: str, tensors: dict[str, TorchTensor]) -> LayerEntry:
    scale, zero = (_number(file, tensors, layer, name) for name in ("scale", "zero_point"))
    return LayerEntry(
        layer,
        {role: _entry(_join(layer, role), t.values, t) for role, t in tensors.items()},
        None if scale is None else float(scale),
        None if zero is None else int(zero),
    )


def _number(
    file: TorchFile, tensors: dict[str, TorchTensor], layer: str, name: str
) -> float | int | None:
    found = file.numbers.get(_join(layer, name))
    tensor = tensors.get(name)
    if found is None and tensor is not None and tensor.values.size == 1:
        found = tensor.values.reshape(()).item()
    if not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return found if name == "scale" or float(found).is_integer() else None


def _join(layer: str, role: str) -> str:
    return f"{layer}.{role}" if layer else role


TENSORS: tuple[Column[TensorEntry], ...] = (
    Column("name", "tensor"),
    Column("dtype", "dtype", lambda entry: str(entry.stored.dtype)),
    Column("shape", "shape"),
    Column("is_quantized", "[Q]"),
    Column("axis", "axis"),
    Column("zero_point", "zero point"),
    Column("zero_point_values", "zero points"),
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
