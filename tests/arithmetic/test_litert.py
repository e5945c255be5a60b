"""TensorFlow Lite's schemes against LiteRT itself: three engines, each by its own scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitbybit.arithmetic.requantizers import REQUANTIZERS
from tests.support import litert
from tests.support.accumulators import next_to_ties
from tests.support.operands import scales

AUTO, PLAIN, REFERENCE = "AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF"


ENGINES = [
    (litert.CONV_2D, AUTO, "xnnpack-fp32"),
    (litert.CONV_2D, PLAIN, "double-rounding-upward"),
    (litert.CONV_2D, REFERENCE, "double-rounding"),
    (litert.FULLY_CONNECTED, AUTO, "xnnpack-fp32"),
    (litert.FULLY_CONNECTED, PLAIN, "double-rounding-upward"),
    (litert.FULLY_CONNECTED, REFERENCE, "single-rounding"),
]


@pytest.mark.litert
@pytest.mark.parametrize(("op", "engine", "scheme"), ENGINES)
def test_each_engine_of_litert_has_its_scheme(op: int, engine: str, scheme: str) -> None:
    """Accumulators next to ties: other schemes give other codes, this one none."""
    rng, zero, f = np.random.default_rng(1), np.int8(-3), np.float32
    x, y = f(0.0237), f(0.0513)
    w = scales(rng, "ordinary", (3000,), low=-9, high=-4)
    sets: list[tuple[Any, ...]] = [(next_to_ties(rng, x, w, y), x, w, y)]
    if op == litert.FULLY_CONNECTED:  # one scale; the second makes ties, nearly 1/90
        acc = np.arange(-12000, 12000, dtype=np.int32)
        nearly = f(0.05296124517917633), f(0.024093778803944588), f(0.11484327912330627)
        sets = [(acc, x, f(0.0213), y), (acc, *nearly)]
    equal = set(REQUANTIZERS)
    for acc, x, w, y in sets:
        codes = litert.runtime_codes(op, engine, acc, (x, w, y), int(zero))
        given = acc, x, w, y, zero, 0 if np.ndim(w) else None
        equal &= {n for n, r in REQUANTIZERS.items() if np.array_equal(r(*given), codes)}
    assert scheme in equal
    assert not equal & ({each for *_, each in ENGINES} | {"shift-for-division"}) - {scheme}
