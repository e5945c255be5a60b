"""``.pt`` files without torch: tensors and plain containers, and nothing is executed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bitbybit.errors import ModelError
from bitbybit.model.names import printable
from bitbybit.model.torchfile.archive import Archive
from bitbybit.model.torchfile.contents import Contents, state_dict_of
from bitbybit.model.torchfile.machine import Machine, RefusedError
from bitbybit.model.torchfile.tensors import Tensors
from bitbybit.model.torchfile.values import Stub, TorchTensor

__all__ = ["RefusedError", "TorchFile", "TorchTensor", "read_torch_file"]


@dataclass(frozen=True)
class TorchFile:
    """What a ``.pt`` file holds.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    kind : ``"state_dict"``, ``"module"`` (a pickled ``nn.Module``) or ``"torchscript"``
    tensors : dotted name → tensor, in the order of the file
    numbers : dotted name → plain number, for example an activation's ``scale``
    classes : dotted name of each module → full name of its class
    """

    path: Path
    sha256: str
    kind: str
    tensors: dict[str, TorchTensor]
    numbers: dict[str, float | int]
    classes: dict[str, str]


def read_torch_file(path: str | os.PathLike[str]) -> TorchFile:
    """Read a ``.pt`` or ``.pth`` file: a state dict, a pickled module or a TorchScript archive.

    Nothing in the file is executed and torch is not needed: a pickle machine of our own builds
    plain containers and tensors, records other objects as inert stubs, and refuses every call
    that is neither.

    Raises
    ------
    ModelError
        No such file, not a torch file, damaged, a declared size that does not fit its bytes,
        no tensor inside.
    RefusedError
        A file that asks for any other call; the sentence names it.
    UnsupportedError
        The formats before torch 1.6, compressed records, element types that NumPy lacks.
    """
    path = Path(path)
    archive = Archive(path)
    try:
        root = _load(archive, "data")
        script = "constants.pkl" in archive.names
        kind = "torchscript" if script else "module" if isinstance(root, Stub) else "state_dict"
        contents = Contents()
        contents.add(state_dict_of(root))
        if script:
            contents.add(_load(archive, "constants"), "constants")
    finally:
        archive.close()
    if not contents.tensors:
        raise ModelError("the file holds no tensor", where=printable(str(path)))
    return TorchFile(
        path, archive.sha256, kind, contents.tensors, contents.numbers, contents.classes
    )


def _load(archive: Archive, name: str) -> object:
    tensors = Tensors(archive, f"{name}/")
    machine = Machine(tensors.constructors(), tensors.storage, tensors.where)
    return machine.load(archive.read(f"{name}.pkl"))
