"""One network, and inputs for it, on which the usual mistakes of an integer datapath show.

Images hardly ever hit a tie, a wrap or a sum beside a rounding step; these do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import qlinear_add
from bitbybit.model.types import (
    Add,
    Conv,
    Dense,
    Dequantize,
    Edge,
    GlobalPool,
    Layer,
    Quantize,
    QuantizedModel,
    QuantizedTensor,
    QuantParams,
)
from tests.support.models import canonical

Arrays = dict[str, NDArray[Any]]


def params(scale: Any, zero: Any, dtype: str = "int8") -> QuantParams:
    """Return parameters; one scale for each channel of axis 0 or 1 gives as many zero points."""
    scale = np.asarray(scale, np.float32)
    return QuantParams(scale, np.full(scale.shape, zero).astype(dtype), 0 if scale.ndim else None)


def steps(
    x_scale: np.float32, w_scales: NDArray[np.float32], y_scale: np.float32
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return scales and an accumulator for each, on which some other arithmetic gives another code.

    The others differ from the contract's in the order of the scales or in precision.
    """
    w = w_scales[:, None]
    middles = np.arange(-120, 120) + np.float32(0.5)
    near = (np.rint(middles * (y_scale / (x_scale * w)))[..., None] + (-1, 0, 1)).reshape(
        len(w), -1
    )
    contract = np.rint(near.astype(np.float32) * ((x_scale * w) / y_scale))
    others = (
        near.astype(np.float32) * (x_scale * (w / y_scale)),
        near.astype(np.float32) * ((x_scale * w) * (1 / y_scale)),
        near * (np.float64(x_scale) * w / np.float64(y_scale)),
        near * np.float64((x_scale * w) / y_scale),
        np.floor(near.astype(np.float32) * ((x_scale * w) / y_scale) + np.float32(0.5)),
    )
    found = [np.argwhere(np.rint(other) != contract)[:40] for other in others]
    assert all(map(len, found))
    channel, place = np.concatenate(found).T
    return w_scales[channel], near[channel, place].astype(np.int32)


