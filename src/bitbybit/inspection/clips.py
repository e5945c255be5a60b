"""Clips and ReLUs that one of two twins has in a layer and the other behind it (ReLU6)."""

from __future__ import annotations

from dataclasses import dataclass

from bitbybit.model.island_contents import clip_limits
from bitbybit.model.parameters import at_lower_rail
from bitbybit.model.types import FloatIsland, Layer, QuantizedModel, QuantParams


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
            found[source] = FoldedClip(source, layer.name, *limits)
    return found


def twin_edges(model: QuantizedModel, reference: QuantizedModel) -> dict[str, str | None]:
    """Return the float edge of each edge whose counterpart is not the one of its own name.

    A float layer holds the Relu that follows it. Where the quantized file has that Relu as a
    layer of its own, the float values belong to the latter, and the layer before has no twin.
    """
    found: dict[str, str | None] = {
        name: clip.edge for name, clip in folded_clips(model, reference).items()
    }
    with_relu = {layer.name for layer in reference.layers if getattr(layer, "relu", False)}
    known = {layer.name for layer in reference.layers}
    for layer in model.layers:
        if layer.name not in with_relu or _ends_with_relu(model, layer):
            continue
        found[layer.name] = None
        readers = [other for other in model.layers if layer.name in other.inputs]
        if len(readers) == 1 and readers[0].name not in known:
            (reader,) = readers
            if any(op == "Relu" for op, _ in reader.nodes):
                found[reader.name] = layer.name
    return found


def _ends_with_relu(model: QuantizedModel, layer: Layer) -> bool:
    """Whether a layer's output is never below 0: by its rail, or by a Relu among its nodes."""
    params = model.edges[layer.name].params
    at_rail = params is not None and at_lower_rail(params)
    return at_rail or any(op == "Relu" for op, _ in layer.nodes)
