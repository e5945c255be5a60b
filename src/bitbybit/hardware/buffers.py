"""Which tensors must be kept at the same time, and how many bytes they take.

Layers run one after the other in graph order, one image at a time. A tensor takes its bytes from
the step that makes it to the last step that reads it, both included: a layer reads its inputs
while it writes its output.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitbybit.model.costs import edge_bytes
from bitbybit.model.types import QuantizedModel, Reshape


@dataclass(frozen=True)
class Buffer:
    """Memory that holds one tensor, or several names for the same bytes.

    Attributes
    ----------
    name : canonical name of the edge
    bytes : of one image; None if its shape is open
    first, last : steps from which and to which it is kept, as positions in ``model.layers``; a
        graph input is there from step 0 on, a graph output is kept to the last step
    """

    name: str
    bytes: int | None
    first: int
    last: int


def buffers(model: QuantizedModel) -> tuple[Buffer, ...]:
    """Return the buffer of every edge, in the order in which they are made.

    A Reshape moves nothing: its output is its input's buffer under another name, and has none of
    its own. No other layer writes over what it reads.

    Parameters
    ----------
    model
        A network in any form; bytes count as in :func:`bitbybit.inspection.costs`.
    """
    place, end = {name: name for name in model.edges}, len(model.layers) - 1
    first, last = dict.fromkeys(model.inputs, 0), dict.fromkeys(model.inputs, 0)
    for step, layer in enumerate(model.layers):
        for name in layer.inputs:
            last[place[name]] = step
        if isinstance(layer, Reshape):
            place[layer.name] = place[layer.inputs[0]]
        else:
            first[layer.name] = last[layer.name] = step
    last |= {place[name]: end for name in model.outputs}
    return tuple(
        Buffer(name, edge_bytes(model, model.edges[name]), first[name], last[name])
        for name in first
    )


def live_bytes(model: QuantizedModel) -> tuple[int | None, ...]:
    """Return the bytes of all buffers that a step needs, layer by layer.

    The largest is the least activation memory that runs the network in graph order; a memory of
    this size is enough only if it is not broken into pieces.

    Parameters
    ----------
    model
        As for :func:`buffers`.

    Returns
    -------
    tuple of int or None, one per layer; None where a buffer's shape is open
    """
    needed = [
        [buffer.bytes for buffer in buffers(model) if buffer.first <= step <= buffer.last]
        for step in range(len(model.layers))
    ]
    return tuple(None if None in each else sum(filter(None, each)) for each in needed)
