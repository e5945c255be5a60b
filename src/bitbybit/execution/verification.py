"""Is the engine right about this file? Every layer, accumulator and output, with ``==``.

What the engine made and what an authority made goes into one tally, array by array.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import UnsupportedError
from bitbybit.execution import feed, verdict
from bitbybit.execution.compare import require_alike
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import Trace, compute, has_accumulator, trace
from bitbybit.execution.exhaustive import all_inputs
from bitbybit.execution.runtime import FileRuntime, platform_problem
from bitbybit.execution.verdict import DefaultSession, Verification
from bitbybit.model import types
from bitbybit.model.load import load
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import AnyArray, FloatIsland, Layer, QuantizedModel

FIRST_BATCH = 16
"""Images for which the obvious form of every layer is checked as well."""

BATCH = 64

BATCH_ELEMENTS = 1 << 23
"""Elements of the largest edge of one batch: memory grows with the largest layer, not with 64."""

TRACE_ELEMENTS = 1 << 24
"""Elements of all edges of one batch, which are kept while they are compared."""


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
    ``expected`` those tensors are compared with that instead of ONNX Runtime's.

    Parameters
    ----------
    model
        An ONNX file with quantized layers, or its canonical view.
    inputs
        Values of the graph inputs, by the file's names or canonical ones; by default
        :func:`bitbybit.execution.feed.stimuli`.
    expected
        Name → values for all images, in the tensor's dtype: of a graph output or any other tensor
        (the file's name, or the canonical one), or ``LAYER.acc``, the int32 accumulators of a
        layer with their bias. Some are enough; outputs that are left out are noted.
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
    require_integers(network, kind)
    what = "given inputs"
    if inputs is None:
        inputs, images, what = feed.stimuli(network, images or FIRST_BATCH), None, "seeded stimuli"
    outputs = None if expected is None else _expected(network, expected)
    run = _Run(Verification(model=network, inputs=what, kind=kind), outputs)
    run.on_images(_limited(network, inputs, images))
    if not quick and (outputs is None or not run.found.platform_problem):
        run.on_all_inputs()
    run.found.default_session = run.default_session()
    return run.found


class _Run:
    """One verification; ``found`` is its tally."""

    def __init__(self, found: Verification, expected: dict[Tap, AnyArray] | None) -> None:
        self.model, self.found, self.expected = found.model, found, expected
        self.runtime = LayerRuntime(self.model)
        self.layers = [
            layer
            for layer in self.model.layers
            if not isinstance(layer, FloatIsland) and found.kind in ("", layer.kind)
        ]
        found.platform_problem = platform_problem(self.model)

    @cached_property
    def whole(self) -> FileRuntime | None:
        """The whole file as the integer graph, where outputs are compared with that."""
        asked = self.expected is None and not self.found.kind
        return FileRuntime(self.model) if asked else None

    @cached_property
    def default(self) -> FileRuntime | None:
        """The whole file in a session with default options, where the runtime takes it."""
        if self.whole is None:
            return None
        try:
            return FileRuntime(self.model, int8_allowed=False)
        except UnsupportedError as error:
            self.found.note(f"a session with default options ({error})")
            return None

    def on_images(self, inputs: feed.Feed) -> None:
        """Compare everything that images make, batch by batch."""
        made: list[list[AnyArray]] = []
        for part in self._batches(inputs):
            mine, begin = trace(self.model, part), self.found.images
            self.found.images += max(len(values) if values.ndim else 1 for values in part.values())
            for layer in self.model.layers:
                self.found.elements_of[layer.name] += mine[layer.name].size
            for layer in self.layers:
                self._layer(layer, mine, begin)
            if self.found.kind:
                continue
            ours = [self._output(name, mine) for name in self.model.outputs]
            for authority, file in ((verdict.WHOLE, self.whole), (verdict.DEFAULT, self.default)):
                if file is not None:
                    self._outputs(authority, file.run(part), ours, begin)
            if self.expected is not None:  # no larger in the end than what was given
                made.append([self._tapped(tap, mine) for tap in self.expected])
        if not self.found.images:
            where, what = self.model.path.name, "there are no images to verify"
            raise feed.wrong(where, what, "Give at least one.")
        if self.expected is not None and made:
            parts = zip(*made, strict=True)
            ours = [p[0] if len(p) == 1 else np.concatenate(np.atleast_1d(*p)) for p in parts]
            self._against_expected(self.expected, ours)

    def default_session(self) -> DefaultSession | None:
        """Return what a session with default options did, None where there was none."""
        if self.default is None or self.whole is None:
            return None
        tally = self.found.tally.items()
        return DefaultSession(
            operators=self.default.operators,
            float_nodes=self.default.float_nodes(self.runtime.island_tensors()),
            all_float_nodes=len(self.default.float_nodes()),
            outputs=tuple(check for (_, who), check in tally if who == verdict.DEFAULT),
            allowed_operators=self.whole.operators,
        )

    def _batches(self, inputs: feed.Feed) -> Iterator[feed.Feed]:
        """Return the inputs batch by batch; the first batch is small."""
        edges = self.model.edges
        sizes = [max(math.prod(d or 1 for d in edge.shape[1:]), 1) for edge in edges.values()]
        size = max(1, min(BATCH, BATCH_ELEMENTS // max(sizes), TRACE_ELEMENTS // sum(sizes)))
        shapes = [edges[tap.edge].shape for tap in self.expected or ()]
        no_batch = any(not shape or shape[0] is not None for shape in shapes)
        if self.expected is not None and no_batch and len(feed.fixed_sizes(self.model)) < 2:
            size = max(feed.count_images(inputs), 1)
            return feed.batches(self.model, inputs, size)
        return feed.batches(self.model, inputs, size, FIRST_BATCH)

    def _layer(self, layer: Layer, mine: Trace, begin: int) -> None:
        """Compare one layer with every authority on it."""
        name, kind, ours = layer.name, layer.kind, mine[layer.name]
        params = self.model.edges[name].params
        sums = partial(mine.accumulator, name) if has_accumulator(layer) else None
        if begin == 0:
            defined = compute(self.model, layer, [mine[edge] for edge in layer.inputs])
            self.found.of(verdict.DEFINITION, name, kind).add(defined, ours, params, begin, sums)
        if self.expected is not None:
            return
        theirs = self.runtime.output(layer, mine)
        self.found.of(verdict.RUNTIME, name, kind).add(theirs, ours, params, begin, sums)
        try:
            found = self.runtime.accumulator(layer, mine)
        except UnsupportedError as error:
            self.found.note(f"the integer sums of {error}")
            return
        if found is not None:
            own = mine.accumulator(name)
            self.found.of(verdict.ACCUMULATOR, name, kind).add(
                found.reshape(own.shape), own, begin=begin
            )
            if own.size:
                seen = (*self.found.sums_of.get(name, ()), int(own.min()), int(own.max()))
                self.found.sums_of[name] = min(seen), max(seen)

    def _output(self, name: str, mine: Trace) -> AnyArray:
        """Return a graph output of the engine.

        Behind a float island the engine's integers go through the file's own float nodes, from
        the last integers on: cut out alone, an island need not be optimized as in its file.
        """
        layers = {layer.name: layer for layer in self.model.layers}

        def source(edge: str) -> str:
            while isinstance(layers.get(edge), (types.Reshape, types.Move, types.MaxPool)):
                (edge,) = layers[edge].inputs
            return edge

        island = layers.get(name)
        if not isinstance(island, FloatIsland):
            return mine[name]
        sources = tuple(source(edge) for edge in island.inputs)
        if sources == island.inputs:
            return mine[name]
        ours = self.runtime.between(sources, name, mine)
        if not np.array_equal(ours, mine[name], equal_nan=ours.dtype.kind == "f"):
            other = "ONNX Runtime optimizes its float nodes otherwise"
            self.found.note(f"{name} as trace gives it: {other} without the reshape before them")
        return ours

    def _outputs(
        self, authority: str, theirs: list[AnyArray], ours: list[AnyArray], begin: int
    ) -> None:
        """Compare the graph outputs; two that are one edge have the names of the file."""
        count = Counter(self.model.outputs)
        names = zip(self.model.outputs, self.model.file_outputs, strict=True)
        for (name, in_file), his, mine in zip(names, theirs, ours, strict=True):
            shown = name if count[name] == 1 else in_file
            params = self.model.edges[name].params
            self.found.of(authority, shown, "output").add(his, mine, params, begin)

    def _tapped(self, tap: Tap, mine: Trace) -> AnyArray:
        """Return what the engine makes of an expected tensor."""
        if tap.what == ACCUMULATOR:
            return mine.accumulator(tap.edge)
        return self._output(tap.edge, mine) if tap.what == OUTPUT else mine[tap.edge]

    def _against_expected(self, expected: Mapping[Tap, AnyArray], ours: list[AnyArray]) -> None:
        """Compare tensors with what was expected of them, and note outputs that were not."""
        for (tap, theirs), mine in zip(expected.items(), ours, strict=True):
            require_alike(tap.shown, theirs, mine)
            params = None if tap.what == ACCUMULATOR else self.model.edges[tap.edge].params
            self.found.of(verdict.EXPECTED, tap.shown, tap.what).add(theirs, mine, params)
        for tap in dict.fromkeys(_taps(self.model).values()):
            if tap.what == OUTPUT and tap not in expected:
                self.found.note(f"{tap.shown}: nothing was expected of this output")

    def on_all_inputs(self) -> None:
        """Compare every layer on all its inputs, where they are finitely many."""
        for layer in self.layers:
            begin = 0
            for theirs, ours, acc in all_inputs(self.model, layer, self.runtime):
                sums = None if acc is None else partial(np.asarray, acc)
                result = self.found.of(verdict.EXHAUSTIVE, layer.name, layer.kind)
                result.add(theirs, ours, begin=begin, sums=sums)
                begin += len(ours)


class Tap(NamedTuple):
    """A tensor of which something is expected: what it is, its edge, and how it is shown."""

    what: str
    edge: str
    shown: str


OUTPUT, TENSOR, ACCUMULATOR = "output", "tensor", "accumulator"


def _taps(model: QuantizedModel) -> dict[str, Tap]:
    """Return every tensor by each name that it may be given; the file's outputs count first."""
    layers = (layer for layer in model.layers if has_accumulator(layer))
    found = {f"{x.name}.acc": Tap(ACCUMULATOR, x.name, f"{x.name}.acc") for x in layers}
    tensors = {name: Tap(TENSOR, name, name) for name in model.edges}
    found |= tensors | {e.onnx_name: tensors[e.name] for e in model.edges.values() if e.onnx_name}
    count = Counter(model.outputs)
    outputs = {
        in_file: Tap(OUTPUT, name, name if count[name] == 1 else in_file)
        for name, in_file in zip(model.outputs, model.file_outputs, strict=True)
    }
    found |= {tap.edge: tap for tap in outputs.values() if count[tap.edge] == 1}
    return found | outputs


