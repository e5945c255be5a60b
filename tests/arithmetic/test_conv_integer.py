"""ConvInteger, its padding and its accumulators."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.errors import UnsupportedError
from tests.support import one_node
from tests.support.operands import EIGHT_BIT, GENERATORS, INT8, UINT8, codes, windows
from tests.support.runtime import identical, many, on_contract_platform


@on_contract_platform
@many(400)
@given(windows(), EIGHT_BIT, EIGHT_BIT, GENERATORS)
def test_equals_onnx_runtime(
    window: Any, x_dtype: np.dtype[Any], w_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    """All four pairs; int8 inputs with uint8 weights meet vpmaddubsw, so 7 bits there."""
    attributes, kernel, size = window
    group, per_group, filters = (int(n) for n in rng.integers(1, 4, 3))
    attributes["group"] = group
    bits = 7 if (x_dtype, w_dtype) == (INT8, UINT8) else None
    x = codes(rng, (int(rng.integers(1, 3)), group * per_group, *size), x_dtype)
    w = codes(rng, (group * filters, per_group, *kernel), w_dtype, bits)
    zeros: dict[str, Any] = {
        "x_zero_point": codes(rng, (), x_dtype),
        "w_zero_point": codes(rng, (), w_dtype),
    }
    expected = one_node.run("ConvInteger", {"x": x, "w": w, **zeros}, np.int32, attributes)
    assert identical(arithmetic.conv_integer(x, w, **zeros, **attributes), expected)


def loops(
    x: NDArray[Any], w: NDArray[Any], x_zero: int, w_zero: NDArray[Any], window: dict[str, Any]
) -> NDArray[np.int32]:
    """Compute it one product at a time, in Python integers, reading no padded tap."""
    top, left, bottom, right = window["pads"]
    (sy, sx), (dy, dx) = window["strides"], window["dilations"]
    n_images, _, rows, columns = x.shape
    filters, depth, kh, kw = w.shape
    height = (rows + top + bottom - (kh - 1) * dy - 1) // sy + 1
    width = (columns + left + right - (kw - 1) * dx - 1) // sx + 1
    y = np.zeros((n_images, filters, height, width), np.int32)
    for n, m, i, j in np.ndindex(*y.shape):
        total, first = 0, m // (filters // window["group"]) * depth
        for c, p, q in np.ndindex(depth, kh, kw):
            row, column = i * sy - top + p * dy, j * sx - left + q * dx
            if 0 <= row < rows and 0 <= column < columns:
                tap = int(x[n, first + c, row, column]) - x_zero
                total += tap * (int(w[m, c, p, q]) - int(w_zero[m]))
        y[n, m, i, j] = (total + 2**31) % 2**32 - 2**31
    return y


@many(40)
@given(windows(), EIGHT_BIT, EIGHT_BIT, GENERATORS)
def test_equals_the_definition_one_product_at_a_time(
    window: Any, x_dtype: np.dtype[Any], w_dtype: np.dtype[Any], rng: np.random.Generator
) -> None:
    attributes, kernel, size = window
    group = int(rng.integers(1, 3))
    x = codes(rng, (1, 2 * group, *size), x_dtype)
    w = codes(rng, (group, 2, *kernel), w_dtype)
    x_zero, w_zero = codes(rng, (), x_dtype), codes(rng, (group,), w_dtype)
    resolved = {"strides": attributes["strides"], "group": group}
    resolved["dilations"] = attributes.get("dilations", [1, 1])
    resolved["pads"] = arithmetic.window_pads(
        size, kernel, resolved["strides"], resolved["dilations"],
        attributes.get("pads", (0, 0, 0, 0)), attributes["auto_pad"],
    )  # fmt: skip
    acc = arithmetic.conv_integer(x, w, x_zero, w_zero, group=group, **attributes)
    assert np.array_equal(acc, loops(x, w, int(x_zero), w_zero, resolved))


@on_contract_platform
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad_of_every_small_size_kernel_and_stride(auto_pad: str) -> None:
    """A picture of distinct codes under a kernel of ones shows where the window lies."""
    for size, kernel, stride in itertools.product(range(1, 9), range(1, 6), range(1, 5)):
        leftover = size - kernel - (-(-size // stride) - 1) * stride
        if kernel > size if auto_pad == "VALID" else leftover > 2:
            continue
        x = np.arange(1, size + 1, dtype=np.uint8).reshape(1, 1, size, 1)
        w = np.ones((1, 1, kernel, 1), np.uint8)
        attributes: dict[str, Any] = {"auto_pad": auto_pad, "strides": [stride, 1]}
        expected = one_node.run("ConvInteger", {"x": x, "w": w}, np.int32, attributes)
        assert identical(arithmetic.conv_integer(x, w, **attributes), expected)


def test_strides_that_skip_rows_have_no_same_padding() -> None:
    """ONNX Runtime starts at the second of four rows here; the specification does not say so."""
    x, w = np.arange(1, 5, dtype=np.uint8).reshape(1, 1, 4, 1), np.ones((1, 1, 1, 1), np.uint8)
    attributes: dict[str, Any] = {"auto_pad": "SAME_UPPER", "strides": [4, 1]}
    assert one_node.run("ConvInteger", {"x": x, "w": w}, np.int32, attributes).item() == 2
    with pytest.raises(UnsupportedError, match="moves the window"):
        arithmetic.conv_integer(x, w, **attributes)


def test_padded_taps_hold_the_zero_point() -> None:
    """A constant picture of the zero point has no edge: every sum is 0."""
    x, w = np.full((1, 1, 4, 4), 3, np.uint8), np.full((1, 1, 3, 3), 5, np.int8)
    acc = arithmetic.conv_integer(x, w, np.uint8(3), pads=(1, 1, 1, 1))
    assert np.array_equal(acc, np.zeros((1, 1, 4, 4), np.int32))
    padded = arithmetic.pad_codes(
        x.repeat(2, axis=1) + np.uint8(1), (1, 0, 2, 1), np.array(3, np.uint8)
    )
    assert padded.shape == (1, 2, 7, 5)
    assert padded[0, 1].tolist() == [[3] * 5, *[[4, 4, 4, 4, 3]] * 4, [3] * 5, [3] * 5]


@on_contract_platform
@pytest.mark.parametrize("bias", [2**31 - 1, -(2**31)])
def test_accumulators_wrap_modulo_2_to_the_32(bias: int) -> None:
    x, w = np.array([[[[10, -10, 0]]]], np.int8), np.array([[[[7]]]], np.int8)
    b, zero = np.array([bias], np.int32), np.int8(0)
    acc = arithmetic.accumulate_conv(x, zero, w, zero, b)
    assert acc.reshape(-1).tolist() == [
        (bias + step + 2**31) % 2**32 - 2**31 for step in (70, -70, 0)
    ]
    one = np.float32(1)
    names = ("x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b")
    operands = dict(zip(names, (x, one, zero, w, one, zero, one, zero, b), strict=True))
    expected = one_node.run("QLinearConv", operands, np.int8)
    assert identical(arithmetic.requantize(acc, one, zero), expected)


def test_bias_is_added_once_per_channel() -> None:
    x, w = np.zeros((2, 1, 2, 2), np.int8), np.zeros((3, 1, 1, 1), np.int8)
    acc = arithmetic.accumulate_conv(x, 0, w, 0, np.array([1, -2, 3], np.int32))
    assert acc.shape == (2, 3, 2, 2)
    assert np.array_equal(acc, np.broadcast_to(np.reshape([1, -2, 3], (1, 3, 1, 1)), acc.shape))
