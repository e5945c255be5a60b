"""The mistakes that people make, each as one change of a layer's datapath: tables, step by step.

The rows come from what is asked in public issue trackers of runtimes, compilers and accelerators.
A row names the mistake, and its change returns the changed datapath, or None where the layer leaves
no room for the mistake. Nothing here knows a dump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from bitbybit import arithmetic
from bitbybit.arithmetic import alternatives
from bitbybit.arithmetic.requantizers import REQUANTIZERS, Requantizer, single_rounding
from bitbybit.model.types import AnyArray

from .datapath import Datapath, Int64, Products, Whole, contract, int32, multiplier, requantized

Change: TypeAlias = Callable[[Any], Any]
Table: TypeAlias = Mapping[str, Change]


@dataclass(frozen=True)
class Hypothesis:
    """A mistake that somebody may have made.

    Attributes
    ----------
    step : where: "input", "weights", "border", "sum", "partial sums", "requantization",
        "scales", "rails", "add", "quantization", "window" or "output"
    name : what, in words
    change : a datapath to the changed one; None where there is nothing to change
    """

    step: str
    name: str
    change: Change

    def __str__(self) -> str:
        return f"{self.step}: {self.name}"


LATE = ("requantization", "scales", "rails")
"""Steps behind the accumulator."""


def put(**new: Any) -> Change:
    """Make a change of a datapath's fields: constants, or functions of the datapath."""

    def change(path: Any) -> Any:
        values = {name: v(path) if callable(v) else v for name, v in new.items()}
        return None if any(v is None for v in values.values()) else replace(path, **values)

    return change


def holding(function: Any) -> Change:
    """Return a function of a datapath that gives ``function`` whatever the datapath."""
    return lambda _: function


def _on(field: str, order: Change) -> Change:
    return put(**{field: lambda path: order(getattr(path, field))})


# --- orders: the same bytes at other places, or read otherwise -----------------------------------


def _channels(last: bool) -> Change:
    """Read ``[N, C, ...]`` as if its channels stood last, or the reverse; the shape is kept."""

    def order(v: AnyArray) -> AnyArray:
        if last:
            return np.moveaxis(v, 1, -1).reshape(v.shape)
        return np.moveaxis(v.reshape(len(v), *v.shape[2:], v.shape[1]), -1, 1)

    return order


def _words(size: int) -> Change:
    """Reverse the elements of each word of ``size``."""
    return lambda v: v.reshape(-1, size)[:, ::-1].reshape(v.shape)


def _bytes(change: Change) -> Change:
    """Change 8-bit codes as bytes."""
    return lambda v: change(v.view(np.uint8)).view(v.dtype) if v.dtype.itemsize == 1 else None


def _rolled(axis: int, by: int) -> Change:
    return lambda v: np.roll(v, by, axis) if v.ndim > 2 or axis in (0, 1) else None


ORDERS: Table = {
    "the channels are reversed (RGB for BGR)": lambda v: v[:, ::-1],
    "each channel is taken for the next": _rolled(1, 1),
    "each channel is taken for the one before": _rolled(1, -1),
    "NHWC is read as NCHW": _channels(last=True),
    "NCHW is read as NHWC": _channels(last=False),
    "rows and columns are exchanged": lambda v: v.swapaxes(-1, -2).reshape(v.shape),
    "two neighbours change places": _words(2),
    "elements are reversed in words of 4": _words(4),
    "elements are reversed in words of 8": _words(8),
    "elements are reversed in words of 16": _words(16),
    "the sign bit is flipped (unsigned, or offset by 128)": _bytes(lambda v: v ^ np.uint8(128)),
}
"""Of inputs, weights and outputs."""

PLACES: Table = {
    "it is that of the image before (stale)": _rolled(0, 1),
    "it is that of the next image": _rolled(0, -1),
    "it is that of the first image": lambda v: np.repeat(v[:1], len(v), 0),
    "it is one pixel too far right": _rolled(-1, 1),
    "it is one pixel too far left": _rolled(-1, -1),
    "it is one pixel too low": _rolled(-2, 1),
    "it is one pixel too high": _rolled(-2, -1),
}
"""Of inputs and outputs."""

