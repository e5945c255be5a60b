"""QLinearConv against ONNX Runtime."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.operands import (
    DTYPE_PAIRS,
    GENERATORS,
    SCALE_KINDS,
    biases,
    codes,
    scales,
    weights,
    windows,
)
from tests.support.runtime import identical, many, on_contract_platform

Case = tuple[dict[str, Any], dict[str, Any]]


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """Operands by ONNX name and attributes of one QLinearConv."""
    attributes, kernel, size = draw(windows())
    x_dtype, w_dtype = draw(DTYPE_PAIRS)
    rng, kind = draw(GENERATORS), draw(SCALE_KINDS)
    group = attributes["group"] = draw(st.integers(1, 3))
    per_group = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    channels, filters = group * per_group[0], group * per_group[1]
    w_shape = (filters,) if draw(st.booleans()) else ()
    operands = {
        "x": codes(rng, (draw(st.integers(1, 2)), channels, *size), x_dtype),
        "x_scale": scales(rng, kind),
        "x_zero_point": codes(rng, (), x_dtype),
        "w": weights(rng, (filters, per_group[0], *kernel), w_dtype, x_dtype),
        "w_scale": scales(rng, kind, w_shape),
        "w_zero_point": weights(rng, w_shape, w_dtype, x_dtype),
        "y_scale": scales(rng, kind, low=-3, high=6),
        "y_zero_point": codes(rng, (), x_dtype),
        "b": biases(rng, (filters,)) if draw(st.booleans()) else None,
    }
    return operands, attributes


def runtime(case: Case, **options: Any) -> NDArray[Any]:
    """Return what ONNX Runtime makes of it."""
    operands, attributes = case
    return one_node.run("QLinearConv", operands, operands["x"].dtype, attributes, **options)


@on_contract_platform
@many(600)
@given(convolutions())
def test_equals_onnx_runtime(case: Case) -> None:
    operands, attributes = case
    assert identical(arithmetic.qlinear_conv(**operands, **attributes), runtime(case))


@on_contract_platform
@many(200)
@given(convolutions())
def test_equals_onnx_runtime_with_constant_parameters(case: Case) -> None:
    """Initializers are packed when the session is made, and take other kernels than inputs do."""
    operands, attributes = case
    constants = frozenset(operands) - {"x"}
    expected = runtime(case, constants=constants)
    assert identical(arithmetic.qlinear_conv(**operands, **attributes), expected)
