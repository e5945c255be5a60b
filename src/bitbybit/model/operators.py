"""The table of operators: all that reading, running and describing needs to know about each.

A row is the operator's signature in the words of its specification.  What is where follows from
the names: ``x_scale`` and ``x_zero_point`` belong to the input ``x``, or, if there is no such
input, to the output of that name.  A test compares every signature with the schemas that ONNX and
ONNX Runtime publish.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

ONNX_DOMAIN = ""
MICROSOFT = "com.microsoft"

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

SIXTEEN_BITS_SINCE = 21
"""The first ONNX opset whose QuantizeLinear knows 16-bit codes; com.microsoft's knows them too."""

_SCALE, _ZERO_POINT = "_scale", "_zero_point"


class Operand(NamedTuple):
    """A quantized operand: its name, and the input positions of what belongs to it.

    ``value`` is None for the output, ``scale`` or ``zero_point`` where the operator takes none.
    """

    name: str
    value: int | None
    scale: int | None
    zero_point: int | None


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes
    ----------
    name : operator type, the same in all its domains
    signature : inputs, "->", outputs, as the specification calls them; "?" marks an input or
        output that may be left out, "*" one that may be repeated
    domains : where it is defined, "" the ONNX domain
    twin : the ONNX operator that it mimics on codes: between DequantizeLinear and QuantizeLinear
        the twin says the same
    weight_axis : the axis of the weight with the output channels (Gemm, QGemm: without transB);
        None for an operator that multiplies by no weight
    sums : the operator that shows its integer accumulator
    keeps : what it keeps of its first input: all elements in their "order", "all" elements in
        another order, "some" elements, or what its attributes "choose" (it may add or mix
        elements too); "" an operator that computes
    codes_since : the ONNX opset since which an operator that keeps elements takes 8-bit codes
    """

    name: str
    signature: str
    domains: tuple[str, ...] = (ONNX_DOMAIN,)
    twin: str = ""
    weight_axis: int | None = None
    sums: str = ""
    keeps: Literal["", "order", "all", "some", "choose"] = ""
    codes_since: int = 1

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(n.rstrip("?*") for n in self.signature.partition("->")[0].split())

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(n.rstrip("?*") for n in self.signature.partition("->")[2].split())

    @cached_property
    def least_inputs(self) -> int:
        """How many inputs must be there: up to the last one that may not be left out."""
        marked = self.signature.partition("->")[0].split()
        return max(i + 1 for i, name in enumerate(marked) if name[-1] not in "?*")

    @cached_property
    def most_inputs(self) -> int | None:
        """The largest number of inputs, None where the last one may be repeated."""
        return None if "*" in self.signature.partition("->")[0] else len(self.inputs)

    @cached_property
    def most_outputs(self) -> int | None:
        """The largest number of outputs, None where the last one may be repeated."""
        return None if "*" in self.signature.partition("->")[2] else len(self.outputs)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Positions of the inputs that are no scale and no zero point."""
        return tuple(i for i, n in enumerate(self.inputs) if not n.endswith((_SCALE, _ZERO_POINT)))

    @cached_property
    def operands(self) -> tuple[Operand, ...]:
        """Everything with a scale or a zero point, in the order of the signature."""
        stems: dict[str, str] = {}
        for name in self.inputs:
            if name.endswith((_SCALE, _ZERO_POINT)):
                stem = name.removesuffix(_SCALE).removesuffix(_ZERO_POINT)
                stems.setdefault(stem.lower(), stem)
        return tuple(
            Operand(s, self._at(s), self._at(s + _SCALE), self._at(s + _ZERO_POINT))
            for s in stems.values()
        )

    @cached_property
    def output(self) -> Operand | None:
        """The quantized output, None where the output has no scale of its own."""
        made = [o for o in self.operands if o.value is None and o.scale is not None]
        return made[0] if len(made) == 1 else None

    @cached_property
    def on_codes(self) -> bool:
        """Whether it computes on integer codes, or converts them."""
        return any(n.endswith((_SCALE, _ZERO_POINT)) for n in (*self.inputs, *self.outputs))

    @property
    def data(self) -> tuple[int, ...]:
        """Positions of the activations: its values, without weight and bias."""
        return self.values[:1] if self.weight is not None else self.values

    @property
    def weight(self) -> int | None:
        """Position of the weight."""
        return None if self.weight_axis is None else self.values[1]

    @property
    def bias(self) -> int | None:
        """Position of the bias."""
        weighted = self.weight_axis is not None and len(self.values) > 2
        return self.values[2] if weighted else None

    def operand(self, position: int) -> Operand | None:
        """Return the operand whose value stands at an input position."""
        return next((o for o in self.operands if o.value == position), None)

    def _at(self, name: str) -> int | None:
        lowered = [n.lower() for n in self.inputs]
        return lowered.index(name.lower()) if name.lower() in lowered else None