KERNELS: Table = {
    "the kernel is turned by 180 degrees": lambda w: w[:, :, ::-1, ::-1],
    "the kernel is mirrored left to right": lambda w: w[:, :, :, ::-1],
    "the kernel is mirrored top to bottom": lambda w: w[:, :, ::-1],
    "filters and input channels are exchanged": lambda w: w.swapaxes(0, 1).reshape(w.shape),
    "each filter is taken for the next": _rolled(0, 1),
    "each filter is taken for the one before": _rolled(0, -1),
    "OIHW is read as HWIO": lambda w: w.transpose(2, 3, 1, 0).reshape(w.shape),
    "HWIO is read as OIHW": lambda w: w.reshape((*w.shape[2:], *w.shape[1::-1])).T.swapaxes(2, 3),
    "the two nibbles of a byte are exchanged": _bytes(lambda v: v << 4 | v >> 4),
    "unsigned bytes are read": lambda w: w.astype(np.int64) & 255,
}

NORMALIZED: Table = {
    f"it is divided by {by} once more": put(
        x=lambda p, by=by: np.rint((p.x - np.int64(p.x_zero)) / by).astype(int) + p.x_zero
    )
    for by in (255, 128)
}

# --- the border ----------------------------------------------------------------------------------


def _end(which: str) -> Change:
    return lambda p: getattr(np.iinfo(p.y_zero.dtype), which)


def _moved(down: int, right: int) -> Change:
    return put(begin=lambda p: (p.begin[0] - down, p.begin[1] - right))


BORDERS: Table = {
    "pads hold code 0, not the zero point (or all weights are folded with it)": put(pad=0),
    "pads hold the lowest code": put(pad=_end("min")),
    "pads hold the highest code": put(pad=_end("max")),
    "pads hold code 128": put(pad=128),
    "the edge is repeated": put(fold=holding(lambda i, n: np.clip(i, 0, n - 1))),
    "the image is mirrored at its edge": put(
        fold=holding(lambda i, n: np.where(i < n, abs(i), 2 * n - 2 - i))
    ),
    "the image goes on at its other side": put(fold=holding(lambda i, n: i % n)),
    "the window is one row too low": _moved(1, 0),
    "the window is one row too high": _moved(-1, 0),
    "the window is one column too far right": _moved(0, 1),
    "the window is one column too far left": _moved(0, -1),
    "one pixel more above and left (symmetric padding for SAME)": _moved(-1, -1),
    "one pixel less above and left": _moved(1, 1),
    "the strides are exchanged": put(strides=lambda p: p.strides[::-1]),
    "the dilation is missing": put(dilations=(1, 1)),
}

# --- the sum -------------------------------------------------------------------------------------


def _bias(change: Callable[[Products], Any]) -> Change:
    return put(b=lambda p: np.rint(change(p)).astype(np.int64) if p.b.any() else None)


