"""Ranges chosen by what they do to the network's outputs.

An activation before an addition and a ReLU may be clipped where the ReLU clips anyway, and must
not be clipped where few large values decide: its own histogram knows neither. Here the float
network runs with every activation rounded to its grid, and one end of one range after the other
moves while the outputs come closer to the float ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from bitbybit.execution.feed import Arrays, Feed, batches
from bitbybit.execution.sessions import Session
from bitbybit.model.types import QuantizedModel
from bitbybit.quantization.edges import CodeEdges
from bitbybit.quantization.scheme import Range
from workshop.calibration.observe import Batch, parts
from workshop.calibration.ranges import Grid

log = logging.getLogger("bitbybit.calibration")  # what terminal.configure_logging shows

STEP = 1.12
"""Factor by which one end of a range moves at a time."""

SWEEPS = 2
BATCH_SIZE = 50

GridOf = Callable[[str, Range], Grid]
"""From an edge and its range to its grid."""


def inner_edges(plan: CodeEdges) -> tuple[str, ...]:
    """Return the edges with a scale of their own, graph inputs left out, in graph order."""
    return tuple(
        name
        for name, origin in plan.origin.items()
        if name == origin and name not in plan.model.inputs
    )


def tune_ranges(
    model: QuantizedModel,
    images: Iterable[Batch],
    edges: Sequence[str],
    ranges: Mapping[str, Range],
    full: Mapping[str, Range],
    grid: GridOf,
    *,
    joint: bool,
) -> dict[str, Range]:
    """Return ranges that bring the outputs closer to the float ones than ``ranges`` do.

    Parameters
    ----------
    model
        A float network.
    images
        Batches; the network goes through them about a hundred times.
    edges
        The edges that get codes with a scale of their own, graph inputs left out.
    ranges
        Where to start, for every edge.
    full
        The observed range of every edge, beyond which no end moves.
    grid
        Makes the grid of a range.
    joint
        Whether both ends move together, as symmetric codes want it.
    """
    network = RoundedNetwork(model, images, edges)
    best, grids = dict(ranges), {name: grid(name, ranges[name]) for name in edges}
    least = network.error(grids)
    log.info("output error %.4g with ranges by MSE", least)

    def improves(name: str, candidate: Range) -> bool:
        nonlocal least
        trial = grids | {name: grid(name, candidate)}
        error = network.error(trial)
        if error >= least:
            return False
        least, best[name] = error, candidate
        grids.update(trial)
        return True

    ends = ((True, True),) if joint else ((True, False), (False, True))
    for sweep in range(SWEEPS):
        for name in edges:
            for moved in ends:
                _climb(name, best, full[name], moved, improves)
        log.info("output error %.4g after sweep %d of %d", least, sweep + 1, SWEEPS)
    return best


def _climb(
    name: str,
    best: Mapping[str, Range],
    full: Range,
    moved: tuple[bool, bool],
    improves: Callable[[str, Range], bool],
) -> None:
    """Move ends of one range inwards or outwards while that helps."""
    for factor in (1 / STEP, STEP):
        start = best[name]
        while True:
            low, high = (x * factor if m else x for x, m in zip(best[name], moved, strict=True))
            candidate = max(low, full[0]), min(high, full[1])
            if candidate == best[name] or not improves(name, candidate):
                break
        if best[name] != start:
            return


class RoundedNetwork:
    """The float file with ``clip(RNE(x / scale), low, high) * scale`` behind each activation."""

    def __init__(
        self, model: QuantizedModel, images: Iterable[Batch], edges: Sequence[str]
    ) -> None:
        self.model = model
        self.edges = edges
        proto = onnx.load(model.path)
        for name in self.edges:
            _insert_rounding(proto.graph, model.edges[name].onnx_name)
        self._outputs = [model.edges[name].onnx_name for name in model.outputs]
        self._session = Session(proto.SerializeToString())
        exact = Session(str(model.path))
        self._parts = [_tensors(model, part) for part in _regrouped(model, images)]
        self._exact = [_run(exact, part) for part in self._parts]

    def error(self, grids: Mapping[str, Grid]) -> float:
        """Return the sum of the squared differences of all outputs over all images."""
        settings: Arrays = {}
        for name in self.edges:
            names = _names(self.model.edges[name].onnx_name)[:3]
            for setting, value in zip(names, grids[name], strict=True):
                settings[setting] = np.array(value, np.float32)
        total = 0.0
        for batch, exact in zip(self._parts, self._exact, strict=True):
            found = _run(self._session, batch | settings)
            for name in self._outputs:
                difference = found[name].astype(np.float64) - exact[name]
                total += float(np.square(difference).sum())
        return total


def _names(tensor: str) -> list[str]:
    """Return the names of the inputs and tensors that the rounding of a tensor needs."""
    parts = ("scale", "low", "high", "exact", "ratio", "whole", "steps")
    return [f"{tensor}/rounding/{part}" for part in parts]


def _insert_rounding(graph: onnx.GraphProto, tensor: str) -> None:
    """Rename a tensor where it is made, and make it of the renamed one."""
    scale, low, high, exact, ratio, whole, steps = _names(tensor)
    place = next(i for i, node in enumerate(graph.node) if tensor in node.output)
    made = graph.node[place].output
    made[:] = [exact if name == tensor else name for name in made]
    added = [
        helper.make_node("Div", [exact, scale], [ratio]),
        helper.make_node("Round", [ratio], [whole]),
        helper.make_node("Clip", [whole, low, high], [steps]),
        helper.make_node("Mul", [steps, scale], [tensor]),
    ]
    for offset, node in enumerate(added):
        graph.node.insert(place + 1 + offset, node)
    for name in (scale, low, high):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))


def _run(session: Session, values: Arrays) -> Arrays:
    return dict(zip(session.outputs, session.run(values), strict=True))


def _tensors(model: QuantizedModel, part: Feed) -> Arrays:
    return {model.edges[name].onnx_name: values for name, values in part.items()}


def _regrouped(model: QuantizedModel, images: Iterable[Batch]) -> Iterator[Feed]:
    """Yield the images in batches of a fixed size, however the caller cut them."""
    singles = list(parts(model, images))
    joined = {n: np.concatenate([part[n] for part in singles]) for n in model.inputs}
    yield from batches(model, joined, BATCH_SIZE)
