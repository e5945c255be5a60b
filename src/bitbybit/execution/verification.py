"""Is the engine right about this file?  Every layer, accumulator and output, with ``==``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitbybit.cpu import cpu_features, is_contract_platform, machine
from bitbybit.errors import DataError, UnsupportedError
from bitbybit.execution.binding import bind_parameters
from bitbybit.execution.compare import LayerResult, compare_arrays
from bitbybit.execution.engine import trace
from bitbybit.execution.feed import (
    Feed,
    Input,
    batches,
    count_images,
    fixed_batch,
    input_values,
    named,
)
from bitbybit.execution.findings import (
    ACCUMULATOR,
    DEFINITION,
    EXPECTED,
    RUNTIME,
    WHOLE,
    Check,
    Mismatch,
    Verification,
)
from bitbybit.execution.layers import compute, has_accumulator
from bitbybit.execution.runtime import (
    LayerRuntime,
    default_session_report,
)
from bitbybit.execution.stimuli import stimuli
from bitbybit.execution.trace import Trace
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, FloatIsland, Layer, QuantizedModel

FIRST_BATCH = 16
"""Images for which the obvious form of every layer is checked as well."""

BATCH = 64


def verify(
    model: str | os.PathLike[str] | QuantizedModel,
    inputs: Input | None = None,
    expected: Mapping[str, NDArray[Any]] | None = None,
    images: int | None = None,
) -> Verification:
    """Compare the exact engine with ONNX Runtime, or with expected outputs, element by element.

    Each layer is run alone in ONNX Runtime on the engine's own integers (teacher forcing), each
    accumulator is compared with ConvInteger or MatMulInteger, and the graph outputs with those
    of the untouched file.  For the first images every layer is also computed by its operator's
    definition.  With ``expected`` the graph outputs are compared with that instead, and ONNX
    Runtime is needed only for float islands.

    Parameters
    ----------
    model
        An ONNX file with quantized layers, or its canonical view.
    inputs
        Values of the graph inputs; by default :func:`bitbybit.execution.stimuli.stimuli`.  Where
        weights or scales are graph inputs, their values are needed, and become constants.
    expected
        Graph output name (canonical or ONNX) → values for all images.
    images
        How many images; by default all of ``inputs``, or 16 stimuli.

    Returns
    -------
    What was compared with whom, how many elements differ, and the first that does.

    Raises
    ------
    UnsupportedError
        The model has no quantized layer, or a layer cannot be run; its node is named.
    DataError
        An input or expected output is missing, unknown, or of another shape or dtype.
    """
    if isinstance(model, QuantizedModel):
        return _verify(model, inputs, expected, images)
    with tempfile.TemporaryDirectory() as folder:
        given = inputs if isinstance(inputs, Mapping) else None
        path, rest = bind_parameters(model, given, Path(folder))
        return _verify(load(path), inputs if given is None else rest, expected, images)


def _verify(
    model: QuantizedModel,
    inputs: Input | None,
    expected: Mapping[str, NDArray[Any]] | None,
    images: int | None,
) -> Verification:
    _require_integers(model)
    described = "given inputs"
    if inputs is None:
        inputs, images = stimuli(model, images or FIRST_BATCH), None
        described = "seeded stimuli"
    report = Verification(
        model,
        described,
        islands=tuple(layer for layer in model.layers if isinstance(layer, FloatIsland)),
        platform_problem=platform_problem(model),
    )
    if expected is None:
        _against_runtime(report, inputs, images)
    else:
        _against_outputs(report, inputs, named_outputs(model, expected), images)
    return report


def named_outputs(
    model: QuantizedModel, given: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return the edge and the expected values of graph outputs, by their name in the file.

    Raises
    ------
    DataError
        A name is no graph output, or there is none.
    """
    in_file = dict(zip(model.file_outputs or model.outputs, model.outputs, strict=True))
    names = {edge: name for name, edge in in_file.items() if model.outputs.count(edge) == 1}
    names.update((name, name) for name in in_file)
    outputs = named(given, names, f"{model.path.name}, outputs")
    if not outputs:
        raise DataError(
            "there are no expected outputs",
            where=model.path.name,
            expected=", ".join(model.outputs),
            found="none",
            next_step="Give at least one.",
        )
    return {name: (in_file[name], values) for name, values in outputs.items()}


def _against_runtime(report: Verification, inputs: Input, images: int | None) -> None:
    model, runtime = report.model, LayerRuntime(report.model)
    for begin, part in _parts(model, inputs, images):
        mine = trace(model, part)
        report.images = begin + _count(part)
        for layer in model.layers:
            if isinstance(layer, FloatIsland):
                continue
            if begin == 0:
                _check_definition(report, layer, mine)
            theirs = runtime.output(layer, mine)
            _record(report, layer, RUNTIME, theirs, mine[layer.name], mine, begin)
            sums = runtime.accumulator(layer, mine)
            if sums is not None:
                own = mine.accumulator(layer.name)
                _record(report, layer, ACCUMULATOR, sums.reshape(own.shape), own, mine, begin)
        for name, theirs in runtime.whole(part).items():
            _record(report, name, WHOLE, theirs, mine[name], mine, begin)
        if begin == 0:
            report.default_session = default_session_report(model, part)