SUMS: Table = {
    "the bias is missing": _bias(lambda p: p.b * 0),
    "the bias is added twice": _bias(lambda p: p.b * 2),
    "the bias is subtracted": _bias(lambda p: -p.b),
    "each bias is taken for the next channel's": _bias(lambda p: np.roll(p.b, 1)),
    "each bias is taken for that of the channel before": _bias(lambda p: np.roll(p.b, -1)),
    "channel 0's bias is taken for all": _bias(lambda p: p.b * 0 + p.b[0]),
    "the bias saturates at 16 bits": _bias(lambda p: arithmetic.saturated(p.b, 16)),
    "the bias wraps at 16 bits": _bias(lambda p: arithmetic.wrapped(p.b, 16)),
    "the bias saturates at 8 bits": _bias(lambda p: arithmetic.saturated(p.b, 8)),
    "the bias is quantized with the output's scale for the input's": _bias(
        lambda p: p.b * (float(p.x_scale) / float(p.y_scale))
    ),
    "the bias is quantized with the weight's scale only": _bias(lambda p: p.b * float(p.x_scale)),
    "the bias is quantized with the input's scale only": _bias(
        lambda p: p.b * p.w_scale[0].astype(float)
    ),
    "the bias is quantized with channel 0's scale": _bias(
        lambda p: p.b * (p.w_scale[0].astype(float) / float(p.w_scale[0, 0]))
    ),
    "the bias is in steps of the output, not of the sum": _bias(
        lambda p: p.b * multiplier(p, p.w_scale)[0].astype(float)
    ),
    "the weight's zero point is missing": put(w_zero=lambda p: p.w_zero * 0),
    "the weight's zero point has the wrong sign": put(w_zero=lambda p: -p.w_zero),
    "the weight's zero point is 128": put(w_zero=lambda p: p.w_zero * 0 + 128),
}
ANY_SUMS: Table = {
    "the input's zero point is missing": put(x_zero=0, pad=0),
    "the input's zero point is missing, but pads hold it": put(x_zero=0),
    "the input's zero point has the wrong sign": put(
        x_zero=lambda p: -p.x_zero, pad=lambda p: -p.x_zero
    ),
    "the input's zero point has the wrong sign, but pads hold it": put(x_zero=lambda p: -p.x_zero),
    "the input's zero point is 128 too high": put(x_zero=lambda p: p.x_zero + 128),
    "the input's zero point is 128 too low": put(x_zero=lambda p: p.x_zero - 128),
    **{
        f"the sum {verb} at {bits} bits": put(register=holding(partial(keep, bits=bits)))
        for verb, keep in (("wraps", arithmetic.wrapped), ("saturates", arithmetic.saturated))
        for bits in range(8, 32)
    },
}


def _in_order(bits: int, together: int, taps_first: bool) -> Change:
    """Saturate each partial sum; or each sum of ``together`` products, which are then added up."""

    def change(p: Products) -> Products | None:
        order, keep = np.arange(p.w[0].size), partial(arithmetic.saturated, bits=bits)
        if taps_first:
            order = order.reshape(p.w.shape[1], -1).T.reshape(-1)

        def add_up(taps: Int64, weights: Int64) -> Int64:
            total: Any = 0
            for i in range(0, len(order), together):
                part = taps[:, :, order[i : i + together]] @ weights[:, order[i : i + together]]
                total = keep(total + part) if together == 1 else total + keep(part)
            return np.asarray(total)

        return replace(p, add_up=add_up) if len(order) > 1 else None

    return change


def _raw_pairs(p: Products) -> Products | None:
    """Saturate each sum of two products of raw codes, and take the zero points off afterwards."""
    x_zero, w_zero = p.x_zero, p.w_zero.reshape(p.group, 1, -1)
    if p.w[0].size < 2 or not (x_zero or w_zero.any()):
        return None  # one product, or no zero point to take off

    def add_up(taps: Int64, weights: Int64) -> Int64:
        a, b = taps + x_zero, weights + w_zero
        pairs = (a[:, :, k : k + 2] @ b[:, k : k + 2] for k in range(0, b.shape[1], 2))
        total: Any = sum(arithmetic.saturated(pair, bits=16) for pair in pairs)
        zeros = x_zero * b.sum(axis=1, keepdims=True) + a.sum(axis=2, keepdims=True) * w_zero
        return np.asarray(total - zeros + b.shape[1] * x_zero * w_zero)

    return replace(p, add_up=add_up)


PARTIAL_SUMS: Table = {
    "each pair of products of raw codes saturates at 16 bits (AVX2 without VNNI)": _raw_pairs,
} | {
    f"each {what} saturates at {bits} bits, {order}": _in_order(bits, together, taps_first)
    for order, taps_first in (("channel by channel", False), ("tap by tap", True))
    for what, together, widths in (
        ("partial sum", 1, (14, 15, 16, 17, 18, 19, 20, 24)),
        ("pair of products", 2, (16,)),
    )
    for bits in widths
}

