"""QuantizeLinear, DequantizeLinear and the operators that only move elements."""

from __future__ import annotations

from bitbybit.model.constants import dequantize_params, quantize_params
from bitbybit.model.drafts import Draft, Value
from bitbybit.model.graph import Node
from bitbybit.model.operators import OPERATORS
from bitbybit.model.parameters import NotIntegerError, same_params
from bitbybit.model.recognise import Recogniser
from bitbybit.model.types import FloatIsland, Quantize, Reshape


def quantize(r: Recogniser, node: Node) -> None:
    """Read QuantizeLinear: a layer on a float edge; nothing on what the same scale made."""
    source, output = node.inputs[0], node.outputs[0]
    value = r.value(source)
    params = quantize_params(r.constants, node, r.ranks.get(source))
    if value is None:
        raise NotIntegerError("it quantizes a constant that is not float32")
    if value.kind == "real":
        known = r.params[value.edge]
        if known is not None and same_params(known, params):
            r.values[output] = Value("codes", value.edge)
            if value.edge == r.codes_of(source):  # the edge is a reshaped real view
                r.integer_names[value.edge] = output
            return
        raise NotIntegerError("it goes from one scale to another without an operator between")
    if value.kind == "codes":
        raise NotIntegerError("it quantizes integers")
    for twin in r.graph.consumers[source]:
        made = r.values.get(twin.outputs[0])
        if twin.op == "QuantizeLinear" and twin.index < node.index and made is not None:
            known = r.params.get(made.edge)
            if known is not None and same_params(known, params):
                r.values[output] = made
                return
    if value.kind == "pending":
        raise NotIntegerError("")
    r.add(Draft(Quantize, node, [node], [value.edge], output, params))


def dequantize(r: Recogniser, node: Node) -> None:
    """Read DequantizeLinear: the real view of an integer edge."""
    source = node.inputs[0]
    value = r.value(source)
    constant = r.constants.get(source)
    if constant is not None:  # not folded: its parameters say why
        dequantize_params(r.constants, node, constant.values.dtype, constant.values.ndim)
    if value is None or value.kind != "codes":
        raise NotIntegerError("it dequantizes no 8 or 16-bit tensor that a layer makes")
    params = dequantize_params(r.constants, node, r.dtypes[value.edge], r.ranks.get(value.edge))
    r.bind(value.edge, params)
    r.values[node.outputs[0]] = Value("real", value.edge)


def move(r: Recogniser, node: Node) -> None:
    """Read Flatten, Reshape, ... : on codes, also where the file has their real view.

    Dequantization works element by element, so it commutes with an operator that only picks
    elements (MaxPool too: the scale is positive).
    """
    value = r.value(node.inputs[0])
    if value is None or any(n and n not in r.constants for n in node.inputs[1:]):
        raise NotIntegerError(f"{node.op} depends on values that are not constants")
    if node.inputs[0] in r.shape_tensors:
        raise NotIntegerError(f"{node.op} computes a shape")
    if any(node.outputs[1:]):
        raise NotIntegerError(f"{node.op} has more than one output")
    reshapes = OPERATORS[node.op].keeps == "order"
    if value.kind in ("pending", "float"):
        if r.quantized or not reshapes:
            raise NotIntegerError(f"{node.op} works on float values here")
        r.add(Draft(Reshape, node, [node], [value.edge], node.outputs[0]))
        return
    params = r.params.get(value.edge)
    if params is not None and params.axis is not None:
        raise NotIntegerError(f"{node.op} moves a tensor with one scale per channel")
    tensor = node.outputs[0]
    output = r.codes_of(tensor) if value.kind == "real" else tensor
    if reshapes:
        r.add(Draft(Reshape, node, [node], [value.edge], output, params))
    else:
        if r.graph.file.opsets[""] < OPERATORS[node.op].codes_since:
            raise NotIntegerError(f"{node.op} takes no integers in this opset")
        reason = f"{node.op} moves integers unchanged and is no layer of the contract"
        draft = Draft(FloatIsland, node, [node], [value.edge], output, params, reason=reason)
        draft.on_codes = True
        r.add(draft)
    r.values[tensor] = Value(value.kind, output)
    if output != tensor:
        r.integer_names[output] = tensor
    r.dtypes[output] = r.dtypes[value.edge]
