"""Where a quantizer made the Clip of a float network part of the layer before it."""

from __future__ import annotations

from dataclasses import dataclass

from bitbybit.model.island_tensors import clip_limits
from bitbybit.model.types import FloatIsland, QuantizedModel, QuantParams


@dataclass(frozen=True)
class FoldedClip:
    """A Clip that only the float network has.

    Attributes
    ----------
    layer : name of the layer before it, in both networks
    edge : what the float network calls the Clip's output
    low, high : its limits
    """

    layer: str
    edge: str
    low: float
    high: float

    def is_at_rails(self, params: QuantParams) -> tuple[bool, bool]:
        """Whether least and greatest code stand for the limits, up to half a step."""
        if params.per_channel:
            return False, False
        zero, scale = int(params.zero_point), float(params.scale)
        bottom, top = (params.qmin - zero) * scale, (params.qmax - zero) * scale
        return self.low >= bottom - scale / 2, self.high <= top + scale / 2


def folded_clips(model: QuantizedModel, reference: QuantizedModel) -> dict[str, FoldedClip]:
    """Return the Clips of a float network that its quantized twin lacks, by layer.

    Saturation at the rails does what a Clip does (ReLU6 is the usual one), so quantizers drop
    it: the integer layer's output is the float Clip's, not that of the float layer.
    """
    names = {layer.name for layer in model.layers}
    readers: dict[str, list[str]] = {}
    for layer in reference.layers:
        for source in layer.inputs:
            readers.setdefault(source, []).append(layer.name)
    found = {}
    for layer in reference.layers:
        if not isinstance(layer, FloatIsland) or layer.name in names or len(layer.inputs) != 1:
            continue
        source, limits = layer.inputs[0], clip_limits(layer)
        if limits is not None and source in names and readers[source] == [layer.name]:
            found[source] = FoldedClip(source, layer.output, *limits)
    return found
