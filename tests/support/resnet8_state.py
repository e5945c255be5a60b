"""A random state dict of ResNet8, for tests that need no trained weights and no PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workshop.layers import state_shapes


def random_state(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return float32 weights of plausible size; variances are positive."""
    generator = np.random.default_rng(seed)
    state: dict[str, NDArray[Any]] = {}
    for name, shape in state_shapes().items():
        fan_in = max(1, int(np.prod(shape[1:])))
        values = generator.normal(0, 1 / np.sqrt(fan_in), shape)
        if name.endswith("running_var"):
            values = values**2 + 0.5
        state[name] = values.astype(np.float32)
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = np.array(7)
    return state
