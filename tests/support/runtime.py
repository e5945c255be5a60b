"""When a test may compare with live ONNX Runtime, and how often it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from bitbybit import cpu
from bitbybit.execution.runtime import FileRuntime
from bitbybit.model.types import QuantizedModel

on_contract_platform = pytest.mark.skipif(
    not cpu.is_contract_platform(),
    reason="ONNX Runtime equals the contract on x86-64 with AVX2 and FMA only",
)

without_vnni = pytest.mark.skipif(
    not cpu.is_contract_platform() or cpu.is_contract_platform("uint8", "int8"),
    reason="the saturation of vpmaddubsw is seen on x86-64 with AVX2 and without VNNI only",
)


def identical(actual: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether dtype, shape and every bit agree; any NaN equals any NaN."""
    return (
        actual.dtype == expected.dtype
        and actual.shape == expected.shape
        and np.array_equal(actual, expected, equal_nan=actual.dtype.kind == "f")
        and (actual.dtype.kind != "f" or np.array_equal(np.signbit(actual), np.signbit(expected)))
    )


def run_whole(model: QuantizedModel, x: Any, *, int8_allowed: bool = True) -> dict[str, Any]:
    """Run the untouched file in ONNX Runtime; returns its outputs by canonical name."""
    outputs = FileRuntime(model, int8_allowed=int8_allowed).run(x)
    return dict(zip(model.outputs, outputs, strict=True))


def many(examples: int) -> Callable[[Any], Any]:
    """Run a property test on ``examples`` examples, in proportion to the hypothesis profile."""
    profile = settings.default
    return settings(
        max_examples=examples * (profile.max_examples if profile else 50) // 50,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
