"""The same network in ONNX Runtime: layer by layer, and as a whole."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from bitbybit.cpu import cpu_features, is_contract_platform, machine
from bitbybit.errors import BitbybitError
from bitbybit.execution.compare import LayerResult
from bitbybit.execution.cut import Cut, Cutter, Sums
from bitbybit.execution.engine import Trace
from bitbybit.execution.feed import Input, feed
from bitbybit.execution.layers import describe
from bitbybit.execution.sessions import Session, onnxruntime
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import Conv, Dense, FloatIsland, Layer, QuantizedModel

Values = Mapping[str, NDArray[Any]]


class LayerRuntime:
    """Every layer of one file in ONNX Runtime, alone.

    Parameters
    ----------
    model
        The canonical view of a file.

    Raises
    ------
    UnsupportedError
        The model was built in memory.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        self.cutter = Cutter(model)
        self._layers: dict[tuple[tuple[str, ...], str], tuple[Session, Cut]] = {}
        self._sums: dict[str, tuple[Session, Sums] | None] = {}

    def output(self, layer: Layer, values: Values) -> NDArray[Any]:
        """Run one layer on the codes of its input edges, taken from ``values``.

        Raises
        ------
        UnsupportedError
            ONNX Runtime cannot run it; the layer and its node are named.
        """
        with _located(layer):
            return self.between(layer.inputs, layer.name, values)

    def between(self, inputs: tuple[str, ...], output: str, values: Values) -> NDArray[Any]:
        """Run the file's nodes between some edges and another one, on values of the former."""
        key = (inputs, output)
        if key not in self._layers:
            cut = self.cutter.between(*key)
            self._layers[key] = Session(cut.model), cut
        session, cut = self._layers[key]
        return session.run({name: values[edge] for name, edge in cut.inputs.items()})[0]

    def accumulator(self, layer: Layer, values: Values) -> NDArray[np.int32] | None:
        """Return int32 sums with bias from ConvInteger or MatMulInteger.

        Shape as the operator has it; None where no integer operator shows the layer's sums.

        Raises
        ------
        UnsupportedError
            The integer operator cannot express the layer, or ONNX Runtime cannot run it.
        """
        with _located(layer):
            if layer.name not in self._sums:
                self._sums[layer.name] = None
                made = self.cutter.sums(layer)
                self._sums[layer.name] = None if made is None else (Session(made.cut.model), made)
            found = self._sums[layer.name]
            if found is None:
                return None
            session, (cut, bias) = found
            given = {name: values[edge] for name, edge in cut.inputs.items()}
            sums: NDArray[np.int32] = session.run(given)[0]
        if bias is None:
            return sums
        along = (1, -1) + (1,) * (sums.ndim - 2) if sums.ndim == 4 else (-1,)
        return sums + bias.reshape(along)


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
        self.model, proto = model, Cutter(model).proto
        # As it was read; where tensors lie in files beside it, the runtime must look there.
        beside = any(t.data_location == TensorProto.EXTERNAL for t in proto.graph.initializer)
        content = str(model.path) if beside else proto.SerializeToString()
        with tempfile.TemporaryDirectory() as folder, _located(model):
            path = Path(folder) / "optimized.onnx"
            self._session = Session(content, int8_allowed=int8_allowed, optimized_path=str(path))
            self.nodes = list(onnx.load(path, load_external_data=False).graph.node)

    @property
    def operators(self) -> dict[str, int]:
        """Operator type → count, in the graph that it really runs."""
        return dict(sorted(Counter(node.op_type for node in self.nodes).items()))

    def run(self, x: Input) -> list[NDArray[Any]]:
        """Return the graph outputs, in file order.

        Raises
        ------
        UnsupportedError
            ONNX Runtime cannot run the file.
        """
        edges = self.model.edges
        given = {edges[name].onnx_name: array for name, array in feed(self.model, x).items()}
        with _located(self.model):
            return self._session.run(given)

    def float_nodes(self, islands: set[str]) -> tuple[tuple[str, str], ...]:
        """Return ``(operator, name)`` of the nodes that compute on floats outside the islands.

        Parameters
        ----------
        islands
            The tensors that the float islands make.
        """
        return tuple(
            (node.op_type, node.name or next(iter(node.output), ""))
            for node in self.nodes
            if not _stays_integer(node.op_type) and islands.isdisjoint(node.output)
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
    values: dict[str, NDArray[Any]] = dict(feed(model, x))
    for layer in model.layers:
        values[layer.name] = runtime.output(layer, values if teacher is None else teacher)
    return Trace(model, dict(values))


def run_whole(
    model: QuantizedModel, x: Input, *, int8_allowed: bool = True
) -> dict[str, NDArray[Any]]:
    """Run the untouched file; returns graph outputs by canonical name.

    Parameters
    ----------
    model, x
        As for :func:`ort_trace`.
    int8_allowed
        As for :class:`FileRuntime`.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run the file; or the model was built in memory.
    """
    outputs = FileRuntime(model, int8_allowed=int8_allowed).run(x)
    return dict(zip(model.outputs, outputs, strict=True))


@dataclass(frozen=True, kw_only=True)
class DefaultSession:
    """What a session with default options does with a file.

    Attributes
    ----------
    operators : operator type → count, in the graph that it really runs
    float_nodes : ``(operator, node name)`` of the nodes that compute on floats, outside the
        float islands
    all_float_nodes : how many compute on floats, the islands' nodes too
    outputs : the graph outputs, of all inputs, against those of the engine
    allowed_operators : as ``operators``, where fusing around int8 activations is allowed
    runtime : name and version of the runtime, and the processor
    """

    operators: dict[str, int]
    float_nodes: tuple[tuple[str, str], ...]
    all_float_nodes: int
    outputs: tuple[LayerResult, ...]
    allowed_operators: dict[str, int]
    runtime: str

    @property
    def different(self) -> int:
        """Output elements that differ."""
        return sum(result.mismatches for result in self.outputs)


def runtime_here() -> str:
    """Return name and version of the runtime, and the processor, in words."""
    features = ", ".join(sorted(cpu_features())) or "no feature that matters"
    return f"ONNX Runtime {onnxruntime().__version__} on {machine()} with {features}"


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
        source = Cutter(model).source.file
        proto = onnx.ModelProto()
        proto.CopyFrom(source.proto)
        onnx.load_external_data_for_model(proto, str(source.folder))
        given = {value.name for value in proto.graph.output}
        self._tensors = {name: edge.onnx_name for name, edge in model.edges.items()}
        wanted = model.edges if edges is None else edges
        self._made = [name for name in wanted if name not in model.inputs]
        for tensor in dict.fromkeys(self._tensors[name] for name in self._made):
            if tensor not in given:
                proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
        self._session = Session(proto.SerializeToString())

    def __call__(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
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
        yield model.edges[layer.inputs[0]].dtype.name, layer.weight.values.dtype.name
    elif isinstance(layer, FloatIsland) and any(
        op in OPERATORS and OPERATORS[op].sums for op, _ in layer.nodes
    ):
        constants = onnx.ModelProto.FromString(layer.model).graph.initializer
        names = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}
        weights = {names.get(c.data_type, "") for c in constants if len(c.dims) > 1}
        eight_bits = set(names.values())
        yield from itertools.product(read & eight_bits, (read | weights) & eight_bits)


@contextmanager
def _located(place: Layer | QuantizedModel) -> Iterator[None]:
    """Say in an error which layer, or which file, it is about."""
    try:
        yield
    except BitbybitError as error:
        error.where = describe(place) if isinstance(place, Layer) else str(place.path.name)
        raise
