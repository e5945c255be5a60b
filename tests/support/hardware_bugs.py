"""Bugs of somebody's hardware, made without the datapath that diagnoses them.

Each bug gives a layer's output as a wrong accelerator would: by ONNX Runtime on edited operands,
or by plain loops over its integer sums. ``BUGS`` maps the end of the diagnosis that must be found
to the bug, by kind of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel
from tests.support import one_node

Array = NDArray[Any]


@dataclass
class Node:
    """A layer as a node of ONNX Runtime, whose operands a bug edits."""

    operator: str
    operands: dict[str, Any]
    attributes: dict[str, Any]

    def run(self) -> Array:
        """Return what ONNX Runtime makes of the operands."""
        return one_node.run(self.operator, self.operands, self.dtype, self.attributes)

    def sums(self) -> Array:
        """Return ONNX Runtime's integer sums with the bias, int64 ``[N, M, ...]``."""
        names = ("x", "w", "x_zero", "w_zero")
        given = {name: self.operands[name] for name in names}
        given["w_zero"] = np.reshape(given["w_zero"], -1)[0]  # it takes one only
        conv = self.operator == "QLinearConv"
        operator = "ConvInteger" if conv else "MatMulInteger"
        sums = one_node.run(operator, given, np.int32, self.attributes).astype(np.int64)
        b = self.operands["b"].astype(np.int64)
        return np.asarray(sums + (b.reshape(1, -1, 1, 1) if conv else b))

    def scale(self) -> Array:
        """Return the float32 multiplier, to broadcast to the sums."""
        o = self.operands
        product = np.float32(o["x_scale"]) * np.asarray(o["w_scale"], np.float32)
        m = np.asarray(product / np.float32(o["y_scale"]))
        return m.reshape(1, -1, 1, 1) if self.operator == "QLinearConv" else m

    def rounded(self, sums: Array) -> Array:
        """Return whole numbers, zero point included, not saturated."""
        return np.rint(sums.astype(np.float32) * self.scale()).astype(np.int64) + self.zero

    @property
    def zero(self) -> int:
        """The zero point of the output."""
        return int(self.operands["y_zero"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the output."""
        return np.asarray(self.operands["y_zero"]).dtype

    def stored(self, whole: Array) -> Array:
        """Saturate."""
        info = np.iinfo(self.dtype)
        return np.clip(whole, info.min, info.max).astype(self.dtype)


def node(model: QuantizedModel, layer: Layer, inputs: Sequence[Array]) -> Node:
    """Return a layer with its operands."""
    edges = [model.edges[name].params for name in (*layer.inputs, layer.name)]
    (x, *_, y) = [p for p in edges if p is not None]
    if isinstance(layer, (Conv, Dense)):
        w = layer.weight.params
        assert w is not None
        assert layer.bias is not None
        operands = {
            "x": inputs[0], "x_scale": x.scale, "x_zero": x.zero_point,
            "w": layer.weight.values, "w_scale": w.scale, "w_zero": w.zero_point,
            "b": layer.bias.values, "y_scale": y.scale, "y_zero": y.zero_point,
        }  # fmt: skip
        if isinstance(layer, Dense):
            return Node("QGemm", operands, {})
        operands["b"] = operands.pop("b")  # the last operand of QLinearConv
        window = {k: list(getattr(layer, k)) for k in ("strides", "pads", "dilations")}
        return Node("QLinearConv", operands, {**window, "group": layer.group})
    if layer.kind == "add":
        a, b, c = (p for p in edges if p is not None)
        operands = {
            "a": inputs[0], "a_scale": a.scale, "a_zero": a.zero_point,
            "b": inputs[1], "b_scale": b.scale, "b_zero": b.zero_point,
            "y_scale": c.scale, "y_zero": c.zero_point,
        }  # fmt: skip
        return Node("QLinearAdd", operands, {})
    operands = {
        "x": inputs[0], "x_scale": x.scale, "x_zero": x.zero_point,
        "y_scale": y.scale, "y_zero": y.zero_point,
    }  # fmt: skip
    return Node("QLinearGlobalAveragePool", operands, {"channels_last": 0})


Bug = Callable[[Node], Array]


def edited(**new: Callable[[dict[str, Any]], Any]) -> Bug:
    """Edit operands, then let ONNX Runtime compute."""

    def bug(n: Node) -> Array:
        values = {name: make(n.operands) for name, make in new.items()}
        plain = {k: np.ascontiguousarray(v).reshape(np.shape(v)) for k, v in values.items()}
        return Node(n.operator, {**n.operands, **plain}, n.attributes).run()

    return bug


def padded(rule: Callable[[Node, Array, list[tuple[int, int]]], Array]) -> Bug:
    """Pad by hand, then convolve without pads."""

    def bug(n: Node) -> Array:
        top, left, bottom, right = n.attributes["pads"]
        width = [(0, 0), (0, 0), (top, bottom), (left, right)]
        x = rule(n, n.operands["x"], width)
        attributes = {**n.attributes, "pads": [0, 0, 0, 0]}
        return Node(n.operator, {**n.operands, "x": x}, attributes).run()

    return bug


def begun(down: int, right: int) -> Bug:
    """Let the window begin elsewhere: a wide frame of the zero point, cut at another place."""

    def bug(n: Node) -> Array:
        x, (top, left, bottom, right_pad) = n.operands["x"], n.attributes["pads"]
        wide = np.pad(x, ((0, 0), (0, 0), (4, 4), (4, 4)), constant_values=n.operands["x_zero"])
        rows = slice(4 - top + down, 4 + x.shape[2] + bottom + down)
        columns = slice(4 - left + right, 4 + x.shape[3] + right_pad + right)
        x = np.ascontiguousarray(wide[:, :, rows, columns])
        attributes = {**n.attributes, "pads": [0, 0, 0, 0]}
        return Node(n.operator, {**n.operands, "x": x}, attributes).run()

    return bug


def summed(change: Callable[[Array], Array]) -> Bug:
    """Change the sums."""
    return lambda n: n.stored(n.rounded(change(n.sums())))


def wide(change: Callable[[Node, Array], Array]) -> Bug:
    """Change the whole numbers before they are saturated."""
    return lambda n: n.stored(change(n, n.rounded(n.sums())))


def looped(formula: Callable[[Node, int, int], int]) -> Bug:
    """Compute each code of its sum and channel in Python's integers."""

    def bug(n: Node) -> Array:
        sums = n.sums()
        low, high = np.iinfo(n.dtype).min, np.iinfo(n.dtype).max
        codes = [
            min(max(formula(n, int(a), index[1]) + n.zero, low), high)
            for index, a in np.ndenumerate(sums)
        ]
        return np.array(codes, n.dtype).reshape(sums.shape)

    return bug


def real(n: Node, channel: int) -> Fraction:
    """Return the multiplier of a channel, exactly as TensorFlow Lite's double has it."""
    w = np.asarray(n.operands["w_scale"]).reshape(-1)
    m = float(n.operands["x_scale"]) * float(w[channel % len(w)]) / float(n.operands["y_scale"])
    return Fraction(m)


def real32(n: Node, channel: int) -> Fraction:
    """Return the float32 multiplier of a channel."""
    m = n.scale().reshape(-1)
    return Fraction(float(m[channel % m.size]))


def quantized_multiplier(m: Fraction, bits: int = 31) -> tuple[int, int]:
    """Return ``q, shift`` with ``m = q / 2^shift``."""
    shift = 0
    while m * 2**shift < 2 ** (bits - 1):
        shift += 1
    q = int(m * 2**shift + Fraction(1, 2))
    return (q // 2, shift - 1) if q == 2**bits else (q, shift)


def gemmlowp(n: Node, acc: int, channel: int, *, wrong: bool = False) -> int:
    """Round twice, as gemmlowp; ``wrong``: with ``>>`` for C's division."""
    q, shift = quantized_multiplier(real(n, channel))
    ab = acc * q
    nudged = ab + (1 << 30 if ab >= 0 else 1 - (1 << 30))
    high = nudged >> 31
    if not wrong and nudged < 0 and nudged % 2**31:
        high += 1  # C divides towards zero
    places = shift - 31
    mask = (1 << places) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> places) + ((high & mask) > threshold)


def once(bits: int) -> Callable[[Node, int, int], int]:
    """Multiply by a short multiplier, add a half, shift."""

    def formula(n: Node, acc: int, channel: int) -> int:
        q, shift = quantized_multiplier(real(n, channel), bits)
        return (acc * q + (1 << shift - 1)) >> shift

    return formula


def clamped_sums(bits: int, *, pairs: bool = False) -> Bug:
    """Saturate each partial sum, or each pair of products, channel by channel, in plain loops."""

    def bug(n: Node) -> Array:
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        o, (top, left, bottom, right) = n.operands, n.attributes["pads"]
        frame = ((0, 0), (0, 0), (top, bottom), (left, right))
        x = np.pad(o["x"].astype(int) - int(o["x_zero"]), frame)
        w = o["w"].astype(int) - np.asarray(o["w_zero"], int).reshape(-1, 1, 1, 1)
        step = n.attributes["strides"]
        acc = np.zeros_like(n.sums())
        for m in range(len(w)):
            products = []
            for c in range(w.shape[1]):
                for i in range(w.shape[2]):
                    for j in range(w.shape[3]):
                        taps = x[:, c, i:, j:][:, :: step[0], :: step[1]]
                        products.append(taps[:, : acc.shape[2], : acc.shape[3]] * w[m, c, i, j])
            total = acc[:, m] * 0
            if pairs:
                products = [sum(products[k : k + 2]) for k in range(0, len(products), 2)]
                total = sum(np.clip(p, low, high) for p in products)
            else:
                for p in products:
                    total = np.clip(total + p, low, high)
            acc[:, m] = total + int(o["b"][m])
        return n.stored(n.rounded(acc))

    return bug


def nhwc(v: Array) -> Array:
    """Read the bytes of an NHWC array as NCHW."""
    return np.frombuffer(v.transpose(0, 2, 3, 1).tobytes(), v.dtype).reshape(v.shape)


def unsigned(v: Array) -> Array:
    """Flip the sign bit of every byte."""
    flipped = [byte ^ 128 for byte in v.tobytes()]
    return np.frombuffer(bytes(flipped), v.dtype).reshape(v.shape)


def nibbles(v: Array) -> Array:
    """Exchange the nibbles of every byte."""
    turned = [(byte & 15) << 4 | byte >> 4 for byte in v.tobytes()]
    return np.frombuffer(bytes(turned), v.dtype).reshape(v.shape)


def _stacked(v: Array, order: Sequence[int], axis: int) -> Array:
    return np.stack([np.take(v, i, axis) for i in order], axis)


def _next(count: int, by: int) -> list[int]:
    return [(i + by) % count for i in range(count)]


def _late(n: Node, b: Array) -> Array:
    shape = (1, -1, 1, 1) if n.operator == "QLinearConv" else (1, -1)
    bias = n.operands["b"].astype(np.int64).reshape(shape)
    return n.stored(n.rounded(n.sums() - bias) + b.reshape(shape))


PRODUCTS: Mapping[str, Bug] = {
    "input: it is that of the image before (stale)": edited(
        x=lambda o: _stacked(o["x"], _next(len(o["x"]), -1), 0)
    ),
    "input: the sign bit is flipped (unsigned, or offset by 128)": edited(
        x=lambda o: unsigned(o["x"])
    ),
    "input: the channels are reversed (RGB for BGR)": edited(
        x=lambda o: _stacked(o["x"], range(o["x"].shape[1] - 1, -1, -1), 1)
    ),
    "weights: the two nibbles of a byte are exchanged": edited(w=lambda o: nibbles(o["w"])),
    "sum: the bias is missing": edited(b=lambda o: o["b"] * 0),
    "sum: the bias is added twice": edited(b=lambda o: o["b"] + o["b"]),
    "sum: each bias is taken for the next channel's": edited(
        b=lambda o: _stacked(o["b"], _next(len(o["b"]), -1), 0)
    ),
    "sum: the input's zero point is missing": edited(x_zero=lambda o: o["x_zero"] * 0),
    "sum: the weight's zero point is missing": edited(w_zero=lambda o: o["w_zero"] * 0),
    "sum: the sum wraps at 16 bits": summed(lambda a: a.astype(np.int16).astype(np.int64)),
    "sum: the sum saturates at 16 bits": summed(lambda a: np.clip(a, -32768, 32767)),
    "scales: the shift is off by 1: 2 times the output": edited(y_scale=lambda o: o["y_scale"] / 2),
    "scales: the shift is off by 1: 0.5 times the output": edited(
        y_scale=lambda o: o["y_scale"] * np.float32(2)
    ),
    "scales: each scale is taken for the next channel's": edited(
        w_scale=lambda o: o["w_scale"]
        if np.ndim(o["w_scale"]) == 0
        else _stacked(o["w_scale"], _next(len(o["w_scale"]), -1), 0)
    ),
    "scales: the scale of channel 0 is taken for all": edited(
        w_scale=lambda o: o["w_scale"] * 0 + np.reshape(o["w_scale"], -1)[0]
    ),
    "requantization: the output's zero point is missing": lambda n: n.stored(
        n.rounded(n.sums()) - n.zero
    ),
    "requantization: the scheme double-rounding: ": looped(gemmlowp),
    "requantization: the scheme shift-for-division: ": looped(
        lambda n, a, c: gemmlowp(n, a, c, wrong=True)
    ),
    "requantization: the scheme single-rounding: ": looped(once(31)),
    "requantization: the scheme 8-bit-multiplier: ": looped(once(8)),
    "requantization: the scheme float64: ": looped(lambda n, a, c: round(a * real(n, c))),
    "requantization: the scheme floor: ": lambda n: n.stored(
        np.floor(n.sums().astype(np.float32) * n.scale()).astype(int) + n.zero
    ),
    "requantization: the bias is added after the requantization": lambda n: _late(
        n, n.operands["b"].astype(np.int64)
    ),
    "requantization: the bias is scaled and rounded by itself": lambda n: _late(
        n,
        np.rint(n.operands["b"].astype(np.float32) * n.scale().reshape(-1)).astype(np.int64),
    ),
    "requantization: saturated to 8 bits one place before the last shift": looped(
        lambda n, a, c: min(max(round(2 * a * real32(n, c)), -128), 127) >> 1
    ),
    "requantization: not requantized: the low byte of the sum": lambda n: n.sums().astype(n.dtype),
    "rails: it wraps instead of saturating": lambda n: n.rounded(n.sums()).astype(n.dtype),
    "rails: a ReLU cuts at the zero point": wide(lambda n, v: np.maximum(v, n.zero)),
    "rails: a ReLU cuts at code 0": wide(lambda n, v: np.maximum(v, 0)),
    "rails: it saturates to -127..127": lambda n: np.clip(n.rounded(n.sums()), -127, 127).astype(
        n.dtype
    ),
    "rails: it saturates to 0..255": lambda n: np.clip(n.rounded(n.sums()), 0, 255).astype(n.dtype),
    "output: each channel is taken for the next": lambda n: _stacked(
        n.run(), _next(n.run().shape[1], -1), 1
    ),
    "output: every channel holds channel 0": lambda n: _stacked(
        n.run(), [0] * n.run().shape[1], 1
    ),
    "output: elements are reversed in words of 4": lambda n: _reversed_words(n.run()),
}  # fmt: skip


def _reversed_words(v: Array) -> Array:
    flat = v.reshape(-1)
    turned = [flat[i ^ 3] for i in range(v.size)] if v.size % 4 == 0 else flat
    return np.array(turned, v.dtype).reshape(v.shape)


CONVOLUTIONS: Mapping[str, Bug] = {
    **PRODUCTS,
    "input: NHWC is read as NCHW": edited(x=lambda o: nhwc(o["x"])),
    "weights: the kernel is turned by 180 degrees": edited(
        w=lambda o: np.rot90(o["w"], 2, axes=(2, 3))
    ),
    "weights: rows and columns are exchanged": edited(w=lambda o: np.moveaxis(o["w"], 2, 3)),
    "weights: NHWC is read as NCHW": edited(w=lambda o: nhwc(o["w"])),
    "border: pads hold code 0": padded(lambda n, x, width: np.pad(x, width)),
    "border: the edge is repeated": padded(lambda n, x, width: np.pad(x, width, "edge")),
    "border: the image is mirrored": padded(lambda n, x, width: np.pad(x, width, "reflect")),
    "border: the image goes on": padded(lambda n, x, width: np.pad(x, width, "wrap")),
    "border: one pixel more above and left": begun(-1, -1),
    "border: the window is one column too far right": begun(0, 1),
    "border: the window is one row too low": begun(1, 0),
    "partial sums: each partial sum saturates at 15 bits, channel by channel": clamped_sums(15),
    "partial sums: each pair of products saturates at 16 bits, channel by channel": clamped_sums(
        16, pairs=True
    ),
    "output: NHWC is read as NCHW": lambda n: nhwc(n.run()),
    "output: it is one pixel too low": lambda n: np.concatenate(
        [n.run()[:, :, -1:], n.run()[:, :, :-1]], 2
    ),
}  # fmt: skip


def added(formula: Callable[[Fraction, Fraction, int], int]) -> Bug:
    """Add in exact fractions, pair by pair: operands in steps of the output, and its zero point."""

    def bug(n: Node) -> Array:
        o, seen = n.operands, {}
        low, high = np.iinfo(n.dtype).min, np.iinfo(n.dtype).max
        ra, rb = (
            Fraction(float(o[k])) / Fraction(float(o["y_scale"])) for k in ("a_scale", "b_scale")
        )
        out = np.empty(o["a"].shape, n.dtype)
        for index, a in np.ndenumerate(o["a"]):
            pair = int(a), int(o["b"][index])
            if pair not in seen:
                steps = ra * (pair[0] - int(o["a_zero"])), rb * (pair[1] - int(o["b_zero"]))
                seen[pair] = min(max(formula(*steps, n.zero), low), high)
            out[index] = seen[pair]
        return out

    return bug


ADDITIONS: Mapping[str, Bug] = {
    "add: the first operand is not rescaled": edited(a_scale=lambda o: o["y_scale"]),
    "add: the second operand is not rescaled": edited(b_scale=lambda o: o["y_scale"]),
    "add: the first zero point is missing": edited(a_zero=lambda o: o["a_zero"] * 0),
    "add: the operands' scales are exchanged": edited(
        a_scale=lambda o: o["b_scale"], b_scale=lambda o: o["a_scale"]
    ),
    "add: only the first operand arrives": edited(b=lambda o: np.zeros_like(o["b"]) + o["b_zero"]),
    "add: rounded down": added(lambda a, b, zero: (a + b).__floor__() + zero),
    "add: each operand is rounded down (the left shift is lost)": added(
        lambda a, b, zero: a.__floor__() + b.__floor__() + zero
    ),
    "add: the adder each-operand-rounded": added(lambda a, b, zero: round(a) + round(b) + zero),
    "add: each operand is saturated to 8 bits first": added(
        lambda a, b, zero: min(max(round(a), -128), 127) + min(max(round(b), -128), 127) + zero
    ),
    "rails: a ReLU cuts at code 0": lambda n: np.maximum(n.run(), 0),
    "input 1: it is that of the image before (stale)": edited(
        a=lambda o: _stacked(o["a"], _next(len(o["a"]), -1), 0)
    ),
    "input 2: each channel is taken for the next": edited(
        b=lambda o: _stacked(o["b"], _next(o["b"].shape[1], -1), 1)
    ),
    "output: NHWC is read as NCHW": lambda n: nhwc(n.run()),
}


def averaged(formula: Callable[[int, Fraction, int], int]) -> Bug:
    """Average in exact fractions: the centred sum, the rescale, the number of pixels."""

    def bug(n: Node) -> Array:
        o = n.operands
        sums = (o["x"].astype(int) - int(o["x_zero"])).sum(axis=(2, 3), keepdims=True)
        ratio = Fraction(float(o["x_scale"])) / Fraction(float(o["y_scale"]))
        pixels = o["x"].shape[2] * o["x"].shape[3]
        whole = [formula(int(s), ratio, pixels) + n.zero for s in sums.reshape(-1)]
        return n.stored(np.array(whole).reshape(sums.shape))

    return bug


POOLS: Mapping[str, Bug] = {
    "requantization: the average truncate": averaged(lambda s, r, n: int(s * r / n)),
    "requantization: the average mean-rounded-first": averaged(
        lambda s, r, n: round(round(Fraction(s, n)) * r)
    ),
    "requantization: the divisor counts pads on every side": averaged(
        lambda s, r, n: round(s * r / 100)
    ),
    "requantization: the rescale is missing: a plain mean": averaged(
        lambda s, r, n: round(Fraction(s, n))
    ),
    "sum: the input's zero point is missing": edited(x_zero=lambda o: o["x_zero"] * 0),
    "scales: the shift is off by 1: 2 times the output": averaged(
        lambda s, r, n: round(2 * s * r / n)
    ),
}

BUGS: Mapping[str, Mapping[str, Bug]] = {
    "conv": CONVOLUTIONS, "dense": PRODUCTS, "add": ADDITIONS, "global_pool": POOLS,
}  # fmt: skip
"""Kind of layer → the beginning of the diagnosis that must be among those found → the bug."""
