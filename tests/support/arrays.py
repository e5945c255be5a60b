"""Short constructors of typed arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def f32(values: Any) -> NDArray[np.float32]:
    """Return a float32 array."""
    return np.array(values, np.float32)


def i8(values: Any) -> NDArray[np.int8]:
    """Return an int8 array."""
    return np.array(values, np.int8)


def u8(values: Any) -> NDArray[np.uint8]:
    """Return a uint8 array."""
    return np.array(values, np.uint8)
