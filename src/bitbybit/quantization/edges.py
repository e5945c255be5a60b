"""Which edges of a float network get codes, and which share a scale."""

from __future__ import annotations

from functools import cached_property

from bitbybit.model.types import FloatIsland, QuantizedModel, Reshape
from bitbybit.quantization.islands import moves_codes
from bitbybit.quantization.scheme import Scheme


class CodeEdges:
    """The plan of a quantization.

    What integer layers read and write gets codes. Reshapes, and operators that only pick
    elements, leave codes and scale as they are. A float operator gives codes only where an
    integer layer reads its result.

    Parameters
    ----------
    model
        A float network.

    Attributes
    ----------
    origin : edge with codes → the edge whose scale it has, itself or one before it; in graph order
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        integer = [layer for layer in model.layers if not isinstance(layer, FloatIsland)]
        wanted = {name for layer in integer for name in layer.inputs}
        self.origin = {name: name for name in model.inputs if name in wanted}
        for layer in model.layers:
            source = self.origin.get(layer.inputs[0]) if layer.inputs else None
            moves = isinstance(layer, FloatIsland) and moves_codes(layer)
            if source is not None and (moves or isinstance(layer, Reshape)):
                self.origin[layer.name] = source
            elif not isinstance(layer, FloatIsland) or layer.name in wanted:
                self.origin[layer.name] = layer.name

    @cached_property
    def ends(self) -> frozenset[str]:
        """Origins of the codes at the network's inputs and outputs."""
        names = (*self.model.inputs, *self.model.outputs)
        return frozenset(self.origin[name] for name in names if name in self.origin)

    @cached_property
    def inner(self) -> tuple[str, ...]:
        """Edges with a scale of their own, graph inputs left out, in graph order."""
        return tuple(
            name
            for name, origin in self.origin.items()
            if name == origin and name not in self.model.inputs
        )

    def bits(self, scheme: Scheme, edge: str) -> int:
        """Return the width of an edge's codes: graph inputs and outputs keep 8 bits."""
        return 8 if self.origin[edge] in self.ends else scheme.activation_bits
