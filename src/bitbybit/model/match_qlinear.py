"""QLinearConv, QLinearMatMul, QGemm, QLinearAdd and QLinearGlobalAveragePool."""

from __future__ import annotations

import numpy as np

from bitbybit.errors import ModelError
from bitbybit.model.drafts import Draft
from bitbybit.model.graph import Node
from bitbybit.model.match import at_lower_rail, check_types, require_axis, transposed
from bitbybit.model.parameters import NotIntegerError, bias_params, bias_vector, check_channels
from bitbybit.model.recognise import Recogniser
from bitbybit.model.types import Add, Conv, Dense, GlobalPool, QuantizedTensor, QuantParams


def _read(r: Recogniser, node: Node, position: int) -> tuple[str, QuantParams]:
    """Return the edge at an input position, with the parameters that follow it."""
    value = r.value(node.input(position))
    dtype = r.dtypes.get(value.edge) if value is not None else None
    params = r.constants.params(node, position + 1, position + 2, dtype, 1)
    return r.codes(node.input(position), params), params


def _weight(r: Recogniser, node: Node, position: int, rank: int, axis: int) -> QuantizedTensor:
    """Return the constant codes at an input position, with the parameters that follow them."""
    name = node.input(position)
    codes = r.constants.plain(name)
    if codes is None:
        raise NotIntegerError("its weights are not constants")
    if codes.ndim != rank:
        raise NotIntegerError(f"its weights have {codes.ndim} dimensions")
    params = r.constants.params(node, position + 1, position + 2, codes.dtype, axis)
    check_channels(params, codes.shape, f"{node.where}, weight")
    return QuantizedTensor(name, codes, params)


def _bias(
    r: Recogniser, node: Node, position: int, x: QuantParams, weight: QuantizedTensor, axis: int
) -> QuantizedTensor | None:
    if not node.input(position):
        return None
    codes = r.constants.plain(node.input(position))
    if codes is None or weight.params is None:
        raise NotIntegerError("its bias is not a constant")
    if codes.dtype != np.int32:
        raise ModelError(
            "the bias has a wrong type", where=node.where, expected="int32", found=codes.dtype
        )
    vector = bias_vector(codes, weight.values.shape[axis], f"{node.where}, bias")
    return QuantizedTensor(node.input(position), vector, bias_params(x, weight.params))


def qlinear_conv(r: Recogniser, node: Node) -> None:
    """Read QLinearConv: x, w and y with their parameters, and B."""
    weight = _weight(r, node, 3, 4, 0)
    edge, x = _read(r, node, 0)
    y = r.constants.params(node, 6, 7, None, 1)
    check_types(x, y, weight.params)
    bias = _bias(r, node, 8, x, weight, 0)
    relu = at_lower_rail(y)
    r.add(Draft(Conv, node, [node], [edge], node.outputs[0], y, weight, bias, relu))


def qlinear_matmul(r: Recogniser, node: Node) -> None:
    """Read QLinearMatMul with constant second factor as a dense layer without bias."""
    weight = _weight(r, node, 3, 2, 1)
    edge, x = _read(r, node, 0)
    y = r.constants.params(node, 6, 7, None, 1)
    check_types(x, y, weight.params)
    r.add(Draft(Dense, node, [node], [edge], node.outputs[0], y, weight, None, at_lower_rail(y)))


def qgemm(r: Recogniser, node: Node) -> None:
    """Read com.microsoft QGemm as a dense layer."""
    if node.float("alpha", 1.0) != 1.0 or node.int("transA", 0):
        raise NotIntegerError("its alpha is not 1 or its input is transposed")
    if not node.input(7) or not node.input(8):
        raise NotIntegerError("its output is float: it has no output scale or zero point")
    transpose = bool(node.int("transB", 0))
    weight = _weight(r, node, 3, 2, 0 if transpose else 1)
    if transpose:
        weight = transposed(weight)
    require_axis(weight, 1)
    edge, x = _read(r, node, 0)
    y = r.constants.params(node, 7, 8, None, 1)
    check_types(x, y, weight.params)
    bias = _bias(r, node, 6, x, weight, 1)
    relu = at_lower_rail(y)
    r.add(Draft(Dense, node, [node], [edge], node.outputs[0], y, weight, bias, relu))


def qlinear_add(r: Recogniser, node: Node) -> None:
    """Read com.microsoft QLinearAdd of two edges."""
    for position in (0, 3):
        if node.input(position) in r.constants:
            raise NotIntegerError("one of its inputs is a constant")
    (a, a_params), (b, b_params) = _read(r, node, 0), _read(r, node, 3)
    y = r.constants.params(node, 6, 7, None if node.input(7) else a_params.dtype, 1)
    check_types(a_params, y)
    check_types(b_params, y)
    r.add(Draft(Add, node, [node], [a, b], node.outputs[0], y, relu=at_lower_rail(y)))


def qlinear_global_average_pool(r: Recogniser, node: Node) -> None:
    """Read com.microsoft QLinearGlobalAveragePool in NCHW layout."""
    if node.int("channels_last", 0):
        raise NotIntegerError("its channels come last")
    edge, x = _read(r, node, 0)
    y = r.constants.params(node, 3, 4, None, 1)
    check_types(x, y)
    r.add(Draft(GlobalPool, node, [node], [edge], node.outputs[0], y))
