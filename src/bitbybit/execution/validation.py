"""One kind of operator, worked out in its two stages and compared with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.execution.compare import LayerResult, compare_arrays
from bitbybit.execution.engine import trace
from bitbybit.execution.feed import Input, feed
from bitbybit.execution.layers import accumulate, compute, describe, params
from bitbybit.execution.runtime import LayerRuntime
from bitbybit.model.types import Conv, Dense, QuantizedModel, QuantParams


@dataclass(frozen=True)
class Validation:
    """What was found for one layer.

    Attributes
    ----------
    layer : canonical name
    node : the ONNX node, in words
    parameters : operand → scale and zero point: of the input, the weight and the output
    shapes : operand → shape of input, weight, bias (if any) and output
    accumulators : smallest and largest int32 accumulator that was seen
    sums : the accumulators against ConvInteger or MatMulInteger, None where that cannot show them
    stages : stage 2 of these accumulators against ONNX Runtime's own operator
    operator : the operator by its definition, in one call, against the same
    """

    layer: str
    node: str
    parameters: dict[str, QuantParams]
    shapes: dict[str, tuple[int, ...]]
    accumulators: tuple[int, int]
    sums: LayerResult | None
    stages: LayerResult
    operator: LayerResult

    @property
    def passed(self) -> bool:
        """Whether every element is equal."""
        return not any(result.mismatches for result in self.results)

    @property
    def results(self) -> list[LayerResult]:
        """The comparisons that were made."""
        return [r for r in (self.sums, self.stages, self.operator) if r is not None]

    @property
    def largest_difference(self) -> float:
        """The largest difference of any comparison: codes, or accumulator units."""
        return max(result.largest_difference for result in self.results)


def validate(model: QuantizedModel, kind: type[Conv | Dense], inputs: Input) -> list[Validation]:
    """Work out every layer of a kind by hand and compare it with ONNX Runtime.

    Stage 1 gives int32 accumulators, stage 2 requantizes them.  ONNX Runtime runs the same layer,
    cut out of the file, on the same codes.  Equal means ``==`` for every element.

    Parameters
    ----------
    model
        A network with a file.
    kind
        :class:`Conv` (QLinearConv, fused QDQ Conv) or :class:`Dense` (QGemm, QLinearMatMul, fused
        QDQ Gemm or MatMul).
    inputs
        Graph inputs, as for :func:`bitbybit.trace`.

    Returns
    -------
    One finding per quantized layer of that kind, in graph order; empty if there is none.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run a layer.
    """
    edges = model.edges
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, kind) and edges[layer.name].params is not None
    ]
    if not layers:
        return []
    values, runtime = trace(model, feed(model, inputs)), LayerRuntime(model)
    return [_validate(model, layer, values[layer.inputs[0]], runtime) for layer in layers]


def _validate(
    model: QuantizedModel, layer: Conv | Dense, codes: NDArray[Any], runtime: LayerRuntime
) -> Validation:
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    w = params(layer.weight, layer)
    acc = accumulate(model, layer, [codes])
    if isinstance(layer, Conv):
        multiplier, axis = arithmetic.conv_multiplier(x.scale, w.scale, y.scale), 1
    else:
        multiplier, axis = arithmetic.gemm_multiplier(x.scale, w.scale, y.scale), acc.ndim - 1
    by_stages = arithmetic.requantize(acc, multiplier, y.zero_point, axis)
    given = {layer.inputs[0]: codes}
    theirs, sums = runtime.output(layer, given), runtime.accumulator(layer, given)
    shapes = {"x": codes.shape, "w": layer.weight.values.shape}
    if layer.bias is not None:
        shapes["b"] = layer.bias.values.shape
    return Validation(
        layer.name,
        describe(layer),
        {"x": x, "w": w, "y": y},
        shapes | {"y": theirs.shape},
        (int(acc.min()), int(acc.max())),
        None if sums is None else compare_arrays("accumulators", sums.reshape(acc.shape), acc),
        compare_arrays("two stages", theirs, by_stages),
        compare_arrays("operator", theirs, np.asarray(compute(model, layer, [codes]))),
    )


def as_lines(found: Validation) -> list[str]:
    """Return the finding about one layer as text: parameters, shapes, verdict."""
    lines = [found.node]
    for name, p in found.parameters.items():
        lines += [
            f"  {name}_scale       {_scales(p)}",
            f"  {name}_zero_point  {_zeros(p)} ({p.dtype})",
        ]
    lines.append("  shapes         " + ", ".join(f"{n} {list(s)}" for n, s in found.shapes.items()))
    lines.append("  accumulators   {:,} to {:,}".format(*found.accumulators))
    for result in found.results:
        lines.append(
            f"  {result.name:<14} {result.elements:,} elements, {result.mismatches:,} mismatches"
        )
        if result.first_index is not None:
            lines.append(
                f"    first at {list(result.first_index)}: "
                f"expected {result.first_expected}, found {result.first_actual}"
            )
    verdict = "PASS" if found.passed else "FAIL"
    return [*lines, f"  {verdict}, maximum difference {found.largest_difference:g}"]


def _scales(p: QuantParams) -> str:
    values = np.asarray(p.scale).reshape(-1)
    if not p.per_channel:
        return f"{values[0]!s} ({float(values[0]).hex()})"
    return (
        f"{values.size} per channel: {values.min()!s} to {values.max()!s}, mean {values.mean()!s}"
    )


def _zeros(p: QuantParams) -> str:
    values = np.unique(p.zero_point)
    return str(values[0]) if values.size == 1 else f"{values[0]} to {values[-1]}"