# --- requantization ------------------------------------------------------------------------------


def _by(requantizer: Requantizer) -> Change:
    return put(scale=holding(requantized(requantizer)))


def _rounded(whole: Callable[[AnyArray], AnyArray]) -> Change:
    """Make whole numbers otherwise, of the real output in steps; then comes the zero point."""

    def scale(p: Products, acc: Int64, w_scale: Any) -> AnyArray:
        real = int32(acc).astype(np.float32) * multiplier(p, w_scale)
        return np.asarray(whole(np.asarray(real)).astype(np.int64) + p.zero)

    return put(scale=holding(scale))


def _bytes_of(v: AnyArray) -> AnyArray:
    """Round, and saturate to 8 bits."""
    return np.asarray(np.clip(np.rint(v), -128, 127))


def _sum_itself(p: Products, acc: Int64, w_scale: Any) -> Int64:  # noqa: ARG001
    return acc


def _late_bias(p: Products, *, scaled: bool) -> Products | None:
    """Add the bias to the rounded output: scaled and rounded by itself, or as it is."""
    if not p.b.any() or len(p.w_scale) > 1:
        return None
    late = contract(p, p.b[None], p.w_scale) - p.zero if scaled else p.b[None]
    return replace(p, b=p.b * 0, late=late)


def _clamped_before_bias(p: Products) -> Any:
    late = _late_bias(p, scaled=True)
    return None if late is None else _rounded(_bytes_of)(late)


ANY_SCHEMES: Table = {
    "the output's zero point is missing": put(zero=0),
    "the output's zero point has the wrong sign": put(zero=lambda p: -p.zero),
    "saturated to 8 bits before the zero point is added": _rounded(_bytes_of),
    "saturated to 8 bits one place before the last shift": _rounded(
        lambda v: _bytes_of(v * 2).astype(int) >> 1
    ),
    "saturated to 8 bits two places before the last shift": _rounded(
        lambda v: _bytes_of(v * 4).astype(int) >> 2
    ),
    "not requantized: the sum saturates": put(scale=holding(_sum_itself)),
    "not requantized: the low byte of the sum": put(scale=holding(_sum_itself), wraps=True),
    "not requantized: the second byte of the sum": put(
        scale=holding(lambda p, acc, w_scale: acc >> 8),  # noqa: ARG005
        wraps=True,
    ),
}

EQUAL = ("thresholds", "xnnpack-fp32")
"""Requantizers that compute the contract, and do not explain more than it."""

NARROW = [single_rounding(bits) for bits in (7, 10, 14, 22, 23, 24, 30)]
NARROW += [single_rounding(bits, one_shift=True) for bits in (31, 16, 15, 12, 8)]

SCHEMES: Table = {
    **{
        f"the scheme {r.name}: {r.formula} ({r.source})": _by(r)
        for r in (*REQUANTIZERS.values(), *NARROW)
        if r.name not in EQUAL
    },
    "the bias is scaled and rounded by itself": partial(_late_bias, scaled=True),
    "the bias is added after the requantization": partial(_late_bias, scaled=False),
    "saturated to 8 bits before the bias is added": _clamped_before_bias,
}


def _divisor(rows: int) -> Change:
    """Divide the sum of a pool by another number of pixels."""
    return put(w_scale=lambda p: np.full((1, 1), np.prod(np.add(p.x.shape[2:], rows)), np.float32))


AVERAGES: Table = {
    **{f"the average {k}": _by(r) for k, r in alternatives.AVERAGES.items() if k != "contract"},
    "the average is rounded down": _rounded(np.floor),
    "the average is rounded half away from zero": _rounded(
        lambda v: np.trunc(v + np.copysign(np.float32(0.5), v))
    ),
    "the divisor counts one row and column more": _divisor(1),
    "the divisor counts pads on every side": _divisor(2),
    "the divisor is missing": put(w_scale=np.ones((1, 1), np.float32)),
    "the rescale is missing: a plain mean": put(x_scale=lambda p: p.y_scale),
}


