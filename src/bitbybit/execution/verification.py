"""Is the engine right about this file? Every layer, accumulator and output, with ``==``.

One generator yields what the engine made beside what an authority made, one comparison counts.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError, UnsupportedError
from bitbybit.execution import verdict
from bitbybit.execution.compare import LayerResult, Mismatch, compare_arrays, described
from bitbybit.execution.engine import Trace, trace
from bitbybit.execution.exhaustive import all_inputs
from bitbybit.execution.feed import (
    Feed,
    Input,
    batches,
    count_images,
    fixed_sizes,
    input_values,
    named,
    stimuli,
)  # fmt: skip
from bitbybit.execution.layers import compute, has_accumulator
from bitbybit.execution.runtime import (
    DefaultSession,
    FileRuntime,
    LayerRuntime,
    platform_problem,
    runtime_here,
)
from bitbybit.execution.sessions import onnxruntime
from bitbybit.execution.verdict import Check, Verification
from bitbybit.model import types
from bitbybit.model.load import load
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import AnyArray, FloatIsland, Layer, QuantizedModel

FIRST_BATCH = 16
"""Images for which the obvious form of every layer is checked as well."""

BATCH = 64

BATCH_ELEMENTS = 1 << 25
"""Elements of the largest edge of one batch: memory grows with the largest layer, not with 64."""

DEFAULT = "a session with default options"
"""The authority that may differ: it is reported, and no mismatch."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One tensor as an authority made it, and as the engine made it.

    Attributes
    ----------
    authority : who made ``theirs``
    layer, kind : canonical name and kind of the layer, or the name of a graph output and "output"
    theirs, ours : the two arrays
    edge : the edge whose scale and zero point the arrays have, None for integer sums
    sums : gives the accumulators at the same places, None where there are none
    """

    authority: str
    layer: str
    kind: str
    theirs: AnyArray
    ours: AnyArray
    edge: types.Edge | None = None
    sums: Callable[[], AnyArray] | None = None


def verify(
    model: str | os.PathLike[str] | QuantizedModel,
    inputs: Input | None = None,
    expected: Mapping[str, NDArray[Any]] | None = None,
    images: int | None = None,
    *,
    quick: bool = False,
    kind: str = "",
) -> Verification:
    """Compare the exact engine with ONNX Runtime, or with expected outputs, element by element.

    Each layer is run alone in ONNX Runtime on the engine's own integers (teacher forcing), each
    accumulator is compared with ConvInteger or MatMulInteger, and the graph outputs with those
    of the untouched file. For the first images every layer is also computed by its operator's
    definition. Where the inputs of a layer are finitely many, all of them are tried. With
    ``expected`` the graph outputs are compared with that instead of ONNX Runtime's.

    Parameters
    ----------
    model
        An ONNX file with quantized layers, or its canonical view.
    inputs
        Values of the graph inputs, by the file's names or canonical ones; by default
        :func:`bitbybit.execution.feed.stimuli`.
    expected
        Graph output name (the file's, or canonical) → values for all images, in the output's
        dtype. Every output must be there once.
    images
        How many images; by default all of ``inputs``, or 16 stimuli.
    quick
        Leave out the inputs that no image reaches: all pairs, codes and accumulators.
    kind
        Check layers of this kind only ("conv", "dense", "add", ...), and no graph output.

    Returns
    -------
    What was compared with whom, how many elements differ, and the first that does.

    Raises
    ------
    UnsupportedError
        The model has no quantized layer, or a layer cannot be run; its node is named.
    DataError
        An input or expected output is missing, unknown, given twice, or of another shape or
        dtype.
    """
    network = model if isinstance(model, QuantizedModel) else load(model)
    _require_integers(network, kind)
    described_inputs = "given inputs"
    if inputs is None:
        inputs, images = stimuli(network, images or FIRST_BATCH), None
        described_inputs = "seeded stimuli"
    outputs = None if expected is None else _expected(network, expected)
    findings = _Findings(network, kind, outputs)
    for begin, mine in findings.runs(_limited(network, inputs, images)):
        for pair in findings.pairs(begin, mine):
            findings.add(pair, begin)
    if not quick and (outputs is None or not findings.platform_problem):
        for begin, pair in findings.all_pairs():
            findings.add(pair, begin)
    return findings.report(described_inputs)


@dataclass
class _Findings:
    """What has been compared so far."""

    model: QuantizedModel
    kind: str
    expected: list[AnyArray] | None
    images: int = 0
    checks: dict[tuple[str, str], Check] = field(default_factory=dict)
    elements_of: Counter[str] = field(default_factory=Counter)
    sums_of: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runtime = LayerRuntime(self.model)
        self.platform_problem = platform_problem(self.model)
        self.layers = [
            layer
            for layer in self.model.layers
            if not isinstance(layer, FloatIsland) and self.kind in ("", layer.kind)
        ]
        self._compared = [0] * len(self.model.outputs)

    @cached_property
    def whole(self) -> FileRuntime | None:
        """The whole file as the integer graph, where outputs are compared with that."""
        return FileRuntime(self.model) if self.expected is None and not self.kind else None

    @cached_property
    def default(self) -> FileRuntime | None:
        """The whole file in a session with default options, where the runtime takes it."""
        if self.whole is None:
            return None
        try:
            return FileRuntime(self.model, int8_allowed=False)
        except UnsupportedError as error:
            self.notes[f"a session with default options ({error})"] = None
            return None

    def runs(self, inputs: Feed) -> Iterator[tuple[int, Trace]]:
        """Yield the number of the first image and the engine's trace, batch by batch."""
        for part in _parts(self.model, inputs, whole=self._one_batch()):
            mine = trace(self.model, part)
            yield self.images, mine
            self.images += max(len(values) if values.ndim else 1 for values in part.values())
        if not self.images:
            raise DataError(
                "there are no images to verify",
                where=self.model.path.name,
                next_step="Give at least one.",
            )
        for name, count, values in zip(
            self.model.file_outputs, self._compared, self.expected or (), strict=False
        ):
            if values.ndim and len(values) != count:
                raise DataError(
                    "the expected output has another number of images",
                    where=name,
                    expected=count,
                    found=len(values),
                    next_step="Give the outputs of exactly these inputs.",
                )

    def _one_batch(self) -> bool:
        """Whether expected outputs cannot be cut into batches: their first axis is no batch."""
        shapes = [self.model.edges[name].shape for name in self.model.outputs]
        return self.expected is not None and any(not s or s[0] is not None for s in shapes)

    def pairs(self, begin: int, mine: Trace) -> Iterator[Pair]:
        """Yield everything that can be compared for one batch."""
        for layer in self.model.layers:
            self.elements_of[layer.name] += mine[layer.name].size
        for layer in self.layers:
            yield from self._layer_pairs(layer, mine, first=begin == 0)
        if self.kind:
            return
        given = Feed((name, mine[name]) for name in self.model.inputs)
        ours = {name: self._output(name, mine) for name in self.model.outputs}
        for authority, file in ((verdict.WHOLE, self.whole), (DEFAULT, self.default)):
            if file is not None:
                yield from self._output_pairs(authority, file.run(given), ours)
        if self.expected is not None:
            yield from self._output_pairs(verdict.EXPECTED, self._part(self.expected, mine), ours)

    def _layer_pairs(self, layer: Layer, mine: Trace, *, first: bool) -> Iterator[Pair]:
        pair = Pair(
            authority=verdict.RUNTIME,
            layer=layer.name,
            kind=layer.kind,
            theirs=mine[layer.name],
            ours=mine[layer.name],
            edge=self.model.edges[layer.name],
            sums=(lambda: mine.accumulator(layer.name)) if has_accumulator(layer) else None,
        )
        if first:
            values = [mine[name] for name in layer.inputs]
            theirs = compute(self.model, layer, values)
            yield replace(pair, authority=verdict.DEFINITION, theirs=theirs)
        if self.expected is not None:
            return
        yield replace(pair, theirs=self.runtime.output(layer, mine))
        try:
            sums = self.runtime.accumulator(layer, mine)
        except UnsupportedError as error:
            self.notes[f"the integer sums of {error}"] = None
            return
        if sums is not None:
            own = mine.accumulator(layer.name)
            if own.size:
                low, high = self.sums_of.get(layer.name, (math.inf, -math.inf))
                limits = int(min(low, own.min())), int(max(high, own.max()))
                self.sums_of[layer.name] = limits
            theirs = sums.reshape(own.shape)
            yield replace(pair, authority=verdict.ACCUMULATOR, theirs=theirs, ours=own, edge=None)

    def _output(self, name: str, mine: Trace) -> AnyArray:
        """Return a graph output of the engine.

        Behind a float island the engine's integers go through the file's own float nodes, from
        the last integers on: cut out alone, an island need not be optimized as in its file.
        """
        layers = {layer.name: layer for layer in self.model.layers}
        if not isinstance(layers.get(name), FloatIsland):
            return mine[name]
        sources = []
        for edge in layers[name].inputs:
            source = edge
            while isinstance(layers.get(source), types.Reshape):
                (source,) = layers[source].inputs
            sources.append(source)
        if tuple(sources) == layers[name].inputs:
            return mine[name]
        ours = self.runtime.between(tuple(sources), name, mine)
        if not np.array_equal(ours, mine[name], equal_nan=ours.dtype.kind == "f"):
            self.notes[
                f"{name} as trace gives it: ONNX Runtime optimizes its float nodes otherwise "
                "without the reshape before them"
            ] = None
        return ours

    def _output_pairs(
        self, authority: str, theirs: list[AnyArray], mine: Mapping[str, AnyArray]
    ) -> Iterator[Pair]:
        names = Counter(self.model.outputs)
        for name, in_file, values in zip(
            self.model.outputs, self.model.file_outputs, theirs, strict=True
        ):
            yield Pair(
                authority=authority,
                layer=name if names[name] == 1 else in_file,
                kind="output",
                theirs=values,
                ours=mine[name],
                edge=self.model.edges[name],
            )

    def _part(self, expected: list[AnyArray], mine: Trace) -> list[AnyArray]:
        """Return the expected values of one batch."""
        found = []
        for place, (name, values) in enumerate(zip(self.model.outputs, expected, strict=True)):
            count = len(mine[name]) if mine[name].ndim else 0
            begin = self._compared[place]
            found.append(values[begin : begin + count] if values.ndim and count else values)
            self._compared[place] += count
        return found

    def all_pairs(self) -> Iterator[tuple[int, Pair]]:
        """Yield every layer on all its inputs, where they are finitely many."""
        for layer in self.layers:
            begin = 0
            for theirs, ours, sums in all_inputs(self.model, layer, self.runtime):
                yield (
                    begin,
                    Pair(
                        authority=verdict.EXHAUSTIVE,
                        layer=layer.name,
                        kind=layer.kind,
                        theirs=theirs,
                        ours=ours,
                        sums=None if sums is None else partial(np.asarray, sums),
                    ),
                )
                begin += len(ours)

    def add(self, pair: Pair, begin: int) -> None:
        """Compare, and merge with what earlier batches gave; the first mismatch is kept."""
        key = (pair.layer, pair.authority)
        result = _compared(pair)
        before = self.checks.get(key)
        if before is not None:
            result = before.result.merged(result, begin)
        self.checks[key] = Check(pair.layer, pair.kind, pair.authority, result)

    def report(self, described_inputs: str) -> Verification:
        """Return what was found."""
        default = None
        if self.default is not None and self.whole is not None:
            default = DefaultSession(
                operators=self.default.operators,
                float_nodes=self.default.float_nodes(self.runtime.cutter.island_tensors()),
                all_float_nodes=len(self.default.float_nodes(set())),
                outputs=tuple(c.result for c in self.checks.values() if c.authority == DEFAULT),
                allowed_operators=self.whole.operators,
                runtime=runtime_here(),
            )
        return Verification(
            model=self.model,
            inputs=described_inputs,
            kind=self.kind,
            images=self.images,
            checks=tuple(c for c in self.checks.values() if c.authority != DEFAULT),
            elements_of=dict(self.elements_of),
            sums_of=self.sums_of,
            default_session=default,
            platform_problem=self.platform_problem,
            runtime_version=str(onnxruntime().__version__),
            notes=tuple(self.notes),
        )


def _compared(pair: Pair) -> LayerResult:
    """Compare one pair; arrays of another shape than the runtime's differ altogether."""
    params = None if pair.edge is None else pair.edge.params
    zero, axis = (0, None) if params is None else (params.zero_point, params.axis)
    theirs, ours = described(pair.theirs), described(pair.ours)
    if theirs != ours and pair.authority != verdict.EXPECTED:
        return LayerResult(
            name=pair.layer,
            elements=pair.ours.size,
            mismatches=max(pair.ours.size, 1),
            largest_difference=math.inf,
            first=Mismatch((), theirs, ours),
        )
    result = compare_arrays(pair.layer, pair.theirs, pair.ours, zero, axis)
    if result.first is None or pair.sums is None:
        return result
    accumulator = int(pair.sums()[result.first.index])
    return replace(result, first=replace(result.first, accumulator=accumulator))


def _expected(model: QuantizedModel, given: Mapping[str, NDArray[Any]]) -> list[AnyArray]:
    """Return the expected outputs in file order; every output must be there once."""
    count = Counter(model.outputs)
    outputs = list(zip(model.outputs, model.file_outputs, strict=True))
    names = {name: in_file for name, in_file in outputs if count[name] == 1}
    names |= {in_file: in_file for in_file in model.file_outputs}
    unknown = [name for name in given if name not in names]
    missing = "the model has no such output" if unknown else ""
    found = {} if unknown else named(given, names, f"{model.path.name}, outputs")
    absent = [name for name in model.file_outputs if name not in found]
    if absent:
        raise DataError(
            missing or f"no values are given for the output {', '.join(absent)}",
            where=model.path.name,
            expected=", ".join(model.file_outputs),
            found=", ".join(unknown or found) or "none",
            next_step="Give every output once, by the name that it has in the file.",
        )
    return [found[name] for name in model.file_outputs]


def _limited(model: QuantizedModel, inputs: Input, images: int | None) -> Feed:
    """Return the inputs by canonical name, of so many images."""
    given = input_values(model, inputs)
    if not given:
        raise DataError(
            "the model has no input",
            where=model.path.name,
            next_step="There is nothing to verify in a network of constants.",
        )
    if len(fixed_sizes(model)) > 1:  # they have no common batch
        return given
    count = count_images(given)
    if images is None:
        return given
    if not 1 <= images <= count:
        raise DataError(
            "there is only 1 image" if count == 1 else f"there are only {count} images",
            where=model.path.name,
            expected=f"1 to {count}",
            found=images,
            next_step="Ask for fewer, or give more.",
        )
    return Feed((name, values[:images]) for name, values in given.items())


def _parts(model: QuantizedModel, given: Feed, *, whole: bool) -> Iterator[Feed]:
    """Yield the inputs batch by batch; the first batch is small."""
    if whole or fixed_sizes(model):
        size = count_images(given) if whole and len(fixed_sizes(model)) < 2 else BATCH
        yield from batches(model, given, max(size, 1))
        return
    largest = max(math.prod(d or 1 for d in edge.shape[1:]) for edge in model.edges.values())
    size = max(1, min(BATCH, BATCH_ELEMENTS // max(largest, 1)))
    first = min(FIRST_BATCH, size)
    yield from batches(model, Feed((n, v[:first]) for n, v in given.items()), first)
    yield from batches(model, Feed((n, v[first:]) for n, v in given.items()), size)


_IN_WORDS = {"conv": "convolution", "dense": "fully connected layer", "add": "addition"}

_DYNAMIC = ("ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger")


def _require_integers(model: QuantizedModel, kind: str) -> None:
    """Refuse a model, or a kind of layer, of which nothing could be checked."""
    layers = [layer for layer in model.layers if not isinstance(layer, FloatIsland)]
    if any(edge.params is not None for edge in model.edges.values()):
        if not kind or any(layer.kind == kind for layer in layers):
            return
        raise UnsupportedError(
            f"the model has no quantized {_IN_WORDS.get(kind, f'layer of kind {kind}')}",
            where=model.path.name,
            expected=", ".join(sorted({layer.kind for layer in layers})) or "another kind",
            found="; ".join(_left_out(model, kind)) or "no such operator",
            next_step="Run `bitbybit inspect` to see what each operator became.",
        )
    found = Counter(op for layer in model.layers for op, _ in layer.nodes)
    dynamic = [f"{found[op]} {op}" for op in _DYNAMIC if found[op]]
    if dynamic:
        raise UnsupportedError(
            "the model is quantized dynamically: its scales are computed anew for every input, "
            "so no layer has integers that could be checked",
            where=model.path.name,
            found=", ".join(dynamic),
            next_step="Quantize the float model statically, with sample inputs: "
            "bitbybit.quantize, or onnxruntime.quantization.quantize_static.",
        )
    raise UnsupportedError(
        f"the model has no quantized {_IN_WORDS.get(kind, 'layer')}: it is a float model",
        where=model.path.name,
        found=f"{len(model.layers)} float layers",
        next_step="Quantize it, for example with bitbybit.quantize.",
    )


def _left_out(model: QuantizedModel, kind: str) -> list[str]:
    """Return why the operators of a kind make no layer."""
    sums = {"conv": "ConvInteger", "dense": "MatMulInteger"}.get(kind, "")
    operators = {name for name, row in OPERATORS.items() if sums and row.sums == sums}
    islands = [layer for layer in model.layers if isinstance(layer, FloatIsland)]
    reasons = [x.reason for x in islands if any(op in operators for op, _ in x.nodes)]
    return list(dict.fromkeys(reasons))