_BOTH = (ONNX_DOMAIN, MICROSOFT)
_ORT = (MICROSOFT,)
_ONE_IN = "X X_scale X_zero_point? Y_scale Y_zero_point? -> Y"
_TWO_IN = "A A_scale A_zero_point? B B_scale B_zero_point? C_scale C_zero_point? -> C"
_X_W = "x x_scale x_zero_point w w_scale w_zero_point y_scale y_zero_point B? -> y"
_A_B = "a a_scale a_zero_point b b_scale b_zero_point y_scale y_zero_point -> y"
_QGEMM = "A a_scale a_zero_point B b_scale b_zero_point C? y_scale? y_zero_point? -> Y"
_POOL = "X x_scale x_zero_point y_scale y_zero_point -> Y"
_AVERAGE = "X x_scale x_zero_point? y_scale y_zero_point? -> Y"
_SOFTMAX = "X X_scale x_zero_point? y_scale y_zero_point -> Y"
_MEAN = "data data_scale data_zero_point? reduced_scale reduced_zero_point? -> reduced"
_WHERE = "condition X x_scale x_zero_point Y y_scale y_zero_point z_scale z_zero_point -> Z"
_CONCAT = "Y_scale Y_zero_point inputs* -> Y"
_TO_FLOAT = "A B a_scale b_scale a_zero_point? b_zero_point? bias? -> Y"
_DYNAMIC = "A B b_scale b_zero_point? bias? -> Y"
_ATTENTION = (
    "input weight bias input_scale weight_scale mask_index? input_zero_point? weight_zero_point? "
    "past? -> output present?"
)

_ROWS = (
    Operator(QUANTIZE, "x y_scale y_zero_point? -> y", _BOTH),
    Operator(DEQUANTIZE, "x x_scale x_zero_point? -> y", _BOTH),
    Operator("DynamicQuantizeLinear", "x -> y y_scale y_zero_point"),
    Operator("Conv", "X W B? -> Y", weight_axis=0, sums="ConvInteger"),
    Operator("ConvTranspose", "X W B? -> Y", weight_axis=0),
    Operator("Gemm", "A B C? -> Y", weight_axis=1, sums="MatMulInteger"),
    Operator("MatMul", "A B -> Y", weight_axis=1, sums="MatMulInteger"),
    Operator("ConvInteger", "x w x_zero_point? w_zero_point? -> y", weight_axis=0),
    Operator("MatMulInteger", "A B a_zero_point? b_zero_point? -> Y", weight_axis=1),
    Operator("MatMulIntegerToFloat", _TO_FLOAT, _ORT, weight_axis=1),
    Operator("DynamicQuantizeMatMul", _DYNAMIC, _ORT, weight_axis=1),
    Operator("QLinearConv", _X_W, _BOTH, "Conv", weight_axis=0, sums="ConvInteger"),
    Operator("QLinearMatMul", _A_B, twin="MatMul", weight_axis=1, sums="MatMulInteger"),
    Operator("QGemm", _QGEMM, _ORT, "Gemm", weight_axis=1, sums="MatMulInteger"),
    Operator("QLinearAdd", _TWO_IN, _ORT, "Add"),
    Operator("QLinearMul", _TWO_IN, _ORT, "Mul"),
    Operator("QLinearGlobalAveragePool", _POOL, _ORT, "GlobalAveragePool"),
    Operator("QLinearAveragePool", _AVERAGE, _ORT, "AveragePool"),
    Operator("QLinearSigmoid", _ONE_IN, _ORT, "Sigmoid"),
    Operator("QLinearLeakyRelu", _ONE_IN, _ORT, "LeakyRelu"),
    Operator("QLinearSoftmax", _SOFTMAX, _ORT, "Softmax"),
    Operator("QLinearReduceMean", _MEAN, _ORT, "ReduceMean"),
    Operator("QLinearWhere", _WHERE, _ORT, "Where"),
    Operator("QLinearConcat", _CONCAT, _ORT, "Concat"),
    Operator("QAttention", _ATTENTION, _ORT),
    Operator("Identity", "input -> output", keeps="order"),
    Operator("Flatten", "input -> output", keeps="order", codes_since=9),
    Operator("Reshape", "data shape -> reshaped", keeps="order", codes_since=5),
    Operator("Squeeze", "data axes? -> squeezed", keeps="order"),
    Operator("Unsqueeze", "data axes -> expanded", keeps="order"),
    Operator("Transpose", "data -> transposed", keeps="all"),
    Operator("MaxPool", "X -> Y Indices?", keeps="some", codes_since=12),
    Operator("Slice", "data starts ends axes? steps? -> output", keeps="some"),
    Operator("Split", "input split? -> outputs*", keeps="choose", codes_since=2),
    Operator("Pad", "data pads constant_value? axes? -> output", keeps="choose", codes_since=11),
    Operator("Resize", "X roi? scales? sizes? -> Y", keeps="choose", codes_since=10),
    Operator("ReduceMean", "data axes? -> reduced"),
    Operator("Clip", "input min? max? -> output"),
)

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}
"""Operator type → its row."""


def operator(name: str, domain: str = ONNX_DOMAIN) -> Operator | None:
    """Return the row of an operator, None if the table has none for it in this domain."""
    row = OPERATORS.get(name)
    return row if row is not None and domain in row.domains else None


def border_domain(bits: int, opset: int) -> str:
    """Return the domain whose QuantizeLinear and DequantizeLinear know codes of so many bits."""
    return MICROSOFT if bits == 16 and opset < SIXTEEN_BITS_SINCE else ONNX_DOMAIN