def _against_outputs(
    report: Verification,
    inputs: Input,
    expected: Mapping[str, tuple[str, NDArray[Any]]],
    images: int | None,
) -> None:
    model = report.model
    for begin, part in _parts(model, inputs, images):
        mine = trace(model, part)
        report.images = begin + _count(part)
        for layer in model.layers:
            if begin == 0 and not isinstance(layer, FloatIsland):
                _check_definition(report, layer, mine)
        for edge, values in expected.values():
            theirs = values[begin : begin + len(mine[edge])]
            _record(report, edge, EXPECTED, theirs, mine[edge], mine, begin)
    for name, (_, values) in expected.items():
        if len(values) != report.images:
            raise DataError(
                "the expected output has another number of images",
                where=name,
                expected=report.images,
                found=len(values),
                next_step="Give the expected outputs of exactly these inputs.",
            )


def _check_definition(report: Verification, layer: Layer, mine: Trace) -> None:
    made = compute(report.model, layer, [mine[name] for name in layer.inputs])
    _record(report, layer, DEFINITION, made, mine[layer.name], mine, 0)


def _record(
    report: Verification,
    layer: Layer | str,
    authority: str,
    theirs: NDArray[Any],
    own: NDArray[Any],
    mine: Trace,
    begin: int,
) -> None:
    """Compare, and merge with what earlier batches gave; keep the first mismatch."""
    name, kind = (layer, "output") if isinstance(layer, str) else (layer.name, layer.kind)
    params = report.model.edges[name].params if name in report.model.edges else None
    zero = 0 if params is None or authority == ACCUMULATOR else params.zero_point
    result = compare_arrays(name, theirs, own, zero)
    if result.first_index is not None and report.first is None:
        report.first = _mismatch(mine, layer, authority, result, begin)
    for place, check in enumerate(report.checks):
        if (check.layer, check.authority) == (name, authority):
            merged = check.result.merged(result, begin)
            report.checks[place] = Check(name, kind, authority, merged)
            return
    report.checks.append(Check(name, kind, authority, result))


def _mismatch(
    mine: Trace, layer: Layer | str, authority: str, result: LayerResult, begin: int
) -> Mismatch:
    index = result.first_index or ()
    accumulator = None
    if isinstance(layer, Layer) and has_accumulator(layer):
        accumulator = int(mine.accumulator(layer.name)[index])
    shown = (index[0] + begin, *index[1:]) if index else index
    expected, found = result.first_expected or 0, result.first_actual or 0
    return Mismatch(result.name, authority, shown, expected, found, accumulator)


def _parts(model: QuantizedModel, inputs: Input, images: int | None) -> Iterator[tuple[int, Feed]]:
    """Yield the number of the first image and the inputs, batch by batch; the first is small."""
    given = input_values(model, inputs)
    if not given:
        raise DataError(
            "the model has no input",
            where=model.path.name,
            next_step="There is nothing to verify in a network of constants.",
        )
    count = count_images(given)
    if images is not None and images > count:
        raise DataError(
            f"there are only {count} images",
            expected=f"1 to {count}",
            found=images,
            where=model.path.name,
            next_step="Ask for fewer, or give more inputs.",
        )
    given = Feed({name: values[:images] for name, values in given.items()})
    begin = 0
    first = Feed({name: values[:FIRST_BATCH] for name, values in given.items()})
    rest = Feed({name: values[FIRST_BATCH:] for name, values in given.items()})
    windows = ((given, BATCH),) if fixed_batch(model) else ((first, FIRST_BATCH), (rest, BATCH))
    for window, size in windows:
        for part in batches(model, window, size):
            yield begin, part
            begin += _count(part)
    if begin == 0:
        raise DataError(
            "there are no images to verify",
            where=model.path.name,
            next_step="Give at least one image.",
        )


def _count(part: Feed) -> int:
    return len(next(iter(part.values())))


def _require_integers(model: QuantizedModel) -> None:
    if all(edge.params is None for edge in model.edges.values()):
        raise UnsupportedError(
            "the model has no quantized layer",
            where=model.path,
            found=f"{len(model.layers)} float layers",
            next_step="Quantize it with scripts/quantize_onnx.py.",
        )


def platform_problem(model: QuantizedModel) -> str:
    """Say why ONNX Runtime need not be exact here, "" where it must be."""
    pairs = {
        (model.edges[layer.inputs[0]].dtype.name, layer.weight.values.dtype.name)
        for layer in model.layers
        if isinstance(layer, (Conv, Dense))
    } or {("int8", "int8")}
    for activation, weight in sorted(pairs):
        if not is_contract_platform(activation, weight):
            features = ", ".join(sorted(cpu_features())) or "none that matter"
            return (
                f"{activation} activations with {weight} weights: ONNX Runtime need not be exact "
                f"on this CPU ({machine()}; {features})"
            )
    return ""
