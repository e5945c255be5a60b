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

from bitbybit.errors import BitbybitError
from bitbybit.inspection.weights import constant
from bitbybit.model.island_tensors import island_tensors
from bitbybit.model.names import printable
from bitbybit.model.reader import load
from bitbybit.model.torch_file import TorchFile, TorchTensor, read_torch_file
from bitbybit.model.types import AnyArray, FloatIsland, Layer

TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True, eq=False)
class TensorEntry:
    """One tensor.

    Attributes
    ----------
    name : its full name in the file
    shape, is_quantized : of the stored tensor
    int_values : the codes; None for a float tensor
    scale, zero_point : the one scale and zero point of a per-tensor quantized tensor; None per
        channel and for a float tensor
    scale_values, zero_point_values : one value per channel, or one value; None for a float
        tensor.  Scales are float32 from ONNX and float64 from torch
    axis : the channel axis; None per tensor
    """

    name: str
    shape: tuple[int, ...]
    is_quantized: bool
    stored: AnyArray = field(repr=False)
    int_values: AnyArray | None = None
    scale: float | None = None
    zero_point: int | None = None
    scale_values: NDArray[Any] | None = None
    zero_point_values: NDArray[Any] | None = None
    axis: int | None = None

    @property
    def values(self) -> NDArray[Any]:
        """The real values: float32, each channel dequantized with its own scale.

        Computed at each access, so that an index of a large file stays small.
        """
        if self.scale_values is None or self.zero_point_values is None:
            return self.stored
        shape = [1] * self.stored.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        steps = self.stored.astype(np.int64) - self.zero_point_values.reshape(shape)
        scales = self.scale_values.astype(np.float32).reshape(shape)
        result: NDArray[Any] = steps.astype(np.float32) * scales
        return result


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
    suffix, shown = path.suffix.lower(), printable(str(path))
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
        role: _entry(
            tensor.name,
            tensor.values,
            None if tensor.params is None else tensor.params.scale,
            None if tensor.params is None else tensor.params.zero_point,
            None if tensor.params is None else tensor.params.axis,
        )
        for role, tensor in found.items()
        if tensor is not None
    }


def _island_tensors(layer: FloatIsland) -> dict[str, TensorEntry]:
    found = island_tensors(layer)
    return {name: _entry(name, values, None, None, None) for name, values in found.items()}


def _torch_layers(file: TorchFile) -> dict[str, LayerEntry]:
    groups: dict[str, dict[str, TorchTensor]] = {}
    for name, tensor in file.tensors.items():
        layer, _, role = name.rpartition(".")
        groups.setdefault(layer, {})[role] = tensor
    layers = {}
    for layer, tensors in groups.items():
        scale = _number(file, tensors, layer, "scale")
        zero = _number(file, tensors, layer, "zero_point")
        entries = {
            role: _entry(_join(layer, role), t.values, t.scale, t.zero_point, t.axis)
            for role, t in tensors.items()
        }
        whole = zero is not None and float(zero).is_integer()
        layers[layer] = LayerEntry(
            layer,
            entries,
            None if scale is None else float(scale),
            int(zero) if zero is not None and whole else None,
        )
    return layers


def _number(
    file: TorchFile, tensors: dict[str, TorchTensor], layer: str, name: str
) -> float | int | None:
    found = file.numbers.get(_join(layer, name))
    tensor = tensors.get(name)
    if found is None and tensor is not None and tensor.values.size == 1:
        found = tensor.values.reshape(()).item()
    return found if isinstance(found, (int, float)) and math.isfinite(found) else None


def _join(layer: str, role: str) -> str:
    return f"{layer}.{role}" if layer else role


def _entry(
    name: str,
    stored: AnyArray,
    scale: NDArray[Any] | None,
    zero_point: NDArray[Any] | None,
    axis: int | None,
) -> TensorEntry:
    shape = tuple(stored.shape)
    if scale is None or zero_point is None:
        return TensorEntry(name, shape, is_quantized=False, stored=stored)
    one = axis is None
    return TensorEntry(
        name,
        shape,
        is_quantized=True,
        stored=stored,
        int_values=stored,
        scale=float(scale) if one else None,
        zero_point=int(zero_point) if one else None,
        scale_values=scale.reshape(-1),
        zero_point_values=zero_point.reshape(-1).astype(np.int64),
        axis=axis,
    )
