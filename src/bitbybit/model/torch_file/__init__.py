"""``.pt`` files without torch: tensors and plain containers, and nothing is executed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.model.torch_file.archive import (
    ELEMENTS,
    RESAVE,
    STEPS,
    Archive,
    Budget,
    Stub,
    TorchTensor,
    Unread,
)
from bitbybit.model.torch_file.pickle_machine import RefusedError
from bitbybit.model.torch_file.rebuild import Rebuild

__all__ = ["RefusedError", "TorchFile", "TorchTensor", "read_torch_file"]

_STATE_DICTS = ("state_dict", "model_state_dict", "model")
_LAYERS_OF_NAMES = ("_modules", "_parameters", "_buffers")
_DEEPEST = 200


@dataclass(frozen=True)
class TorchFile:
    """What a ``.pt`` file holds.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    kind : ``"state_dict"``, ``"module"`` (a pickled ``nn.Module``) or ``"torchscript"``
    tensors : dotted name → parameter, buffer or constant, in the order of the file; packed
        parameters as ``weight`` and ``bias``
    numbers : dotted name → plain finite number, for example an activation's ``scale``
    classes : dotted name of each module → full name of its class
    unread : dotted name of a tensor or number that is not read → why
    """

    path: Path
    sha256: str
    kind: str
    tensors: dict[str, TorchTensor] = field(default_factory=dict)
    numbers: dict[str, float | int] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


class _Contents:
    """Fills a :class:`TorchFile`; ``budget`` is what looking for its contents may take."""

    def __init__(self, file: TorchFile, budget: Budget) -> None:
        self.file = file
        self.budget = budget

    def add(self, root: object, prefix: str = "") -> None:
        """Collect everything below ``root``; an object that is met twice counts once."""
        seen: set[int] = set()
        todo: list[tuple[str, object, int]] = [(prefix, root, 0)]
        while todo:
            name, value, depth = todo.pop()
            if isinstance(value, (dict, list, tuple, Stub)):
                if id(value) in seen or depth > _DEEPEST:
                    continue
                seen.add(id(value))
                if isinstance(value, Stub):
                    self.file.classes.setdefault(_unpacked(name), value.name)
                children = [(n, v, depth + 1) for n, v in self._children(name, value)]
                self.budget.take(steps=len(children))
                todo.extend(reversed(children))
            else:
                self._add_leaf(name, value)

    def _add_leaf(self, name: str, value: object) -> None:
        if isinstance(value, TorchTensor):
            self.file.tensors.setdefault(_unpacked(name) or "tensor", value)
        elif isinstance(value, Unread):
            self.file.unread.setdefault(_unpacked(name) or "tensor", value.reason)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) < 2**63 and math.isfinite(value):
                self.file.numbers.setdefault(name, value)
            else:
                self.file.unread.setdefault(name, "the number is not finite, or beyond 64 bits")

    def _children(self, name: str, value: object) -> Iterator[tuple[str, object]]:
        if isinstance(value, Stub):
            yield from self._object(name, value)
        elif isinstance(value, dict):
            for key, child in value.items():
                if isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**63):
                    yield _join(name, str(key)), child
        elif isinstance(value, (list, tuple)):
            if any(t.is_quantized for t in self._flat_tensors(value)):
                yield from self._packed(name, value)
            else:
                for i, child in enumerate(value):
                    yield _join(name, str(i)), child

    def _object(self, name: str, stub: Stub) -> Iterator[tuple[str, object]]:
        state = stub.state
        if isinstance(state, (tuple, list)):
            yield from self._packed(name, state)
        elif isinstance(state, dict):
            for key, child in state.items():
                if key in _LAYERS_OF_NAMES and isinstance(child, dict):
                    for inner, grandchild in child.items():
                        yield _join(name, str(inner)), grandchild
                elif isinstance(key, str) and not key.endswith("_hooks") and key != "training":
                    yield _join(name, key), child
        else:
            for i, child in enumerate((*stub.args, *stub.items)):
                yield _join(name, str(i)), child

    def _packed(
        self, name: str, state: list[object] | tuple[object, ...]
    ) -> Iterator[tuple[str, object]]:
        """Name the parts of packed parameters.

        Convolutions come as ``(2, [geometry, weight], [bias])``, ``(3, geometry, [None, weight,
        bias])`` or as the state of the module; linear layers as ``(weight, bias)``. In all of
        them the geometry is an int16 vector or a list, the weight the first tensor that is left
        and the bias the second; a float followed by an integer is the output's scale.
        """
        tensors = [
            t for t in self._flat_tensors(state) if t.is_quantized or t.values.dtype != np.int16
        ]
        for part, tensor in zip(("weight", "bias"), tensors, strict=False):
            yield _join(name, part), tensor
        for first, second in pairwise(state):
            if type(first) is float and type(second) is int:
                yield _join(name, "scale"), first
                yield _join(name, "zero_point"), second
                return

    def _flat_tensors(self, value: object, depth: int = 0) -> Iterator[TorchTensor]:
        self.budget.take(steps=1)
        if isinstance(value, TorchTensor):
            yield value
        elif isinstance(value, (list, tuple)) and depth < 3:
            for item in value:
                yield from self._flat_tensors(item, depth + 1)


def state_dict_of(root: object) -> object:
    """Return the state dict inside a checkpoint dictionary, or ``root`` if it is none."""
    if isinstance(root, dict):
        for key in _STATE_DICTS:
            if isinstance(root.get(key), (dict, Stub)):
                return root[key]
    return root


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _unpacked(name: str) -> str:
    """Drop the steps called ``_packed_params``: they stand between a layer and its weight."""
    return ".".join(part for part in name.split(".") if part != "_packed_params")


def read_torch_file(path: str | os.PathLike[str], *, budget_factor: int = 1) -> TorchFile:
    """Read a ``.pt`` or ``.pth`` file: a state dict, a pickled module or a TorchScript archive.

    Nothing in the file is executed and torch is not needed: a pickle machine of our own builds
    plain containers and tensors, records other objects as inert stubs, and refuses every call
    that is neither. A tensor of a kind that NumPy lacks (complex numbers as torch stores them,
    float8, sparse) is listed as unread.

    Parameters
    ----------
    path
        The file.
    budget_factor
        How many times the usual steps and elements reading may take, for a file that you trust.

    Returns
    -------
    TorchFile
        Read-only arrays in the layout of torch; the codes of quantized tensors with their
        scales and zero points.

    Raises
    ------
    ModelError
        No such file, not a torch file, damaged, a declared size that does not fit its bytes, a
        structure that unfolds to far more than the file's size, no tensor inside.
    RefusedError
        A file that asks for any other call; the sentence names it.
    UnsupportedError
        The formats before torch 1.6, compressed records.
    """
    path = Path(path)
    archive = Archive(path)
    try:
        elements = ELEMENTS + 8 * archive.size
        budget = Budget(archive.shown, budget_factor * STEPS, budget_factor * elements)
        root = _load(archive, "data", budget)
        script = "constants.pkl" in archive.names
        kind = "torchscript" if script else "module" if isinstance(root, Stub) else "state_dict"
        file = TorchFile(path, archive.sha256(), kind)
        contents = _Contents(file, budget)
        contents.add(state_dict_of(root))
        if script:
            contents.add(_load(archive, "constants", budget), "constants")
    finally:
        archive.close()
    if not file.tensors and not file.unread:
        raise ModelError("the file holds no tensor", where=archive.shown, next_step=RESAVE)
    return file


def _load(archive: Archive, name: str, budget: Budget) -> object:
    return Rebuild(archive, name, budget).load(archive.read(f"{name}.pkl"))
