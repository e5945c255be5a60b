"""``.pt`` files without torch: tensors and plain containers, and nothing is executed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bitbybit.errors import ModelError
from bitbybit.model.torch_file.archive import Archive
from bitbybit.model.torch_file.contents import Contents, state_dict_of
from bitbybit.model.torch_file.pickle_machine import Machine, RefusedError
from bitbybit.model.torch_file.rebuild import Rebuild
from bitbybit.model.torch_file.values import ELEMENTS, RESAVE, STEPS, Budget, Stub, TorchTensor

__all__ = ["RefusedError", "TorchFile", "TorchTensor", "read_torch_file"]


@dataclass(frozen=True)
class TorchFile:
    """What a ``.pt`` file holds.

    Attributes
    ----------
    path, sha256 : the file and the hash of its bytes
    kind : ``"state_dict"``, ``"module"`` (a pickled ``nn.Module``) or ``"torchscript"``
    tensors : dotted name → tensor, in the order of the file
    numbers : dotted name → plain finite number, for example an activation's ``scale``
    classes : dotted name of each module → full name of its class
    unread : dotted name of a tensor or number that is not read → why
    """

    path: Path
    sha256: str
    kind: str
    tensors: dict[str, TorchTensor]
    numbers: dict[str, float | int]
    classes: dict[str, str]
    unread: dict[str, str]


def read_torch_file(path: str | os.PathLike[str]) -> TorchFile:
    """Read a ``.pt`` or ``.pth`` file: a state dict, a pickled module or a TorchScript archive.

    Nothing in the file is executed and torch is not needed: a pickle machine of our own builds
    plain containers and tensors, records other objects as inert stubs, and refuses every call
    that is neither. A tensor of a kind that NumPy lacks (complex numbers as torch stores them,
    float8, sparse) is listed as unread.

    Parameters
    ----------
    path
        The file.

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
        budget = Budget(archive.shown, STEPS, ELEMENTS + 8 * archive.size)
        root = _load(archive, "data", budget)
        script = "constants.pkl" in archive.names
        kind = "torchscript" if script else "module" if isinstance(root, Stub) else "state_dict"
        contents = Contents(budget)
        contents.add(state_dict_of(root))
        if script:
            contents.add(_load(archive, "constants", budget), "constants")
        sha256 = archive.sha256()
    finally:
        archive.close()
    if not contents.tensors and not contents.unread:
        raise ModelError("the file holds no tensor", where=archive.shown, next_step=RESAVE)
    return TorchFile(
        path=path,
        sha256=sha256,
        kind=kind,
        tensors=contents.tensors,
        numbers=contents.numbers,
        classes=contents.classes,
        unread=contents.unread,
    )


def _load(archive: Archive, name: str, budget: Budget) -> object:
    rebuild = Rebuild(archive, f"{name}/", budget)
    machine = Machine(rebuild.constructors(), rebuild.storage, budget, rebuild.where)
    return machine.load(archive.read(f"{name}.pkl"))
