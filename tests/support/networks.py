"""Networks of one layer with integer inputs, in canonical view, and images for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import (
    Add,
    Conv,
    Edge,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)
from tests.support.models import canonical


def quantized_images(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Return seeded images whose pixels are below 128, so that they are int8 codes as well."""
    return np.random.default_rng(seed).integers(0, 128, shape).astype(np.uint8)


def one_conv(
    seed: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    size: tuple[int, int],
    types: tuple[str, str] = ("int8", "int8"),
    *,
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    bias: int | None = None,
    extreme: bool = False,
) -> QuantizedModel:
    """Return a convolution with integer input ``x`` and random integers.

    ``extreme`` makes every weight 127 and every activation as far from its zero point as it can
    be; ``bias`` is used for all channels.
    """
    rng = np.random.default_rng(seed)
    low, high = (int(v) for v in (np.iinfo(types[1]).min, np.iinfo(types[1]).max))
    weight = rng.integers(low, high + 1, (channels[1], channels[0] // group, *kernel))
    if extreme:
        weight[...] = 127
    values = rng.integers(-9000, 9000, channels[1]) if bias is None else np.full(channels[1], bias)
    terms = np.sqrt(weight[0].size)
    y_scale = np.float32(0.02 * 0.01 * 74 * 74 * terms / 50)
    zeros = [-128 if extreme else int(rng.integers(*_bounds(types[0]))) for _ in range(2)]
    per_channel = bool(rng.integers(2))
    w_shape = (channels[1],) if per_channel else ()
    w_zero = 0 if types[1] == "int8" else int(rng.integers(100, 156))
    w_params = QuantParams(
        rng.uniform(0.005, 0.02, w_shape).astype(np.float32),
        np.full(w_shape, w_zero).astype(types[1]),
        0 if per_channel else None,
    )
    conv = Conv(
        "conv",
        ("x",),
        QuantizedTensor("w", weight.astype(types[1]), w_params),
        QuantizedTensor("b", values.astype(np.int32)),
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
    )
    out = [
        (size[d] + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1) // strides[d] + 1
        for d in (0, 1)
    ]
    x = _edge("x", (channels[0], *size), types[0], 0.02, zeros[0])
    y = _edge("conv", (channels[1], *out), types[0], y_scale, zeros[1])
    return canonical([conv], {"x": x, "conv": y}, ("x",))


def one_add(ratio: float, shape: tuple[int, int, int] = (1, 256, 256)) -> QuantizedModel:
    """Return an addition of ``a`` and ``b``, ``[N, *shape]``, with these scales over c's."""
    a, b = (_edge(name, shape, "int8", ratio, zero) for name, zero in (("a", -128), ("b", 3)))
    edges = {"a": a, "b": b, "add": _edge("add", shape, "int8", 1.0, -128)}
    return canonical([Add("add", ("a", "b"))], edges, ("a", "b"))


def _bounds(dtype: str) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1


def _edge(name: str, shape: tuple[int, ...], dtype: str, scale: Any, zero: int) -> Edge:
    params = QuantParams(np.array(scale, np.float32), np.array(zero).astype(dtype))
    return Edge(name, name, (None, *shape), np.dtype(dtype), params)
