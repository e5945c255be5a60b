"""SAME padding: where ONNX Runtime follows the specification, and where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitbybit.errors import UnsupportedError
from bitbybit.execution.verification import verify
from bitbybit.model.load import load
from tests.support.graphs import GraphMaker
from tests.support.runtime import on_contract_platform

pytestmark = on_contract_platform

MODES = pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
FORMS = pytest.mark.parametrize("form", ["qdq", "qoperator"])


def convolution(folder: Path, form: str, size: int, kernel: int, **attributes: Any) -> Path:
    """Write a network of one convolution of ``size`` x ``size`` images."""
    g, zero = GraphMaker(("N", 3, size, size), 1), np.int8(3)
    if form == "qdq":
        x, w = g.qdq("input", "image", 0.05, zero), g.weight("w", (4, 3, kernel, kernel))
        return g.save(
            folder / "m.onnx", g.qdq("logits", g.node("Conv", "conv", [x, w], **attributes), 0.2)
        )
    x, of_x = g.quantize("input", "image", 0.05, zero)
    codes = g.rng.integers(-128, 128, (4, 3, kernel, kernel)).astype(np.int8)
    of_w, of_y = g.params("of_w", 0.01, np.int8(0)), g.params("of_y", 0.2, zero)
    operands = [x, *of_x, g.constant("w", codes), *of_w, *of_y]
    y = g.node("QLinearConv", "conv", operands, **attributes)
    return g.save(folder / "m.onnx", g.node("DequantizeLinear", "logits", [y, *of_y]))


@given(
    form=st.sampled_from(["qdq", "qoperator"]),
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER"]),
    size=st.integers(5, 12),
    stride=st.integers(1, 6),
    kernel=st.integers(1, 4),
)
@settings(max_examples=20)
@example(form="qdq", mode="SAME_UPPER", size=10, stride=5, kernel=1)
@example(form="qoperator", mode="SAME_LOWER", size=10, stride=5, kernel=1)
def test_a_window_that_skips_too_much_is_left_to_the_runtime(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    mode: str,
    size: int,
    stride: int,
    kernel: int,
) -> None:
    folder = tmp_path_factory.mktemp("network")
    path = convolution(folder, form, size, kernel, auto_pad=mode, strides=[stride, stride])
    report = verify(path, quick=True)
    total = (-(-size // stride) - 1) * stride + kernel - size
    assert report.mismatches == 0
    assert bool(report.islands) == (total < -2)


@FORMS
@MODES
def test_the_runtime_refuses_a_dilation(tmp_path: Path, form: str, mode: str) -> None:
    path = convolution(tmp_path, form, 10, 3, auto_pad=mode, dilations=[1, 2])
    assert load(path).layer("conv").kind == "float_island"
    with pytest.raises(UnsupportedError, match=r"layer conv .*Dilation not supported"):
        verify(path)
