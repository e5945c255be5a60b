"""The public surface of the room."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from bitbybit import arithmetic

PUBLIC = [
    "FastAdd",
    "FastConv",
    "HEADROOM",
    "Interleaved",
    "LANES",
    "OperandError",
    "RESIZE_MODES",
    "accumulate_conv",
    "accumulate_global_average_pool",
    "accumulate_matmul",
    "accumulator_scale",
    "add_constants",
    "add_table",
    "along",
    "alternatives",
    "centred",
    "clip_and_round",
    "code_range",
    "conv_integer",
    "conv_multiplier",
    "dequantize_linear",
    "fast_add",
    "fast_conv",
    "fma32",
    "gemm_multiplier",
    "interval_inputs",
    "lookup",
    "matmul_integer",
    "max_pool",
    "move",
    "pad_codes",
    "pool_multiplier",
    "qgemm",
    "qlinear_add",
    "qlinear_average_pool",
    "qlinear_concat",
    "qlinear_conv",
    "qlinear_global_average_pool",
    "qlinear_matmul",
    "qlinear_mul",
    "qlinear_softmax",
    "quantize_linear",
    "reduce_mean",
    "requantize",
    "requantizers",
    "round_to_codes",
    "saturated",
    "signed_width",
    "sqnr_db",
    "sum_interval",
    "type_bound",
    "weight_bound",
    "window_output_size",
    "window_pads",
    "wrapped",
]


def test_names_are_pinned() -> None:
    assert sorted(arithmetic.__all__) == PUBLIC


@pytest.mark.parametrize("name", [n for n in PUBLIC if inspect.isfunction(getattr(arithmetic, n))])
def test_every_function_states_its_parameters_and_result(name: str) -> None:
    function = getattr(arithmetic, name)
    text = inspect.getdoc(function) or ""
    assert "Parameters\n----------" in text
    assert "Returns\n-------" in text
    described = text.split("Returns\n-------", maxsplit=1)[0]
    for parameter in inspect.signature(function).parameters:
        assert parameter in described


def test_every_equation_that_is_named_stands_in_the_book(root: Path) -> None:
    sources = (root / "src" / "bitbybit").rglob("*.py")
    named = {n for path in sources for n in re.findall(r"``(eq-[a-z-]+)``", path.read_text())}
    chapters = "".join(path.read_text() for path in (root / "book").glob("*.md"))
    assert len(named) > 10
    assert {name for name in named if f":label: {name}\n" not in chapters} == set()


def test_operands_are_never_changed() -> None:
    x = np.arange(-8, 8, dtype=np.int8).reshape(1, 1, 4, 4)
    w, zero, one = np.ones((1, 1, 3, 3), np.int8), np.int8(1), np.float32(1)
    for array in (x, w):
        array.flags.writeable = False
    arithmetic.qlinear_conv(x, one, zero, w, one, zero, one, zero, pads=(1, 1, 1, 1))
    arithmetic.qlinear_add(x, one, zero, x, one, zero, one, zero)
    arithmetic.qlinear_global_average_pool(x, one, zero, one, zero)
    arithmetic.qlinear_matmul(x, one, zero, x, one, zero, one, zero)
