"""Adversarial operands of every quantized operator, checked against ONNX Runtime.

The operands are fixed. Each set mixes ordinary data (odd zero points, asymmetric pads, both rails)
with values next to ties, where orders of multiplication and ways to round differ. The runtime's
answers are computed once; the engine's anew each time, so that an injected fault shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from bitbybit import arithmetic
from tests.support import one_node
from tests.support.accumulators import next_to_ties
from tests.support.operands import INT8, UINT8, codes, scales

Case = tuple[dict[str, Any], dict[str, Any]]
"""Operands by name in ONNX order, and attributes of the node."""

Y_SCALE = np.float32(0.473)
"""Its reciprocal is badly rounded, so that ``* (1 / y_scale)`` differs from ``/ y_scale``."""


def mismatches(operator: str) -> int:
    """Return in how many elements the engine and ONNX Runtime differ, over all cases."""
    return sum(
        int(np.count_nonzero(_engine(operator, case) != expected))
        for case, expected in _cases_with_answers(operator)
    )


@cache
def _cases_with_answers(operator: str) -> list[tuple[Case, Any]]:
    cases = list(_CASES[operator](np.random.default_rng(2024)))
    return [(case, _runtime(operator, case)) for case in cases]


def _runtime(operator: str, case: Case) -> Any:
    operands, attributes = case
    dtype = np.dtype(np.float32)
    if operator != "DequantizeLinear":
        dtype = next(operands[name] for name in operands if name in _OUTPUT_ZERO_POINTS).dtype
    return one_node.run(operator, operands, dtype, attributes)


def _engine(operator: str, case: Case) -> Any:
    operands, attributes = case
    function = {
        "QuantizeLinear": "quantize_linear",
        "DequantizeLinear": "dequantize_linear",
        "QLinearConv": "qlinear_conv",
        "QLinearMatMul": "qlinear_matmul",
        "QGemm": "qgemm",
        "QLinearAdd": "qlinear_add",
        "QLinearGlobalAveragePool": "qlinear_global_average_pool",
    }[operator]
    return getattr(arithmetic, function)(*operands.values(), **attributes)


_OUTPUT_ZERO_POINTS = ("y_zero_point", "c_zero_point", "zero_point")


def _conv_cases(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (INT8, UINT8):
        window = {"strides": [2, 2], "pads": [0, 0, 1, 1]}
        yield _conv(rng, dtype, (2, 4, 8, 8), (6, 4, 3, 3), 0.02), window
        window = {"strides": [1, 1], "pads": [1, 2, 0, 1]}
        yield _conv(rng, dtype, (1, 3, 5, 7), (5, 3, 3, 3), 0.004), window
    operands = _conv(rng, INT8, (1, 1, 1, 1), (50_000, 1, 1, 1), 0.01)
    operands["x"] = operands["x_zero_point"].reshape(1, 1, 1, 1)
    s = (operands[name] for name in ("x_scale", "w_scale", "y_scale"))
    operands["b"] = next_to_ties(rng, *s)
    yield operands, {}


def _conv(rng: np.random.Generator, dtype: Any, x: Any, w: Any, size: float) -> dict[str, Any]:
    return {
        "x": codes(rng, x, dtype),
        "x_scale": np.float32(0.0237),
        "x_zero_point": np.asarray(7, dtype),
        "w": rng.integers(*_range(dtype), w).astype(dtype),
        "w_scale": np.float32(size) * scales(rng, "ordinary", w[:1], low=-4, high=1),
        "w_zero_point": np.asarray(5 if dtype == UINT8 else -3, dtype),
        "y_scale": Y_SCALE,
        "y_zero_point": np.asarray(11, dtype),
        "b": rng.integers(-30_000, 30_000, w[:1]).astype(np.int32),
    }


def _range(dtype: Any) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1


def _products(rng: np.random.Generator, dtype: Any, i: int, k: int, j: int) -> dict[str, Any]:
    return {
        "a": codes(rng, (i, k), dtype),
        "a_scale": np.float32(0.0237),
        "a_zero_point": np.asarray(7, dtype),
        "b": codes(rng, (k, j), dtype),
        "b_scale": np.float32(0.01) * scales(rng, "ordinary", (j,), low=-4, high=1),
        "b_zero_point": np.full(j, 5 if dtype == UINT8 else -3, dtype),
    }


def _matmul_cases(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (INT8, UINT8):
        operands = _products(rng, dtype, 6, 40, 30)
        yield {**operands, "y_scale": Y_SCALE, "y_zero_point": np.asarray(11, dtype)}, {}
    operands = _products(rng, INT8, 1, 200, 20_000)
    operands |= {"a_zero_point": np.int8(0), "b_zero_point": np.zeros(20_000, np.int8)}
    operands["b_scale"] *= np.float32(4)  # the products reach 3.1 million
    acc = next_to_ties(rng, operands["a_scale"], operands["b_scale"], Y_SCALE)
    operands["a"], operands["b"] = _factors(acc, 200)
    yield {**operands, "y_scale": Y_SCALE, "y_zero_point": np.int8(11)}, {}


def _factors(acc: Any, k: int) -> tuple[Any, Any]:
    """Return a ``[1, k]`` and b ``[k, J]`` of int8 whose product is ``acc``, clipped to fit."""
    rest = np.clip(acc, -127 * 127 * (k - 2), 127 * 127 * (k - 2)).astype(np.int64)
    a, rows = np.full((1, k), 127, np.int8), []
    a[0, -1] = 1
    for _ in range(k - 1):
        rows.append(np.clip(np.rint(rest / 127), -127, 127).astype(np.int64))
        rest -= 127 * rows[-1]
    return a, np.array([*rows, rest]).astype(np.int8)


def _gemm_cases(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (INT8, UINT8):
        operands = _products(rng, dtype, 6, 40, 30)
        operands["c"] = rng.integers(-30_000, 30_000, 30).astype(np.int32)
        operands |= {"y_scale": Y_SCALE, "y_zero_point": np.asarray(11, dtype)}
        yield operands, {}
    operands = _products(rng, INT8, 1, 1, 50_000)
    operands["a"] = operands["a_zero_point"].reshape(1, 1)
    s = operands["a_scale"], operands["b_scale"], Y_SCALE
    operands |= {"c": next_to_ties(rng, *s), "y_scale": s[2], "y_zero_point": np.int8(11)}
    yield operands, {}


def _add_cases(rng: np.random.Generator) -> Iterator[Case]:
    names = ("a", "a_scale", "a_zero_point", "b", "b_scale", "b_zero_point", "c_scale")
    every_code = np.arange(-128, 128, dtype=np.int8)
    b, a = np.meshgrid(every_code, every_code)
    for _ in range(40):
        s = [scales(rng, "ordinary", low=-6, high=-3) for _ in range(3)]
        zeros = [codes(rng, (), INT8) for _ in range(3)]
        values = (a, s[0], zeros[0], b, s[1], zeros[1], s[2])
        yield {**dict(zip(names, values, strict=True)), "c_zero_point": zeros[2]}, {}


def _pool_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Scales for which the mean of the first channel is next to a tie."""
    for pixels in (7, 9, 49, 64) * 50:
        x = codes(rng, (1, 60, pixels, 1), INT8)
        x_scale, zero = scales(rng, "ordinary", low=-6, high=-3), np.int8(-5)
        total = int(x[0, 0].astype(np.int64).sum()) + 5 * pixels
        tie = np.sign(total) * (rng.integers(0, 100) + 0.5) or 0.5
        ratio = abs(total) / (abs(tie) * pixels) or 1.0
        operands = {"x": x, "x_scale": x_scale, "x_zero_point": zero}
        operands |= {"y_scale": np.float32(x_scale * ratio), "y_zero_point": np.int8(3)}
        yield operands, {}


def _quantize_cases(rng: np.random.Generator) -> Iterator[Case]:
    for scale in (1.0, 0.1, 0.0237, 3.7):
        ties = (np.arange(-400, 400, dtype=np.float32) + np.float32(0.5)) * np.float32(scale)
        x = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, 2 * ties)])
        for zero in (np.int8(3), np.uint8(131)):
            yield {"x": x, "scale": np.float32(scale), "zero_point": zero}, {}


def _dequantize_cases(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (INT8, UINT8):
        q = codes(rng, (500,), dtype)
        yield {"q": q, "scale": np.float32(0.0237), "zero_point": np.asarray(7, dtype)}, {}


_CASES: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    "QuantizeLinear": _quantize_cases,
    "DequantizeLinear": _dequantize_cases,
    "QLinearConv": _conv_cases,
    "QLinearMatMul": _matmul_cases,
    "QGemm": _gemm_cases,
    "QLinearAdd": _add_cases,
    "QLinearGlobalAveragePool": _pool_cases,
}
