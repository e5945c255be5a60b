"""What a ``.pt`` file may be made of: names, inert objects and tensors. None of them acts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError
from bitbybit.model.types import AnyArray

STEPS = 1_000_000
"""Opcodes, copied items and looked at values that a file may ask for: seconds of work."""
ELEMENTS = 1 << 24
"""Elements of tensors and bytes of copies, beyond eight for each byte of the file."""
RESAVE = "Load it in a trusted torch and save a plain state dict: torch.save(state_dict, path)."


def damaged(what: str, where: str, *, expected: object = "", found: object = "") -> ModelError:
    """Return the error for a file that contradicts itself."""
    return ModelError(
        what,
        where=where,
        expected=expected,
        found=found,
        next_step="Copy or download the file again.",
    )


@dataclass
class Budget:
    """What reading one file may still take; a small file that asks for more is a bomb.

    Attributes
    ----------
    where : the file, for the message
    steps : opcodes, copied items and looked at values
    elements : elements of all tensors together, of which many may share one storage, and
        bytes of what is copied
    """

    where: str
    steps: int
    elements: int

    def step(self, count: int = 1) -> None:
        """Take steps; raises ModelError when none are left."""
        self.steps -= count
        if self.steps < 0:
            raise self._exhausted("values")

    def hold(self, count: int) -> None:
        """Take a tensor's elements or a copy's bytes; raises ModelError when none are left."""
        self.elements -= count
        if self.elements < 0:
            raise self._exhausted("elements")

    def _exhausted(self, what: str) -> ModelError:
        return ModelError(
            f"the file unfolds to more {what} than its size allows",
            where=self.where,
            next_step=RESAVE,
        )


@dataclass(frozen=True)
class Name:
    """A reference to a class or function by name. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Stub:
    """An object of a class that is not built: what the file records of it, and nothing else.

    Attributes
    ----------
    name : full name of its class
    args : what its constructor would have been given
    state : what its ``__setstate__`` would have been given
    items : keys and values, or values, that the file puts into it
    """

    name: str
    args: tuple[object, ...] = ()
    state: object = None
    items: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class Storage:
    """A typed run of bytes in the archive: ``numel`` values of ``dtype`` in record ``key``."""

    key: str
    dtype: str
    numel: int


@dataclass(frozen=True)
class Unread:
    """A storage or tensor of a kind that is not read, and why: the rest of the file is."""

    reason: str


@dataclass(frozen=True, eq=False)
class TorchTensor:
    """A tensor.

    Attributes
    ----------
    values : the codes of a quantized tensor (int8, uint8 or int32), else the values;
        bfloat16 is widened to float32; read-only
    scale : float64, ``()`` per tensor or ``[C]`` per channel; None if not quantized
    zero_point : int64, same shape; None if not quantized
    axis : the channel axis; None per tensor
    """

    values: AnyArray
    scale: NDArray[np.float64] | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether the values are codes."""
        return self.scale is not None