def _expected(model: QuantizedModel, given: Mapping[str, NDArray[Any]]) -> dict[Tap, AnyArray]:
    """Return what is expected, tensor by tensor: all outputs, unless others are given too."""
    taps = _taps(model)
    unknown = [name for name in given if name not in taps]
    meant = {taps[name] for name in given if name in taps}
    absent = [name for name in model.file_outputs if taps[name] not in meant]
    if unknown or (absent and all(tap.what == OUTPUT for tap in meant)):
        outputs = f"no values are given for the output {', '.join(absent)}"
        raise feed.wrong(
            model.path.name,
            "the model has no such tensor" if unknown else outputs,
            "Use the names that the file or `bitbybit inspect` has, or LAYER.acc."
            if unknown
            else "Give every output once, by the name that it has in the file.",
            expected=", ".join(model.file_outputs),
            found=", ".join(unknown or given) or "none",
        )
    places = {tap: str(place) for place, tap in enumerate(dict.fromkeys(taps.values()))}
    names = {name: places[tap] for name, tap in taps.items()}
    found = feed.named(given, names, f"{model.path.name}, expected tensors")
    return {tap: found[place] for tap, place in places.items() if place in found}


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


def require_integers(model: QuantizedModel, kind: str = "") -> None:
    """Refuse a model, or a kind of layer, of which nothing could be checked.

    Parameters
    ----------
    model
        The canonical view of a file.
    kind
        A kind of layer ("conv", ...), of which there must be one; by default any.

    Raises
    ------
    UnsupportedError
        It has no such layer with integers; the sentence says what it has instead.
    """
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
