"""Where a window lies, against ONNX Runtime and against hand-made cases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic
from bitbybit.errors import BitbybitError
from tests.support import one_node


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_a_pool_with_ceil_mode_has_the_size_that_onnx_runtime_gives_it(stride: int) -> None:
    """Shape inference counts a window that begins in the pads at the end; the runtime does not."""
    for size, kernel, before, after in itertools.product(range(1, 8), range(1, 5), (0, 1), (0, 2)):
        if max(before, after) >= kernel or kernel > size + before + after:
            continue
        attributes: dict[str, Any] = {
            "kernel_shape": [kernel], "strides": [stride], "pads": [before, after], "ceil_mode": 1,
        }  # fmt: skip
        x = np.zeros((1, 1, size), np.float32)
        expected = one_node.run("MaxPool", {"x": x}, np.float32, attributes).shape[2:]
        assert expected == arithmetic.window_output_size(
            (size,), (kernel,), (stride,), (1,), (before, after), ceil_mode=True
        )


def test_stride_2_on_an_even_size_pads_bottom_and_right_only() -> None:
    window = (32, 32), (3, 3), (2, 2), (1, 1), (0, 0, 0, 0)
    assert arithmetic.window_pads(*window, "SAME_UPPER") == (0, 0, 1, 1)
    assert arithmetic.window_pads(*window, "SAME_LOWER") == (1, 1, 0, 0)
    assert arithmetic.window_pads(*window, "VALID") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"strides": (0, 1)}, "strides: one positive integer per axis"),
        ({"dilations": (1,)}, "dilations: one positive integer per axis"),
        ({"pads": (0, 1)}, "pads: wrong pads"),
        ({"pads": (0, 0, 0, -1)}, "pads: wrong pads"),
        ({"auto_pad": "HALF"}, "auto_pad: unknown value"),
        ({"auto_pad": "VALID", "pads": (0, 0, 1, 0)}, "pads and auto_pad exclude each other"),
        ({"auto_pad": "SAME_UPPER", "dilations": (1, 2)}, "rejects SAME padding"),
        ({"auto_pad": "SAME_UPPER", "strides": (9, 9)}, "moves the window"),
    ],
)
def test_wrong_windows(changed: dict[str, Any], sentence: str) -> None:
    window: dict[str, Any] = {
        "size": (4, 4), "kernel": (1, 1), "strides": (1, 1), "dilations": (1, 1),
        "pads": (0, 0, 0, 0), **changed,
    }  # fmt: skip
    with pytest.raises(BitbybitError, match=sentence):
        arithmetic.window_pads(**window)
