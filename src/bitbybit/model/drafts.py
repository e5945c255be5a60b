"""What recognition hands to assembly: layers without names and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitbybit.model.graph import Node
from bitbybit.model.types import Layer, QuantizedTensor, QuantParams


@dataclass(frozen=True)
class Value:
    """What a tensor of the file stands for.

    ``codes``: the integers of edge ``edge``; ``real``: their dequantized view;
    ``float``: a float edge; ``pending``: inside nodes that became no layer.
    """

    kind: Literal["codes", "real", "float", "pending"]
    edge: str


@dataclass(eq=False)
class Draft:
    """One layer before naming.

    Attributes
    ----------
    layer : the type of layer
    main : the node that gives it its name and its place in graph order
    body : the nodes that compute it, input and constant DequantizeLinear nodes left out
    inputs, output : tensors of the file that stand for its edges
    params : parameters of its output edge, None for float
    weight, bias, relu : as in :class:`Conv`
    reason : for islands, why
    on_codes : for islands, whether the body reads codes where the file has their real view
    at : its place in graph order where that is not the place of ``main``
    """

    layer: type[Layer]
    main: Node
    body: list[Node]
    inputs: list[str]
    output: str
    params: QuantParams | None = None
    weight: QuantizedTensor | None = None
    bias: QuantizedTensor | None = None
    relu: bool = False
    reason: str = ""
    on_codes: bool = False
    at: int | None = None

    @property
    def place(self) -> int:
        """Where the layer stands in graph order."""
        return self.main.index if self.at is None else self.at
