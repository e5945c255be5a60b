"""A network prepared for the fast form, and its runs."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from weakref import finalize

import numpy as np

from bitbybit.errors import UnsupportedError
from bitbybit.execution import interleaved
from bitbybit.execution.fast_add import FastAdd
from bitbybit.execution.fast_conv import (
    EXACT_INT32,
    FastConv,
    accumulator_bound,
    conv_multiplier,
)
from bitbybit.execution.fast_ends import FastPool, FastQuantize, pool_is_exact
from bitbybit.execution.feed import Feed
from bitbybit.execution.interleaved import Float, Scratch
from bitbybit.execution.layers import compute
from bitbybit.execution.trace import Source, Trace
from bitbybit.model.types import (
    Add,
    AnyArray,
    Conv,
    Edge,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
)

GROUP = 8
"""Images that go through all layers together: few enough for the caches."""

Memory = dict[str, Float]
"""The values ``[groups, H, C, W, images]`` of one batch, by edge."""

Fast = FastQuantize | FastConv | FastAdd | FastPool

EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True, eq=False)
class Step:
    """A layer with its fast form, or None where only the obvious form applies."""

    layer: Layer
    fast: Fast | None


class Plan:
    """A network, prepared once and run on many batches.

    Layers inside the fast form's conditions run in that form, ``GROUP`` images at a time; all
    others by their operator's definition on the whole batch.  A plan does not keep its network
    alive.

    Parameters
    ----------
    model
        The network.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.edges = model.edges
        self.steps = [Step(layer, _prepare(model, layer)) for layer in model.layers]
        self._made = {step.layer.name for step in self.steps if step.fast is not None}
        self._scratch = Scratch()
        self._free: list[Memory] = []
        self._lock = threading.Lock()

    def run(self, model: QuantizedModel, feed: Feed) -> Trace:
        """Compute every edge of one batch; its memory lives as long as the trace.

        Parameters
        ----------
        model
            The network that was prepared.
        feed
            The checked values of its inputs.
        """
        count = len(next(iter(feed.values())))
        sources: dict[str, Source] = dict(feed)
        trace = Trace(model, sources)
        with self._lock, np.errstate(over="ignore", under="ignore"):
            memory = self._memory(count)
            for is_fast, run in groupby(self.steps, lambda step: step.fast is not None):
                steps = list(run)
                if is_fast:
                    self._run_fast(steps, trace, memory)
                    for name in (step.layer.name for step in steps):
                        sources[name] = self._codes(name, memory, count)
                else:
                    for layer in (step.layer for step in steps):
                        values = [trace[name] for name in layer.inputs]
                        sources[layer.name] = compute(model, layer, values)
        # Memory costs more to allocate than to fill, so the next batch takes it over.
        finalize(trace, self._free.append, memory).atexit = False
        return trace

    def _run_fast(self, steps: list[Step], trace: Trace, memory: Memory) -> None:
        for name in {name for step in steps for name in step.layer.inputs} & set(memory):
            if name not in self._made:
                zero = np.float32(self._zero_point(name))
                interleaved.fill(memory[name], trace[name] - zero)
        groups, *_, images = memory[steps[0].layer.name].shape
        for group in range(groups):
            images_of_group = slice(group * images, (group + 1) * images)
            for layer, fast in ((step.layer, step.fast) for step in steps):
                inputs = [
                    memory[name][group] if name in memory else trace[name][images_of_group]
                    for name in layer.inputs
                ]
                if fast is not None:
                    fast.run(inputs, memory[layer.name][group], self._scratch)

    def _memory(self, count: int) -> Memory:
        images = min(GROUP, count)
        groups = -(-count // images)
        while self._free:
            memory = self._free.pop()
            if all((len(block), block.shape[-1]) == (groups, images) for block in memory.values()):
                return memory
        return {
            name: interleaved.aligned((groups, *self._size(name), images))
            for name in dict.fromkeys(
                name
                for step in self.steps
                if step.fast is not None
                for name in (*step.layer.inputs, step.layer.name)
                if _is_interleaved(self.edges[name])
            )
        }

    def _size(self, name: str) -> tuple[int, ...]:
        channels, height, width = (size or 0 for size in self.edges[name].shape[1:])
        return height, channels, width

    def _codes(self, name: str, memory: Memory, count: int) -> Source:
        return partial(interleaved.codes, memory[name], self._zero_point(name), count)

    def _zero_point(self, name: str) -> AnyArray:
        """Return the zero point of an edge of a fast layer, which is quantized."""
        edge = self.edges[name]
        if edge.params is None:
            raise UnsupportedError("this edge is not quantized", where=name)
        return edge.params.zero_point


def _prepare(model: QuantizedModel, layer: Layer) -> Fast | None:
    """Return the fast form of a layer, None outside its conditions."""
    *inputs, y = (model.edges[name] for name in (*layer.inputs, layer.name))
    if not _is_interleaved(y):
        return None
    if isinstance(layer, Quantize):
        return FastQuantize(layer, y)
    if not all(_is_interleaved(edge) and edge.dtype == y.dtype for edge in inputs):
        return None
    x = inputs[0]
    fast: Fast | None = None
    if isinstance(layer, Add) and _add_is_a_table(inputs, y):
        fast = FastAdd(layer, x, inputs[1], y)
    elif isinstance(layer, Conv) and _conv_is_exact(layer, x, y):
        fast = FastConv(layer, x, y)
    elif isinstance(layer, GlobalPool) and pool_is_exact(layer, x, y):
        fast = FastPool(layer, x, y)
    return fast


def _add_is_a_table(inputs: list[Edge], y: Edge) -> bool:
    """Whether an addition is the look-up of all pairs: no operand is repeated, none swaps."""
    size = math.prod(length or 0 for length in y.shape[1:])
    return size > 1 and all(edge.shape[1:] == y.shape[1:] for edge in inputs)


def _conv_is_exact(layer: Conv, x: Edge, y: Edge) -> bool:
    """Whether the fast form of a convolution equals its definition."""
    return (
        layer.weight.params is not None
        and layer.weight.params.dtype in (np.int8, x.dtype)
        and np.unique(layer.weight.params.zero_point).size == 1
        and (layer.group, layer.dilations) == (1, (1, 1))
        and accumulator_bound(layer, x) < EXACT_INT32
        and bool(np.isfinite(conv_multiplier(layer, x, y)).all())
    )


def _is_interleaved(edge: Edge) -> bool:
    """Whether an edge can be kept as the fast form keeps it: 8 bits, one scale, images."""
    shape_known = len(edge.shape) == 4 and None not in edge.shape[1:]
    one_scale = edge.params is not None and not edge.params.per_channel
    return shape_known and one_scale and edge.dtype in EIGHT_BITS
