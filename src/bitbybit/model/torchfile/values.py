"""What a ``.pt`` file may be made of: names, inert objects and tensors.  None of them acts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import AnyArray


@dataclass(frozen=True)
class Name:
    """A reference to a class or function by name.  It is never looked up."""

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
