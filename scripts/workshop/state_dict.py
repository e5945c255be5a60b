"""State dicts, the form in which the workshop keeps weights."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import NDArray

from bitbybit.errors import ModelError
from bitbybit.model.torch_file import read_torch_file
from bitbybit.text import shortened


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
    ModelError, UnsupportedError
        As :func:`read_torch_file`; or if the file holds anything but one mapping from names to
        tensors that are not quantized.
    """
    file = read_torch_file(path)
    quantized = [name for name, tensor in file.tensors.items() if tensor.is_quantized]
    if file.kind != "state_dict" or file.numbers or quantized:
        raise ModelError(
            "not a PyTorch state dict",
            where=shortened(os.fspath(path)),
            expected="a .pt file of named tensors, as torch.save(model.state_dict(), path) "
            "writes it",
            found="quantized tensors" if quantized else f"a {file.kind} with other values",
            next_step="Save the weights with torch.save(model.state_dict(), path).",
        )
    return {name: tensor.values for name, tensor in file.tensors.items()}