def _table(order: Change) -> Change:
    """Take the table of weight scales otherwise, where the scales differ."""
    return put(w_scale=lambda p: order(p.w_scale) if np.ptp(p.w_scale) else None)


SHIFTS: Table = {
    f"the shift is off by {abs(n)}: {2.0**n:g} times the output": put(
        x_scale=lambda p, n=n: np.float32(p.x_scale * np.float32(2.0**n))
    )
    for n in (1, -1, 2, -2, 8, -8)
}
SCALES: Table = {
    "the scale of channel 0 is taken for all": _table(lambda s: s * 0 + s[:, :1]),
    "the scale of the last channel is taken for all": _table(lambda s: s * 0 + s[:, -1:]),
    "the greatest scale is taken for all": _table(lambda s: s * 0 + s.max()),
    "each scale is taken for the next channel's": _table(lambda s: np.roll(s, 1, 1)),
    "each scale is taken for that of the channel before": _table(lambda s: np.roll(s, -1, 1)),
    "the scales stand in reverse order": _table(lambda s: s[:, ::-1]),
    "the scales run along the rows": _table(np.transpose),
    "the input's scale is missing": put(x_scale=np.float32(1)),
    "the weight's scale is missing": put(w_scale=lambda p: np.ones_like(p.w_scale)),
    "the output's scale is missing": put(y_scale=np.float32(1)),
    "input's and output's scales are exchanged": put(
        x_scale=lambda p: p.y_scale, y_scale=lambda p: p.x_scale
    ),
}

RAILS: Table = {
    "it wraps instead of saturating (no ReLU, or the low byte is kept)": put(wraps=True),
    "a ReLU cuts at the zero point": put(low=lambda p: int(p.y_zero)),
    "a ReLU cuts at code 0": put(low=0),
    "it saturates to -127..127": put(low=-127, high=127),
    "it saturates to -128..127": put(low=-128, high=127),
    "it saturates to 0..255": put(low=0, high=255),
    "it saturates to 0..127": put(low=0, high=127),
    "it saturates to -64..63": put(low=-64, high=63),
}

# --- additions -----------------------------------------------------------------------------------


def _given(**new: Any) -> Change:
    """Take other parameters of an addition: those of another operand, by name, or values."""

    def change(p: Whole) -> Whole:
        values = {k: p.given[v] if isinstance(v, str) else v for k, v in new.items()}
        zeros = {k: np.zeros_like(p.y_zero) for k, v in values.items() if v is None}
        return replace(p, given={**p.given, **values, **zeros})

    return change


def _sum_of(whole: Callable[[AnyArray, AnyArray], AnyArray], *, inside: bool = False) -> Change:
    """Add otherwise: operands in steps of the output to whole numbers; then the zero point."""

    def adder(*v: Any) -> AnyArray:
        a, b = (
            arithmetic.centred(v[i], v[i + 2]) * (float(v[i + 1]) / float(v[6])) for i in (0, 3)
        )
        zero = int(v[7])
        return np.asarray(whole(a + zero, b) if inside else whole(a, b) + zero).astype(np.int64)

    return _given(adder=adder)


def _half_away(v: AnyArray) -> AnyArray:
    return np.asarray(np.trunc(v + np.copysign(0.5, v)))


