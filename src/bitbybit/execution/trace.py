"""Trace: every integer of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.layers import accumulate
from bitbybit.model.types import QuantizedModel

Value = NDArray[Any]
Source = Value | Callable[[], Value]


class Trace(Mapping[str, Value]):
    """The values of all edges for one batch, by canonical name, in graph order.

    ``trace["stack1.add"]`` is an array ``[N, C, H, W]`` of the edge's own dtype, in ONNX layout
    and read-only; the first access makes it, the next ones return the same array.

    Parameters
    ----------
    model
        The network that was traced.
    sources
        Canonical edge name → the values, or a function that makes them; kept, not copied.

    Attributes
    ----------
    model : the network that was traced
    """

    def __init__(self, model: QuantizedModel, sources: Mapping[str, Source]) -> None:
        self.model = model
        self._sources = sources
        self._made: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            source = self._sources[name]
            values = source() if callable(source) else source
            if values.flags.writeable:
                values = values.view()
                values.flags.writeable = False
            self._made[name] = values
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __repr__(self) -> str:
        return f"<Trace of {self.model.path.name}: {len(self)} edges>"

    def accumulator(self, layer_name: str) -> NDArray[np.int32]:
        """Return a layer's int32 accumulators, bias included, from the trace's own integers.

        Parameters
        ----------
        layer_name
            A convolution, dense or global pooling layer.

        Returns
        -------
        int32, shape of the layer's output

        Raises
        ------
        BitbybitError
            No layer has this name.
        UnsupportedError
            The layer has no accumulator.
        """
        layer = self.model.layer(layer_name)
        return accumulate(self.model, layer, [self[name] for name in layer.inputs])