class Hazards:
    """Builds the network; ``model`` and ``inputs`` are the result."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.edges: dict[str, Edge] = {}
        self.inputs: Arrays = {}
        self.rng = np.random.default_rng(5)
        self._boundary()
        self._rounding()
        self._windows()
        self._pool()
        self._sums()
        self.model: QuantizedModel = canonical(self.layers, self.edges, tuple(self.inputs))

    def edge(self, name: str, shape: tuple[int, ...], p: QuantParams | None) -> str:
        """Add an edge."""
        dtype = np.dtype(np.float32) if p is None else p.dtype
        self.edges[name] = Edge(name, name, (None, *shape), dtype, p)
        return name

    def given(self, name: str, values: NDArray[Any], p: QuantParams | None) -> str:
        """Add an input of one image."""
        values = values.astype(np.float32 if p is None else p.dtype)
        self.inputs[name] = values[None]
        return self.edge(name, values.shape, p)

    def codes(self, shape: tuple[int, ...], dtype: str = "int8") -> NDArray[Any]:
        """Return random codes."""
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, shape)

    def conv(
        self, name: str, x: str, weight: tuple[Any, Any, int], bias: Any, y: Any, **window: Any
    ) -> None:
        """Add a convolution: weight is codes, scale and zero point, y its shape and parameters."""
        values, scale, zero = weight
        w = params(scale, zero, self.edges[x].dtype.name)
        tensor = QuantizedTensor("", np.asarray(values).astype(w.dtype), w)
        b = QuantizedTensor("", np.asarray(bias).astype(np.int32))
        self.layers.append(Conv(self.edge(name, *y), (x,), tensor, b, **window))

    def _boundary(self) -> None:
        tie = (np.arange(-140, 140) + 0.5).astype(np.float32) * np.float32(0.1)
        near = [np.nextafter(tie, np.float32(end)) for end in (-np.inf, np.inf)]
        odd = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 3e38, 1e-45], np.float32)
        real = np.concatenate([tie, *near, odd])
        self.given("real", real, None)
        self.layers.append(Quantize(self.edge("quantize", real.shape, params(0.1, 3)), ("real",)))
        dequantize = Dequantize(self.edge("dequantize", real.shape, None), ("quantize",))
        self.layers.append(dequantize)

    def _rounding(self) -> None:
        x = self.given("ties", np.arange(-128, 128).reshape(1, 16, 16), params(1.0, 1))
        self.conv("half", x, ([[[[1]]]], 0.5, 0), [0], ((1, 16, 16), params(1.0, 3)))
        self.conv("wrap", x, ([[[[127]]]], 1e-8, 0), [2**31 - 900], ((1, 16, 16), params(1.0, 3)))
        self.conv("nan", x, ([[[[1]]]], 1e30, 0), [0], ((1, 16, 16), params(1e-30, 3)))
        x_scale, y_scale = np.float32(0.37), np.float32(0.021)
        scales = (10 ** self.rng.uniform(-7.5, -2, 4000)).astype(np.float32)
        scales, bias = steps(x_scale, scales, y_scale)
        one = self.given("one", np.array([[[5]]]), params(x_scale, 0))
        zeros = np.zeros((len(scales), 1, 1, 1))
        y = (len(scales), 1, 1), params(y_scale, -7)
        self.conv("steps", one, (zeros, scales, 0), bias, y)

    def _windows(self) -> None:
        x = self.given("image", self.codes((4, 9, 8), "uint8"), params(0.02, 77, "uint8"))
        weight = self.codes((6, 2, 3, 2), "uint8"), 0.01, 131
        y = (6, 5, 7), params(0.3, 120, "uint8")
        window = {"strides": (2, 1), "dilations": (1, 2), "pads": (1, 0, 1, 1), "group": 2}
        self.conv("window", x, weight, self.rng.integers(-900, 900, 6), y, **window)
        rows = self.given("rows", self.codes((33,)), params(0.02, -5))
        w = QuantizedTensor("", self.codes((33, 7)).astype(np.int8), params(0.01, 0))
        b = QuantizedTensor("", self.rng.integers(-900, 900, 7).astype(np.int32))
        self.layers.append(Dense(self.edge("dense", (7,), params(0.05, 9)), (rows,), w, b))
        self.layers.append(Dense(self.edge("real_dense", (7,), None), (rows,), w, None))

    def _pool(self) -> None:
        """Pool all sums of 49 pixels, under a multiplier that another order changes."""
        sums = np.arange(49 * 255 + 1)
        x = np.full((len(sums), 49), -128) + (sums // 49)[:, None]
        x[np.arange(49) < (sums % 49)[:, None]] += 1
        image = self.given("sums", x.reshape(-1, 7, 7), params(0.043, -128))
        for k, scale in enumerate(self.rng.uniform(0.02, 0.05, 200).astype(np.float32)):
            once, twice = (np.float32(sums) * m for m in (
                np.float32(0.043) / (scale * np.float32(49)),
                (np.float32(0.043) / scale) / np.float32(49),
            ))  # fmt: skip
            if np.any(np.rint(once) != np.rint(twice)):
                name = self.edge(f"pool{k}", (len(sums), 1, 1), params(scale, -127))
                self.layers.append(GlobalPool(name, (image,)))

    def _sums(self) -> None:
        """Add all pairs of codes: beyond float32's range, and where the order shows."""
        b, a = np.meshgrid(*[np.arange(-128, 128, dtype=np.int8)] * 2)
        for k in range(24):
            scales = [*self.rng.uniform(0.01, 0.1, 3)] if k else [1e38, 1e37, 1e-1]
            p = [params(scale, int(self.rng.integers(-128, 128))) for scale in scales]
            sa, sb, sc = [(q.scale, q.zero_point) for q in p]
            contract = qlinear_add(a, *sa, b, *sb, *sc)
            if k and np.array_equal(contract, qlinear_add(b, *sb, a, *sa, *sc)):
                continue
            names = self.given(f"a{k}", a, p[0]), self.given(f"b{k}", b, p[1])
            self.layers.append(Add(self.edge(f"add{k}", a.shape, p[2]), names))
