"""Trace: every integer of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import Interleaved
from bitbybit.execution.layers import accumulate
from bitbybit.model.types import QuantizedModel

Value = NDArray[Any]
Source = Value | Interleaved
"""What an edge may come as: an array in ONNX layout, or as the fast form keeps it."""


class Trace(Mapping[str, Value]):
    """The values of all edges for one batch, by canonical name, in graph order.

    ``trace["stack1.add"]`` is an array ``[N, C, H, W]`` of the edge's own dtype, in ONNX layout
    and read-only; the first access makes it, the next ones return the same array.

    Parameters
    ----------
    model
        The network that was traced.
    sources
        Canonical edge name → its values, an array or :class:`~bitbybit.arithmetic.Interleaved`.

    Attributes
    ----------
    model : the network that was traced
    """

    def __init__(self, model: QuantizedModel, sources: Mapping[str, Source]) -> None:
        self.model = model
        self._sources = {name: _read_only(source) for name, source in sources.items()}

    def __getitem__(self, name: str) -> Value:
        source = self._sources[name]
        return source.codes if isinstance(source, Interleaved) else source

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


def _read_only(source: Source) -> Source:
    if isinstance(source, Interleaved):
        return source
    view = source.view()
    view.flags.writeable = False
    return view