ADDS: Table = {
    **{
        f"the adder {k}": _given(adder=f) for k, f in alternatives.ADDERS.items() if k != "contract"
    },
    **{
        f"two multipliers with {n} binary places": _given(adder=alternatives.shift_adder(n))
        for n in (*range(4, 17), 20, 22, 24)
    },
    "each operand is rounded down (the left shift is lost)": _sum_of(
        lambda a, b: np.floor(a) + np.floor(b)
    ),
    "each operand is saturated to 8 bits first": _sum_of(lambda a, b: _bytes_of(a) + _bytes_of(b)),
    "saturated to 8 bits before the zero point is added": _sum_of(lambda a, b: _bytes_of(a + b)),
    "rounded half away from zero": _sum_of(lambda a, b: _half_away(a + b)),
    "rounded down": _sum_of(lambda a, b: np.floor(a + b)),
    "truncated": _sum_of(lambda a, b: np.trunc(a + b)),
    "rounded with the zero point inside": _sum_of(lambda a, b: np.rint(a + b), inside=True),
    "rounded half away from zero, zero point inside": _sum_of(
        lambda a, b: _half_away(a + b), inside=True
    ),
    "wraps instead of saturating (the low byte is kept)": lambda p: replace(
        _sum_of(lambda a, b: np.rint(a + b))(p), wraps=True
    ),
    "the first operand is not rescaled": _given(a_scale="c_scale"),
    "the second operand is not rescaled": _given(b_scale="c_scale"),
    "neither operand is rescaled": _given(a_scale="c_scale", b_scale="c_scale"),
    "the first operand's scale is taken for both": _given(b_scale="a_scale"),
    "the second operand's scale is taken for both": _given(a_scale="b_scale"),
    "the operands' scales are exchanged": _given(a_scale="b_scale", b_scale="a_scale"),
    "the operands' scales and zero points are exchanged": _given(
        a_scale="b_scale",
        b_scale="a_scale",
        a_zero_point="b_zero_point",
        b_zero_point="a_zero_point",
    ),
    "the first zero point is missing": _given(a_zero_point=None),
    "the second zero point is missing": _given(b_zero_point=None),
    "both zero points are missing": _given(a_zero_point=None, b_zero_point=None),
    "the output's zero point is missing": _given(c_zero_point=None),
    "only the first operand arrives": lambda p: replace(
        p, inputs=(p.inputs[0], np.full_like(p.inputs[1], p.given["b_zero_point"]))
    ),
    "only the second operand arrives": lambda p: replace(
        p, inputs=(np.full_like(p.inputs[0], p.given["a_zero_point"]), p.inputs[1])
    ),
}


def _quantized(
    whole: Callable[[AnyArray], AnyArray],
    steps: Callable[[AnyArray, Any], AnyArray] = np.divide,
    *,
    inside: bool = False,
) -> Change:
    """Quantize otherwise: reals to steps of the output to whole numbers; then the zero point."""

    def quantizer(x: AnyArray, scale: Any, zero_point: Any) -> AnyArray:
        with np.errstate(over="ignore", invalid="ignore"):
            real, zero = steps(x, scale), int(zero_point)
        made = whole(real + real.dtype.type(zero)) if inside else whole(real) + zero
        finite = np.nan_to_num(np.clip(made, -(2.0**31), 2.0**31), nan=-(2.0**31))
        return np.asarray(finite.astype(np.int64))

    return _given(quantizer=quantizer)


QUANTIZERS: Table = {
    "rounded half away from zero": _quantized(_half_away),
    "rounded half up": _quantized(lambda v: np.floor(v + v.dtype.type(0.5))),
    "rounded down": _quantized(np.floor),
    "truncated": _quantized(np.trunc),
    "rounded with the zero point inside": _quantized(np.rint, inside=True),
    "rounded half away from zero, zero point inside": _quantized(_half_away, inside=True),
    "multiplied by the reciprocal of the scale": _quantized(
        np.rint, lambda x, scale: x * (x.dtype.type(1) / scale)
    ),
    "divided in double precision": _quantized(
        np.rint, lambda x, scale: x.astype(float) / float(scale)
    ),
    "wraps instead of saturating (the low byte is kept)": lambda p: replace(
        _quantized(np.rint)(p), wraps=True
    ),
    "the zero point is missing": _given(y_zero_point=None),
}
"""Of the borders, where reals become codes."""


