"""A histogram that grows with its data and does not depend on how they were cut into batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError

HALF = 2**12
"""Bins on each side of 0. At least half of one side is inside the data's range."""

_SMALLEST = -160  # below the width that float32's smallest subnormal needs


class Histogram:
    """Counts of float32 values in bins ``[k*w, (k+1)*w)``, ``w`` a power of two.

    When a value lies beyond the last bin, neighbouring bins are added in pairs and ``w``
    doubles. That gives exactly the histogram that the doubled width would have counted, so the
    final counts are a function of the values alone.

    Attributes
    ----------
    counts : int64 ``[2 * HALF]``; bin ``i`` holds the values of ``[i - HALF, i - HALF + 1) * w``,
        exact zeros left out
    zeros : number of exact zeros, which a ReLU makes in great number and every scale represents
    exponent : ``w = 2**exponent``
    minimum, maximum : of all values; +inf and -inf before the first
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF, np.int64)
        self.zeros = 0
        self.exponent = _SMALLEST
        self.minimum = np.inf
        self.maximum = -np.inf

    def add(self, values: NDArray[Any]) -> None:
        """Count ``values``, of any shape.

        Raises
        ------
        DataError
            A value is NaN or infinite.
        """
        flat = values.reshape(-1).astype(np.float64)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite(low + high):
            raise DataError(
                "an activation is not a finite number",
                found=low + high,
                where="calibration",
                next_step="Check the calibration inputs and the weights for NaN and infinity.",
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._reach(max(-low, high))
        others = flat[flat != 0]
        self.zeros += flat.size - others.size
        index = np.floor(others * 2.0**-self.exponent).astype(np.int64) + HALF
        self.counts += np.bincount(index, minlength=2 * HALF)

    def _reach(self, largest: float) -> None:
        """Double ``w`` until ``largest < HALF * w``."""
        needed = int(np.frexp(largest)[1]) - int(np.log2(HALF)) if largest else _SMALLEST
        if not self.counts.any():
            self.exponent = max(self.exponent, needed)
        while self.exponent < needed:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(2 * HALF, np.int64)
            self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
            self.exponent += 1

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return centres and counts of the bins that are not empty, ascending.

        A centre outside the data's range is moved to its end. Exact zeros are not among them.
        """
        index = np.flatnonzero(self.counts)
        centres = (index - HALF + 0.5) * 2.0**self.exponent
        return np.clip(centres, self.minimum, self.maximum), self.counts[index]
