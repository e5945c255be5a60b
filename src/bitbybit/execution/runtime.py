"""The same network in ONNX Runtime: layer by layer, as a whole, and as a default session."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bitbybit.cpu import cpu_features, machine
from bitbybit.errors import BitbybitError
from bitbybit.execution.compare import LayerResult, compare
from bitbybit.execution.feed import Arrays, Input, feed
from bitbybit.execution.layers import describe
from bitbybit.execution.sessions import Session, onnxruntime
from bitbybit.execution.subgraph import MOVES, FileGraph
from bitbybit.execution.trace import Trace
from bitbybit.model.operators import computes_on_codes
from bitbybit.model.types import FloatIsland, Layer, QuantizedModel

Values = Mapping[str, NDArray[Any]]


class LayerRuntime:
    """Every layer of one file in ONNX Runtime, alone.

    Parameters
    ----------
    model
        The canonical view of the file.

    Raises
    ------
    ModelError
        The file is gone or has changed.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        self._graph = FileGraph(model)
        self._whole: Session | None = None
        self._layers: dict[str, Session] = {}
        self._sums: dict[str, tuple[Session, NDArray[np.int32] | None] | None] = {}

    def output(self, layer: Layer, values: Values) -> NDArray[Any]:
        """Run one layer on the codes of its input edges, taken from ``values``.

        Raises
        ------
        UnsupportedError
            ONNX Runtime cannot run it; the layer and its node are named.
        """
        try:
            if layer.name not in self._layers:
                self._layers[layer.name] = Session(self._graph.layer_model(layer))
            return self._layers[layer.name].run(self._feed(layer, values))[0]
        except BitbybitError as error:
            raise _located(error, layer) from None

    def accumulator(self, layer: Layer, values: Values) -> NDArray[np.int32] | None:
        """Return int32 sums with bias from ConvInteger or MatMulInteger.

        Shape as the operator has it; None where no integer operator shows the layer's sums.
        """
        try:
            if layer.name not in self._sums:
                made = self._graph.accumulator_model(layer)
                self._sums[layer.name] = None if made is None else (Session(made[0]), made[1])
            found = self._sums[layer.name]
            if found is None:
                return None
            session, bias = found
            sums: NDArray[np.int32] = session.run(self._feed(layer, values))[0]
        except BitbybitError as error:
            raise _located(error, layer) from None
        if bias is None:
            return sums
        along = (1, -1) + (1,) * (sums.ndim - 2) if sums.ndim == 4 else (-1,)
        return sums + bias.reshape(along)

    def whole(self, x: Input) -> Arrays:
        """Run the untouched file as the integer graph; see :func:`run_whole`."""
        if self._whole is None:
            self._whole = Session(str(self.model.path))
        return _run_session(self._whole, self.model, x)

    def _feed(self, layer: Layer, values: Values) -> Arrays:
        edges = self.model.edges
        return {edges[name].onnx_name: values[name] for name in layer.inputs}


def ort_trace(model: QuantizedModel, x: Input, teacher: Values | None = None) -> Trace:
    """Compute every edge in ONNX Runtime, each layer by a model of its own.

    The one-layer models are cut out of the file.  Without a teacher each layer gets the
    integers that the layers before it made, so nothing of the engine takes part.

    Parameters
    ----------
    model
        The canonical view of a file.
    x
        The graph input, as for :func:`bitbybit.trace`.
    teacher
        If given, each layer gets its input from this trace instead (teacher forcing), so that
        a difference stays in the layer that makes it.

    Returns
    -------
    Trace
        Canonical edge name → what ONNX Runtime made.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run a layer, which is named.
    """
    runtime = LayerRuntime(model)
    given = feed(model, x)
    values: dict[str, NDArray[Any]] = dict(given)
    for layer in model.layers:
        values[layer.name] = runtime.output(layer, values if teacher is None else teacher)
    return Trace(model, dict(values))


def run_whole(model: QuantizedModel, x: Input, *, int8_allowed: bool = True) -> Arrays:
    """Run the untouched file; returns graph outputs by canonical name.

    Parameters
    ----------
    model, x
        As for :func:`ort_trace`.
    int8_allowed
        Whether ONNX Runtime may fuse QDQ pairs around int8 activations, which makes it run the
        integer graph; its default on x86 is not to.
    """
    return _run_session(Session(str(model.path), int8_allowed=int8_allowed), model, x)


@dataclass(frozen=True)
class DefaultSession:
    """What a session with default options does with a file.

    Attributes
    ----------
    operators : operator type → count, in the graph that it really runs
    float_nodes : ``(operator, node name)`` of the nodes that compute on floats
    outputs : the graph outputs against those of the integer graph
    allowed_operators : as ``operators``, where fusing around int8 activations is allowed
    runtime : name and version of the runtime, and the processor
    """

    operators: dict[str, int]
    float_nodes: tuple[tuple[str, str], ...]
    outputs: tuple[LayerResult, ...]
    allowed_operators: dict[str, int]
    runtime: str


def default_session_report(model: QuantizedModel, x: Input) -> DefaultSession:
    """Measure what a default session does: which nodes stay float, how many outputs differ.

    Parameters
    ----------
    model, x
        As for :func:`ort_trace`.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run the file.
    """
    nodes, actual = _optimized(model, x, int8_allowed=False)
    allowed_nodes, expected = _optimized(model, x, int8_allowed=True)
    islands = {
        node for layer in model.layers if isinstance(layer, FloatIsland) for node in layer.nodes
    }
    computing = [n for n in nodes if n.op_type not in MOVES and not computes_on_codes(n.op_type)]
    return DefaultSession(
        _counts(nodes),
        tuple((n.op_type, n.name) for n in computing if (n.op_type, n.name) not in islands),
        tuple(compare(expected, actual)),
        _counts(allowed_nodes),
        f"ONNX Runtime {onnxruntime().__version__} on {machine()} "
        f"with {', '.join(sorted(cpu_features())) or 'no feature that matters'}",
    )


def _optimized(
    model: QuantizedModel, x: Input, *, int8_allowed: bool
) -> tuple[list[onnx.NodeProto], Arrays]:
    """Return the nodes that a session really runs, and the graph outputs that it gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        session = Session(str(model.path), int8_allowed=int8_allowed, optimized_path=str(path))
        optimized = onnx.load(path, load_external_data=False)
    return list(optimized.graph.node), _run_session(session, model, x)


def _counts(nodes: list[onnx.NodeProto]) -> dict[str, int]:
    return dict(sorted(Counter(node.op_type for node in nodes).items()))


def _run_session(session: Session, model: QuantizedModel, x: Input) -> Arrays:
    """Run the file; its outputs in file order are those of the canonical view."""
    edges = model.edges
    given = {edges[name].onnx_name: values for name, values in feed(model, x).items()}
    return dict(zip(model.outputs, session.run(given), strict=True))


def _located(error: BitbybitError, layer: Layer) -> BitbybitError:
    error.where = describe(layer)
    return error