def _padded_with_zero(p: Whole) -> Whole:
    top, left, bottom, right = p.given["pads"]
    x = np.pad(p.inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right)))
    return replace(p, inputs=(x,), given={**p.given, "pads": (0, 0, 0, 0)})


WINDOWS: Table = {
    "pads hold code 0": _padded_with_zero,
    "the divisor counts pads": _given(count_include_pad=1),
    "the divisor does not count pads": _given(count_include_pad=0),
}
"""Of pools with a moving window."""

OF_IMAGES: Table = {
    "it is divided by 255 once more": lambda v: v / v.dtype.type(255),
    "it is brought to -1..1": lambda v: v / v.dtype.type(127.5) - v.dtype.type(1),
    "128 is subtracted once more": lambda v: v - v.dtype.type(128),
}
"""Of real inputs."""


# --- which hypotheses a layer leaves room for ----------------------------------------------------


def hypotheses(path: Datapath, others: Mapping[str, AnyArray]) -> Iterator[Hypothesis]:
    """Yield every hypothesis about a datapath.

    Parameters
    ----------
    path
        The layer.
    others
        Name → tensors that could have been read in place of an input.
    """
    if isinstance(path, Whole):
        yield from _rows({"add": ADDS} if "c_scale" in path.given else {})
        yield from _rows({"quantization": QUANTIZERS} if "y_scale" in path.given else {})
        yield from _rows({"window": WINDOWS} if "kernel_shape" in path.given else {})
        yield from _rows({"rails": RAILS} if path.y_zero is not None else {})
        for place, value in enumerate(path.inputs):
            which = f"input {place + 1}" if len(path.inputs) > 1 else "input"
            for name, order in _readings(value, others).items():
                yield Hypothesis(which, name, partial(_reading, order, place))
        return
    operands = {name: _on("x", order) for name, order in _readings(path.x, others).items()}
    yield from _rows({"input": {**operands, **NORMALIZED}, "sum": ANY_SUMS})
    if not path.pools:
        weights = {name: _on("w", order) for name, order in {**ORDERS, **KERNELS}.items()}
        yield from _rows({"weights": weights, "border": BORDERS, "sum": SUMS})
        yield from _rows({"partial sums": PARTIAL_SUMS, "scales": SCALES})
    schemes = {**(AVERAGES if path.pools else SCHEMES), **ANY_SCHEMES}
    yield from _rows({"requantization": schemes, "scales": SHIFTS, "rails": RAILS})


def _rows(tables: Mapping[str, Table]) -> Iterator[Hypothesis]:
    for step, table in tables.items():
        yield from (Hypothesis(step, name, change) for name, change in table.items())


def _readings(value: AnyArray, others: Mapping[str, AnyArray]) -> Table:
    """Return what may be read in place of a tensor: itself otherwise, or another."""
    alike = {
        f"it is {name}": holding(other.reshape(value.shape))
        for name, other in others.items()
        if other.size == value.size and other.dtype == value.dtype
    }
    return {**ORDERS, **PLACES, **(OF_IMAGES if value.dtype.kind == "f" else {}), **alike}


def _reading(order: Change, place: int, p: Whole) -> Whole | None:
    new = order(p.inputs[place])
    inputs = (*p.inputs[:place], new, *p.inputs[place + 1 :])
    return None if new is None else replace(p, inputs=inputs)


def of_output(y: AnyArray, others: Mapping[str, AnyArray]) -> Iterator[Hypothesis]:
    """Yield how a right output may be stored otherwise, or another be taken for it.

    A change makes the one array of the other here.
    """
    readings = dict(_readings(y, others))
    for channel in range(min(y.shape[1], 64) if y.ndim > 1 else 0):
        every = np.broadcast_to(y[:, channel : channel + 1], y.shape)
        readings[f"every channel holds channel {channel}"] = holding(every)
    yield from _rows({"output": readings})
