"""Is the engine right about this file? Every layer, accumulator and output, with ``==``.

One generator yields what the engine made beside what an authority made, one comparison counts.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import UnsupportedError
from bitbybit.execution import feed, verdict
from bitbybit.execution.compare import LayerResult, Mismatch, compare_arrays, described
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import Trace, compute, has_accumulator, trace
from bitbybit.execution.exhaustive import all_inputs
from bitbybit.execution.runtime import FileRuntime, platform_problem
from bitbybit.execution.verdict import Check, DefaultSession, Verification
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


def verify(
    model: str | os.PathLike[str] | QuantizedModel,
    inputs: feed.Input | None = None,
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
    what = "given inputs"
    if inputs is None:
        inputs, images, what = feed.stimuli(network, images or FIRST_BATCH), None, "seeded stimuli"
    outputs = None if expected is None else _expected(network, expected)
    run = _Run(network, kind, outputs)
    run.on_images(_limited(network, inputs, images))
    if not quick and (outputs is None or not run.platform_problem):
        run.on_all_inputs()
    return run.report(what)


class _Run:
    """What has been compared so far: each comparison of two arrays goes into one tally."""

    def __init__(self, model: QuantizedModel, kind: str, expected: list[AnyArray] | None) -> None:
        self.model, self.kind, self.expected = model, kind, expected
        self.runtime = LayerRuntime(model)
        self.platform_problem = platform_problem(model)
        self.layers = [
            layer
            for layer in model.layers
            if not isinstance(layer, FloatIsland) and kind in ("", layer.kind)
        ]
        self.images = 0
        self.checks: dict[tuple[str, str], Check] = {}
        self.elements_of = Counter[str]()
        self.sums_of: dict[str, tuple[int, int]] = {}
        self.notes: dict[str, None] = {}

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

    def compare(
        self,
        authority: str,
        layer: tuple[str, str],
        arrays: tuple[AnyArray, AnyArray],
        begin: int = 0,
        *,
        edge: types.Edge | None = None,
        sums: Callable[[], AnyArray] | None = None,
    ) -> None:
        """Compare two arrays and add the result to the tally, which keeps the first mismatch.

        Parameters
        ----------
        authority
            Who made the first array.
        layer
            Canonical name and kind of a layer, or the name of a graph output and "output".
        arrays
            What the authority made, and what the engine made.
        begin
            The image with which they begin.
        edge
            Its scale and zero point are those of the arrays; None for integer sums.
        sums
            Gives the accumulators at the same places, None where there are none.
        """
        name, kind = layer
        theirs, ours = arrays
        if described(theirs) != described(ours) and authority != verdict.EXPECTED:
            first = Mismatch((), described(theirs), described(ours))
            count = max(ours.size, 1)
            result = LayerResult(
                name=name,
                elements=ours.size,
                mismatches=count,
                largest_difference=math.inf,
                first=first,
            )
        else:
            params = None if edge is None else edge.params
            zero, axis = (0, None) if params is None else (params.zero_point, params.axis)
            result = compare_arrays(name, theirs, ours, zero, axis)
            if result.first is not None and sums is not None:
                accumulator = int(sums()[result.first.index])
                result = replace(result, first=replace(result.first, accumulator=accumulator))
        before = self.checks.get((name, authority))
        if before is not None:
            result = before.result.merged(result, begin)
        self.checks[name, authority] = Check(name, kind, authority, result)

    def on_images(self, inputs: feed.Feed) -> None:
        """Compare everything that images make, batch by batch."""
        made: list[list[AnyArray]] = []
        for part in self._batches(inputs):
            mine, begin = trace(self.model, part), self.images
            self.images += max(len(values) if values.ndim else 1 for values in part.values())
            for layer in self.model.layers:
                self.elements_of[layer.name] += mine[layer.name].size
            for layer in self.layers:
                self._layer(layer, mine, begin)
            if self.kind:
                continue
            ours = [self._output(name, mine) for name in self.model.outputs]
            for authority, file in ((verdict.WHOLE, self.whole), (DEFAULT, self.default)):
                if file is not None:
                    self._outputs(authority, file.run(part), ours, begin)
            if self.expected is not None:  # no larger in the end than what was given
                made.append(ours)
        if not self.images:
            raise feed.wrong(
                self.model.path.name, "there are no images to verify", "Give at least one."
            )
        if self.expected is not None and made:
            ours = [p[0] if len(p) == 1 else np.concatenate(p) for p in zip(*made, strict=True)]
            self._outputs(verdict.EXPECTED, self.expected, ours, 0)

    def _batches(self, inputs: feed.Feed) -> Iterator[feed.Feed]:
        """Return the inputs batch by batch; the first batch is small."""
        edges = self.model.edges
        largest = max(math.prod(d or 1 for d in edge.shape[1:]) for edge in edges.values())
        size = max(1, min(BATCH, BATCH_ELEMENTS // max(largest, 1)))
        shapes = [edges[name].shape for name in self.model.outputs]
        no_batch = any(not shape or shape[0] is not None for shape in shapes)
        if self.expected is not None and no_batch and len(feed.fixed_sizes(self.model)) < 2:
            size = max(feed.count_images(inputs), 1)
            return feed.batches(self.model, inputs, size)
        return feed.batches(self.model, inputs, size, FIRST_BATCH)

    def _layer(self, layer: Layer, mine: Trace, begin: int) -> None:
        """Compare one layer with every authority on it."""
        key, ours, edge = (layer.name, layer.kind), mine[layer.name], self.model.edges[layer.name]
        sums = partial(mine.accumulator, layer.name) if has_accumulator(layer) else None
        if begin == 0:
            defined = compute(self.model, layer, [mine[name] for name in layer.inputs])
            self.compare(verdict.DEFINITION, key, (defined, ours), begin, edge=edge, sums=sums)
        if self.expected is not None:
            return
        theirs = self.runtime.output(layer, mine)
        self.compare(verdict.RUNTIME, key, (theirs, ours), begin, edge=edge, sums=sums)
        try:
            found = self.runtime.accumulator(layer, mine)
        except UnsupportedError as error:
            self.notes[f"the integer sums of {error}"] = None
            return
        if found is not None:
            own = mine.accumulator(layer.name)
            self.compare(verdict.ACCUMULATOR, key, (found.reshape(own.shape), own), begin)
            if own.size:
                seen = (*self.sums_of.get(layer.name, ()), int(own.min()), int(own.max()))
                self.sums_of[layer.name] = min(seen), max(seen)

    def _output(self, name: str, mine: Trace) -> AnyArray:
        """Return a graph output of the engine.

        Behind a float island the engine's integers go through the file's own float nodes, from
        the last integers on: cut out alone, an island need not be optimized as in its file.
        """
        makers = {layer.name: layer for layer in self.model.layers}
        island = makers.get(name)
        if not isinstance(island, FloatIsland):
            return mine[name]
        sources = []
        for edge in island.inputs:
            source = edge
            while isinstance(makers.get(source), types.Reshape):
                (source,) = makers[source].inputs
            sources.append(source)
        if tuple(sources) == island.inputs:
            return mine[name]
        ours = self.runtime.between(tuple(sources), name, mine)
        if not np.array_equal(ours, mine[name], equal_nan=ours.dtype.kind == "f"):
            note = (
                "ONNX Runtime optimizes its float nodes otherwise without the reshape before them"
            )
            self.notes[f"{name} as trace gives it: {note}"] = None
        return ours

    def _outputs(
        self, authority: str, theirs: list[AnyArray], ours: list[AnyArray], begin: int
    ) -> None:
        """Compare the graph outputs; two that are one edge have the names of the file."""
        count = Counter(self.model.outputs)
        names = zip(self.model.outputs, self.model.file_outputs, strict=True)
        for (name, in_file), his, mine in zip(names, theirs, ours, strict=True):
            shown = name if count[name] == 1 else in_file
            edge = self.model.edges[name]
            self.compare(authority, (shown, "output"), (his, mine), begin, edge=edge)

    def on_all_inputs(self) -> None:
        """Compare every layer on all its inputs, where they are finitely many."""
        for layer in self.layers:
            begin, key = 0, (layer.name, layer.kind)
            for theirs, ours, acc in all_inputs(self.model, layer, self.runtime):
                sums = None if acc is None else partial(np.asarray, acc)
                self.compare(verdict.EXHAUSTIVE, key, (theirs, ours), begin, sums=sums)
                begin += len(ours)

    def report(self, described_inputs: str) -> Verification:
        """Return what was found."""
        default = None
        if self.default is not None and self.whole is not None:
            default = DefaultSession(
                operators=self.default.operators,
                float_nodes=self.default.float_nodes(self.runtime.island_tensors()),
                all_float_nodes=len(self.default.float_nodes()),
                outputs=tuple(c.result for c in self.checks.values() if c.authority == DEFAULT),
                allowed_operators=self.whole.operators,
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
            notes=tuple(self.notes),
        )


def _expected(model: QuantizedModel, given: Mapping[str, NDArray[Any]]) -> list[AnyArray]:
    """Return the expected outputs in file order; every output must be there once."""
    count = Counter(model.outputs)
    outputs = zip(model.outputs, model.file_outputs, strict=True)
    names = {name: in_file for name, in_file in outputs if count[name] == 1}
    names |= {in_file: in_file for in_file in model.file_outputs}
    unknown = [name for name in given if name not in names]
    found = {} if unknown else feed.named(given, names, f"{model.path.name}, outputs")
    absent = [name for name in model.file_outputs if name not in found]
    if absent:
        what = f"no values are given for the output {', '.join(absent)}"
        raise feed.wrong(
            model.path.name,
            "the model has no such output" if unknown else what,
            "Give every output once, by the name that it has in the file.",
            expected=", ".join(model.file_outputs),
            found=", ".join(unknown or found) or "none",
        )
    return [found[name] for name in model.file_outputs]


def _limited(model: QuantizedModel, inputs: feed.Input, images: int | None) -> feed.Feed:
    """Return the inputs by canonical name, of so many images."""
    given = feed.input_values(model, inputs)
    if not given:
        next_step = "There is nothing to verify in a network of constants."
        raise feed.wrong(model.path.name, "the model has no input", next_step)
    if images is None or len(feed.fixed_sizes(model)) > 1:  # then they have no common batch
        return given
    count = feed.count_images(given)
    if not 1 <= images <= count:
        what = "there is only 1 image" if count == 1 else f"there are only {count} images"
        next_step = "Ask for fewer, or give more."
        raise feed.wrong(model.path.name, what, next_step, f"1 to {count}", images)
    return feed.Feed((name, values[:images]) for name, values in given.items())


_IN_WORDS = {"": "layer", "conv": "convolution", "dense": "fully connected layer"}
_IN_WORDS |= {"add": "addition"}

_DYNAMIC = ("ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger")


def _require_integers(model: QuantizedModel, kind: str) -> None:
    """Refuse a model, or a kind of layer, of which nothing could be checked."""
    layers = [layer for layer in model.layers if not isinstance(layer, FloatIsland)]
    operators = Counter(op for layer in model.layers for op, _ in layer.nodes)
    dynamic = [f"{operators[op]} {op}" for op in _DYNAMIC if operators[op]]
    what = f"the model has no quantized {_IN_WORDS.get(kind, f'layer of kind {kind}')}"
    expected = ""
    if any(edge.params is not None for edge in model.edges.values()):
        if not kind or any(layer.kind == kind for layer in layers):
            return
        expected = ", ".join(sorted({layer.kind for layer in layers})) or "another kind"
        found = "; ".join(_left_out(model, kind)) or "no such operator"
        next_step = "Run `bitbybit inspect` to see what each operator became."
    elif dynamic:
        what = (
            "the model is quantized dynamically: its scales are computed anew for every input, "
            "so no layer has integers that could be checked"
        )
        found = ", ".join(dynamic)
        next_step = (
            "Quantize the float model statically, with sample inputs: "
            "bitbybit.quantize, or onnxruntime.quantization.quantize_static."
        )
    else:
        what += ": it is a float model"
        found = f"{len(model.layers)} float layers"
        next_step = "Quantize it, for example with bitbybit.quantize."
    raise UnsupportedError(
        what, where=model.path.name, expected=expected, found=found, next_step=next_step
    )


def _left_out(model: QuantizedModel, kind: str) -> list[str]:
    """Return why the operators of a kind make no layer."""
    sums = {"conv": "ConvInteger", "dense": "MatMulInteger"}.get(kind, "")
    operators = {name for name, row in OPERATORS.items() if sums and row.sums == sums}
    islands = [layer for layer in model.layers if isinstance(layer, FloatIsland)]
    reasons = [x.reason for x in islands if any(op in operators for op, _ in x.nodes)]
    return list(dict.fromkeys(reasons))
