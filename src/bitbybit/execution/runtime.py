"""Whole files in ONNX Runtime: the integer graph, a default session, a float network."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from bitbybit.cpu import cpu_features, is_contract_platform, machine
from bitbybit.execution.cut import LayerRuntime, Values, located, source_of
from bitbybit.execution.engine import Trace
from bitbybit.execution.feed import Arrays, Input, feed
from bitbybit.execution.sessions import Session
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import AnyArray, Conv, Dense, FloatIsland, Layer, QuantizedModel


class FileRuntime:
    """The untouched file in ONNX Runtime.

    Parameters
    ----------
    model
        The canonical view of a file.
    int8_allowed
        Whether ONNX Runtime must run the integer graph of the file, as
        :class:`~bitbybit.execution.sessions.Session` says; its default on x86 does not.

    Attributes
    ----------
    nodes : the nodes that it really runs, fused and reordered

    Raises
    ------
    UnsupportedError
        The model was built in memory, or ONNX Runtime cannot load the file.
    """

    def __init__(self, model: QuantizedModel, *, int8_allowed: bool = True) -> None:
        self.model, proto = model, source_of(model).file.proto
        # As it was read; where tensors lie in files beside it, the runtime must look there.
        beside = any(t.data_location == TensorProto.EXTERNAL for t in proto.graph.initializer)
        content = str(model.path) if beside else proto.SerializeToString()
        with tempfile.TemporaryDirectory() as folder, located(model.path.name):
            path = Path(folder) / "optimized.onnx"
            self._session = Session(content, int8_allowed=int8_allowed, optimized_path=str(path))
            self.nodes = list(onnx.load(path, load_external_data=False).graph.node)

    @property
    def operators(self) -> dict[str, int]:
        """Operator type → count, in the graph that it really runs."""
        return dict(sorted(Counter(node.op_type for node in self.nodes).items()))

    def run(self, x: Input) -> list[AnyArray]:
        """Return the graph outputs, in file order.

        Raises
        ------
        UnsupportedError
            ONNX Runtime cannot run the file.
        """
        edges = self.model.edges
        given = {edges[name].onnx_name: array for name, array in feed(self.model, x).items()}
        with located(self.model.path.name):
            return self._session.run(given)

    def float_nodes(self, islands: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
        """Return ``(operator, name)`` of the nodes that compute on floats outside the islands.

        Parameters
        ----------
        islands
            The tensors that the float islands make.
        """
        inside = set(islands)
        return tuple(
            (node.op_type, node.name or next(iter(node.output), ""))
            for node in self.nodes
            if not _stays_integer(node.op_type) and inside.isdisjoint(node.output)
        )


def _stays_integer(op_type: str) -> bool:
    """Whether an operator of an optimized graph computes on codes, converts or moves them."""
    row = OPERATORS.get(op_type)
    return row is not None and bool(row.on_codes or row.keeps)


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
        ONNX Runtime cannot run a layer, which is named; or the model was built in memory.
    """
    runtime = LayerRuntime(model)
    values: Arrays = dict(feed(model, x))
    for layer in model.layers:
        values[layer.name] = runtime.output(layer, values if teacher is None else teacher)
    return Trace(model, dict(values))


class FloatNetwork:
    """A float network that shows its edges; the session is made once.

    Parameters
    ----------
    model
        A float network that was read from a file.
    edges
        Canonical names of the edges to show; by default all of them.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run the file, or there is none.
    """

    def __init__(self, model: QuantizedModel, edges: Iterable[str] | None = None) -> None:
        file = source_of(model).file
        proto = onnx.ModelProto()
        proto.CopyFrom(file.proto)
        onnx.load_external_data_for_model(proto, str(file.folder))
        self._tensors = {name: edge.onnx_name for name, edge in model.edges.items()}
        wanted = model.edges if edges is None else edges
        self._made = [name for name in wanted if name not in model.inputs]
        known = {value.name for value in proto.graph.output}
        tensors = dict.fromkeys(self._tensors[name] for name in self._made)
        proto.graph.output.extend(
            onnx.ValueInfoProto(name=tensor) for tensor in tensors if tensor not in known
        )
        self._session = Session(proto.SerializeToString())

    def __call__(self, given: Mapping[str, AnyArray]) -> Arrays:
        """Return the inputs and the edges by canonical name."""
        outputs = self._session.run({self._tensors[n]: values for n, values in given.items()})
        found = dict(zip(self._session.outputs, outputs, strict=True))
        return {**given, **{name: found[self._tensors[name]] for name in self._made}}


def platform_problem(model: QuantizedModel) -> str:
    """Say why ONNX Runtime need not be exact here, "" where it must be."""
    pairs = {pair for layer in model.layers for pair in _multiplied(model, layer)}
    for activation, weight in sorted(pairs or {("int8", "int8")}):
        if not is_contract_platform(activation, weight):
            features = ", ".join(sorted(cpu_features())) or "none that matter"
            return (
                f"{activation} activations with {weight} weights: ONNX Runtime need not be exact "
                f"on this CPU ({machine()}; {features})"
            )
    return ""


def _multiplied(model: QuantizedModel, layer: Layer) -> Iterator[tuple[str, str]]:
    """Yield the 8-bit types that ONNX Runtime may multiply for a layer or an island."""
    read = {model.edges[name].dtype.name for name in layer.inputs}
    if isinstance(layer, (Conv, Dense)):
        yield from ((activation, layer.weight.values.dtype.name) for activation in read)
    elif isinstance(layer, FloatIsland) and any(
        op in OPERATORS and OPERATORS[op].sums for op, _ in layer.nodes
    ):
        names = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}
        constants = onnx.ModelProto.FromString(layer.model).graph.initializer
        weights = {names.get(c.data_type) for c in constants if len(c.dims) > 1}
        for activation in read.intersection(names.values()):
            for weight in (read | weights).intersection(names.values()):
                yield activation, str(weight)
