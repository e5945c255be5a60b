"""Random operands of the quantized operators, drawn so that ties, rails and overflows occur."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

INT8, UINT8 = np.dtype(np.int8), np.dtype(np.uint8)
EIGHT_BIT = st.sampled_from([INT8, UINT8])

# Activations and weights that ONNX Runtime keeps exact on every x86-64 CPU with AVX2. Weights of 7
# bits stand for U8S8: with 8 bits it saturates without VNNI, see test_u8s8.py.
DTYPE_PAIRS = st.sampled_from([(INT8, INT8), (UINT8, UINT8), (UINT8, INT8)])

SCALE_KINDS = st.sampled_from(["ordinary", "powers of two", "extreme"])

# A seed per example keeps hypothesis fast; what should shrink (shapes, dtypes, attributes) is
# drawn by itself.
GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def codes(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int | None = None
) -> NDArray[Any]:
    """Return codes over the whole range of ``dtype``, or over ``bits`` bits; some at the rails."""
    info = np.iinfo(dtype)
    low, high = info.min, info.max
    if bits is not None:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if low else (0, 2**bits - 1)
    values = rng.integers(low, high, shape, dtype, endpoint=True)
    if rng.random() < 0.25:
        values = np.where(rng.random(shape) < 0.5, values, rng.choice([low, high])).astype(dtype)
    return values


def weights(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], x_dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return weight codes: 7 bits for int8 weights of uint8 activations, else all 8."""
    return codes(rng, shape, dtype, 7 if (x_dtype, dtype) == (UINT8, INT8) else None)


def scales(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...] = (), low: int = -10, high: int = 3
) -> NDArray[np.float32]:
    """Return scales of one of ``SCALE_KINDS``, ``2^low`` to ``2^high`` unless extreme."""
    if kind == "extreme":
        low, high = -149, 127
    exponent = rng.uniform(low, high, shape)
    if kind == "powers of two":
        exponent = np.rint(exponent)
    smallest, largest = np.float32(1e-45), np.finfo(np.float32).max
    return np.clip(np.exp2(exponent), smallest, largest).astype(np.float32)


def biases(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return int32 biases: usually small, sometimes at the rails of int32."""
    size = int(rng.choice([10, 20, 31]))
    values = rng.integers(-(2**size), 2**size, shape, endpoint=False)
    return np.clip(values, -(2**31), 2**31 - 1).astype(np.int32)


@st.composite
def windows(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, int], tuple[int, int]]:
    """Attributes, kernel and input size of a convolution whose window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    auto_pad = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    attributes: dict[str, Any] = {"strides": list(strides), "auto_pad": auto_pad}
    dilations, pads = (1, 1), (0, 0, 0, 0)
    if auto_pad in ("NOTSET", "VALID"):
        dilations = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3), (2, 2)]))
        attributes["dilations"] = list(dilations)
    if auto_pad == "NOTSET":
        pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
        attributes["pads"] = list(pads)
    size = []
    for d in (0, 1):
        reach = (kernel[d] - 1) * dilations[d] + 1
        needed = 1 if auto_pad.startswith("SAME") else reach - pads[d] - pads[d + 2]
        size.append(draw(st.integers(max(1, needed), max(1, needed) + 6)))
    if auto_pad.startswith("SAME"):  # strides that skip rows are refused
        attributes["strides"] = [
            min(stride, k + 2) for stride, k in zip(strides, kernel, strict=True)
        ]
    return attributes, kernel, (size[0], size[1])
