"""A scheme says what it wants, and refuses what nobody can compute."""

from __future__ import annotations

from typing import Any

import pytest

from bitbybit.errors import DataError, UnsupportedError
from bitbybit.quantization import Scheme


@pytest.mark.parametrize(
    "fields",
    [
        {"weight_bits": 1},
        {"weight_bits": 9},
        {"activation_bits": 8.0},
        {"activation_bits": True},
        {"weight_dtype": "int4"},
        {"activation_dtype": "float32"},
        {"weights": "best"},
        {"per_channel": 1},
        {"bias_correction": "yes"},
    ],
    ids=str,
)
def test_a_wrong_field_is_one_sentence(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        Scheme(**fields)
    assert next(iter(fields)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"weight_dtype": "uint8", "per_channel": False},
        {"weight_dtype": "uint8", "activation_dtype": "uint8"},
    ],
    ids=str,
)
def test_products_that_onnxruntime_lacks_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="ONNX Runtime"):
        Scheme(**fields)


def test_a_scheme_says_what_it_is() -> None:
    scheme = Scheme("uint8", "uint8", per_channel=False, weight_bits=3, weights="mse")
    assert str(scheme) == "U8U3 per-tensor asymmetric mse bias-corrected"
