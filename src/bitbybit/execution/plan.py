"""A network prepared for the fast form, and its runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from weakref import finalize

import numpy as np

from bitbybit.errors import UnsupportedError
from bitbybit.execution import planes
from bitbybit.execution.fast_add import FastAdd
from bitbybit.execution.fast_conv import (
    EXACT_INT32,
    FastConv,
    accumulator_bound,
    conv_multiplier,
)
from bitbybit.execution.feed import Feed
from bitbybit.execution.layers import compute
from bitbybit.execution.planes import Float, Geometry, Margins, Scratch
from bitbybit.execution.trace import Source, Trace
from bitbybit.execution.window import Window
from bitbybit.model.types import Add, AnyArray, Conv, Edge, Layer, QuantizedModel

GROUP = 16
"""Images that go through all layers together: few enough for the caches."""

Memory = dict[str, Float]
"""The planes ``[groups, C, size, images]`` of one batch, by edge."""

EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True, eq=False)
class Step:
    """A layer with its fast form, or None where only the obvious form applies."""

    layer: Layer
    fast: FastConv | FastAdd | None


class Plan:
    """A network, prepared once and run on many batches.

    Layers inside the fast form's conditions run on planes, ``GROUP`` images at a time; all
    others by their operator's definition on the whole batch.

    Parameters
    ----------
    model
        The network.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        self.geometries = _layout(model)
        self.steps = [Step(layer, self._prepare(layer)) for layer in model.layers]
        self._made = {step.layer.output for step in self.steps if step.fast is not None}
        self._scratch = Scratch()
        self._free: list[Memory] = []
        self._lock = threading.Lock()

    def run(self, feed: Feed) -> Trace:
        """Compute every edge of one batch; its planes live as long as the trace."""
        count = len(next(iter(feed.values())))
        sources: dict[str, Source] = dict(feed)
        trace = Trace(self.model, sources)
        with self._lock, np.errstate(over="ignore", under="ignore"):
            memory = self._memory(count)
            for is_fast, run in groupby(self.steps, lambda step: step.fast is not None):
                steps = list(run)
                if is_fast:
                    self._run_fast(steps, trace, memory)
                    for name in (step.layer.output for step in steps):
                        sources[name] = self._codes(name, memory, count)
                else:
                    for layer in (step.layer for step in steps):
                        values = [trace[name] for name in layer.inputs]
                        sources[layer.output] = compute(self.model, layer, values)
        # Memory costs more to allocate than to fill, so the next batch takes it over.
        finalize(trace, self._free.append, memory).atexit = False
        return trace

    def _run_fast(self, steps: list[Step], trace: Trace, memory: Memory) -> None:
        for name in {name for step in steps for name in step.layer.inputs} - self._made:
            zero = np.float32(_zero_point(self.model.edges[name]))
            planes.fill(memory[name], self.geometries[name], trace[name] - zero)
        for group in range(len(memory[steps[0].layer.output])):
            for layer, fast in ((step.layer, step.fast) for step in steps):
                values = [memory[name][group] for name in (*layer.inputs, layer.output)]
                if isinstance(fast, FastConv):
                    fast.run(values[0], values[1], self._scratch)
                elif fast is not None:
                    fast.run(values[0], values[1], values[2], self._scratch)

    def _memory(self, count: int) -> Memory:
        images = min(GROUP, count)
        groups = -(-count // images)
        while self._free:
            memory = self._free.pop()
            if all((len(block), block.shape[-1]) == (groups, images) for block in memory.values()):
                return memory
        return {
            name: planes.aligned((groups, geometry.channels, geometry.size, images))
            for name, geometry in self.geometries.items()
        }

    def _codes(self, name: str, memory: Memory, count: int) -> Source:
        zero = _zero_point(self.model.edges[name])
        return partial(planes.codes, memory[name], self.geometries[name], zero, count)

    def _prepare(self, layer: Layer) -> FastConv | FastAdd | None:
        edges, found = self.model.edges, self.geometries
        if any(name not in found for name in (*layer.inputs, layer.output)):
            return None
        y = found[layer.output]
        if isinstance(layer, Add) and _has_fast_form(self.model, layer):
            a, b = layer.inputs
            return FastAdd(layer, edges[a], edges[b], edges[layer.output], y)
        if isinstance(layer, Conv) and _has_fast_form(self.model, layer):
            x = found[layer.inputs[0]]
            window = Window.of(layer, x, y.row)
            fits = window.width <= window.row and window.last < x.size
            if fits and (window.height, window.width) == (y.height, y.width):
                return FastConv(layer, edges[layer.inputs[0]], edges[layer.output], window, y)
        return None


def _layout(model: QuantizedModel) -> dict[str, Geometry]:
    """Lay out the planes of every edge that a fast layer reads or makes."""
    layers = [layer for layer in model.layers if _has_fast_form(model, layer)]
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    margins = Margins.around(convs)
    names = dict.fromkeys(name for layer in layers for name in (*layer.inputs, layer.output))
    found = {}
    for name in names:
        channels, height, width = (size or 0 for size in model.edges[name].shape[1:])
        found[name] = Geometry.of(channels, height, width, margins)
    # Planes of one height and width have one size, so that an addition is one flat operation.
    last: dict[tuple[int, int], int] = {}
    for conv in convs:
        x = found[conv.inputs[0]]
        read = Window.of(conv, x, found[conv.output].row).last
        last[x.height, x.width] = max(read, last.get((x.height, x.width), 0))
    return {name: x.reaching(last.get((x.height, x.width), 0)) for name, x in found.items()}


def _has_fast_form(model: QuantizedModel, layer: Layer) -> bool:
    """Whether a layer is inside the conditions of a fast form, its geometry left aside."""
    edges = [model.edges[name] for name in (*layer.inputs, layer.output)]
    if not all(_has_planes(edge) and edge.dtype == edges[0].dtype for edge in edges):
        return False
    if isinstance(layer, Add):
        return len({edge.shape[1:] for edge in edges}) == 1
    if not isinstance(layer, Conv) or layer.weight.params is None:
        return False
    return (
        layer.weight.params.dtype in (np.int8, edges[0].dtype)
        and (layer.group, layer.dilations) == (1, (1, 1))
        and accumulator_bound(layer, edges[0]) < EXACT_INT32
        and bool(np.isfinite(conv_multiplier(layer, *edges)).all())
    )


def _has_planes(edge: Edge) -> bool:
    shape_known = len(edge.shape) == 4 and None not in edge.shape[1:]
    one_scale = edge.params is not None and not edge.params.per_channel
    return shape_known and one_scale and edge.dtype in EIGHT_BITS


def _zero_point(edge: Edge) -> AnyArray:
    """Return the zero point of an edge that has planes, so that it is quantized."""
    if edge.params is None:
        raise UnsupportedError("this edge is not quantized", where=edge.name)
    return edge.params.zero_point
