"""Named faults that can be injected into the arithmetic, to prove that a check can fail.

    with faults.inject("pad-code-0"):
        ...  # a check of convolutions must fail here

A fault replaces functions of :mod:`bitbybit.arithmetic`. Every module that holds such a function
under any name gets the replacement, so it does not matter how callers imported it; and everything
is put back at the end. What a caller computed before, for example a prepared plan, keeps the
correct results: prepare it inside the ``with``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import REQUANTIZERS

Function = Callable[..., Any]
Wrapper = Callable[[Function], Function]

CONV, MATMUL, GEMM = "QLinearConv", "QLinearMatMul", "QGemm"
ADD, POOL = "QLinearAdd", "QLinearGlobalAveragePool"
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
PRODUCTS = (CONV, MATMUL, GEMM)
REQUANTIZED = (*PRODUCTS, POOL)


@dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    Attributes
    ----------
    name : how tests and reports call it
    breaks : the ONNX operators whose results it changes
    patches : function of ``bitbybit.arithmetic`` → what makes the wrong one from the right one
    rare : whether it shows only next to ties: ordinary data hardly ever meets it
    """

    name: str
    breaks: tuple[str, ...]
    patches: Mapping[str, Wrapper]
    rare: bool = False


@contextmanager
def inject(name: str | Fault, *namespaces: MutableMapping[str, Any]) -> Iterator[Fault]:
    """Make the arithmetic wrong inside a ``with``.

    Parameters
    ----------
    name
        A key of ``FAULTS``, or a fault of one's own.
    namespaces
        Globals of code that is no imported module, such as an executed chapter.
    """
    fault = name if isinstance(name, Fault) else FAULTS[name]
    undo: list[tuple[MutableMapping[str, Any], str, Function]] = []
    for function, wrap in fault.patches.items():
        right = getattr(arithmetic, function)
        wrong = wrap(right)
        modules = [vars(module) for module in list(sys.modules.values())]
        for namespace in (*modules, *namespaces):
            for key in [key for key, value in list(namespace.items()) if value is right]:
                namespace[key] = wrong
                undo.append((namespace, key, right))
    try:
        yield fault
    finally:
        for namespace, key, right in undo:
            namespace[key] = right


# --- rounding and saturation: the last step of every operator but QLinearAdd ---------------------


def _rounding(to_whole: Callable[[Any, Any], Any], *, wraps: bool = False) -> Mapping[str, Wrapper]:
    """Replace ``RNE(v) + zp``: ``to_whole(v, zp)`` gives the whole numbers, zero point added."""

    def wrap(right: Function) -> Function:
        def round_to_codes(real: Any, zero_point: Any) -> Any:
            info = np.iinfo(zero_point.dtype)
            zero = zero_point.astype(np.float32)
            whole = to_whole(np.nan_to_num(real, nan=info.min), zero)
            if wraps:
                return np.fmod(whole, 2.0**31).astype(np.int32).astype(zero_point.dtype)
            return np.clip(whole, info.min, info.max).astype(zero_point.dtype)

        return round_to_codes

    return {"round_to_codes": wrap}


def _half_away(v: Any, zero: Any) -> Any:
    whole = np.trunc(v)
    return whole + np.trunc(2 * (v - whole)) + zero


# --- scales: the order of three float32 operations ----------------------------------------------


def _multiplier(product: Callable[[Any, Any, Any], Any]) -> Mapping[str, Wrapper]:
    def conv(right: Function) -> Function:
        return lambda x, w, y: np.asarray(product(*map(np.float32, (x, w, y))))

    def gemm(right: Function) -> Function:
        return lambda a, b, y, alpha=1.0: np.asarray(
            product(np.float32(alpha) * np.float32(a), np.float32(b), np.float32(y))
        )

    return {"conv_multiplier": conv, "gemm_multiplier": gemm}


def _requantizer(name: str) -> Mapping[str, Wrapper]:
    """Finish every product with another requantizer: it needs the three scales."""
    requantizer = REQUANTIZERS[name]

    def conv(right: Function) -> Function:
        def qlinear_conv(
            x: Any, xs: Any, xz: Any, w: Any, ws: Any, wz: Any, ys: Any, yz: Any, b: Any = None,
            **window: Any,
        ) -> Any:  # fmt: skip
            acc = arithmetic.accumulate_conv(x, xz, w, wz, b, **window)
            return requantizer(acc, xs, ws, ys, yz, 1)

        return qlinear_conv

    def matmul(right: Function) -> Function:
        def qlinear_matmul(
            a: Any, as_: Any, az: Any, b: Any, bs: Any, bz: Any, ys: Any, yz: Any
        ) -> Any:
            acc = arithmetic.accumulate_matmul(a, az, b, bz)
            return requantizer(acc, as_, bs, ys, yz, acc.ndim - 1)

        return qlinear_matmul

    def gemm(right: Function) -> Function:
        def qgemm(
            a: Any, as_: Any, az: Any, b: Any, bs: Any, bz: Any, c: Any = None, ys: Any = None,
            yz: Any = None, *, alpha: float = 1.0, trans_a: bool = False, trans_b: bool = False,
        ) -> Any:  # fmt: skip
            if ys is None:
                return right(
                    a, as_, az, b, bs, bz, c, alpha=alpha, trans_a=trans_a, trans_b=trans_b
                )
            acc = arithmetic.accumulate_matmul(
                a.T if trans_a else a, az, b.T if trans_b else b, bz, c
            )
            return requantizer(acc, np.float32(alpha) * np.float32(as_), bs, ys, yz, 1)

        return qgemm

    return {"qlinear_conv": conv, "qlinear_matmul": matmul, "qgemm": gemm}


# --- accumulators -------------------------------------------------------------------------------


def _after(function: str, change: Callable[[Any], Any]) -> Mapping[str, Wrapper]:
    """Change what a function returns."""

    def wrap(right: Function) -> Function:
        return lambda *operands, **attributes: change(right(*operands, **attributes))

    return {function: wrap}


def _accumulators(change: Callable[[Any], Any]) -> Mapping[str, Wrapper]:
    return {**_after("accumulate_conv", change), **_after("accumulate_matmul", change)}


def _without_bias(right: Function) -> Function:
    return lambda x, xz, w, wz, b=None, **window: right(x, xz, w, wz, None, **window)


def _operand_replaced(position: int, value: Any) -> Wrapper:
    """Replace a zero point, of which only the dtype is kept."""

    def wrap(right: Function) -> Function:
        def function(*operands: Any, **attributes: Any) -> Any:
            changed = list(operands)
            if position < len(changed):
                changed[position] = np.asarray(changed[position]) * 0 + value
            return right(*changed, **attributes)

        return function

    return wrap


def _pad_with_code_0(right: Function) -> Function:
    return lambda x, pads, x_zero_point: right(x, pads, np.zeros_like(x_zero_point))


def _pads(change: Callable[[Any], Any]) -> Mapping[str, Wrapper]:
    """Pad otherwise, and cut the output back to its size: the mistake keeps every shape."""

    def wrap(right: Function) -> Function:
        def conv_integer(
            x: Any, w: Any, *zeros: Any, strides: Any = (1, 1), pads: Any = (0, 0, 0, 0),
            dilations: Any = (1, 1), group: int = 1, auto_pad: str = "NOTSET",
        ) -> Any:  # fmt: skip
            window = x.shape[2:], w.shape[2:], strides, dilations
            pads = arithmetic.window_pads(*window, pads, auto_pad)
            height, width = arithmetic.window_output_size(*window, pads)
            acc = right(
                x, w, *zeros, strides=strides, pads=change(pads), dilations=dilations, group=group
            )
            return acc[:, :, :height, :width]

        return conv_integer

    return {"conv_integer": wrap}


def _flipped_kernel(right: Function) -> Function:
    return lambda x, w, *zeros, **window: right(x, w[:, :, ::-1, ::-1], *zeros, **window)


# --- per-channel parameters ---------------------------------------------------------------------


def _first_scale_only(right: Function) -> Function:
    def requantize(acc: Any, multiplier: Any, y_zero_point: Any, axis: Any = None) -> Any:
        first = np.asarray(multiplier, np.float32).reshape(-1)[:1].reshape(())
        return right(acc, first, y_zero_point)

    return requantize


def _wrong_axis(right: Function) -> Function:
    """Take the scales along the rows instead of the channels, repeated or cut to fit."""

    def requantize(acc: Any, multiplier: Any, y_zero_point: Any, axis: Any = None) -> Any:
        values = np.asarray(multiplier, np.float32).reshape(-1)
        if values.size == 1 or acc.ndim < 2:
            return right(acc, multiplier, y_zero_point, axis)
        return right(acc, np.resize(values, acc.shape[-2]), y_zero_point, acc.ndim - 2)

    return requantize


# --- QLinearAdd, pooling, Q and DQ --------------------------------------------------------------


def _add(formula: Callable[..., Any]) -> Mapping[str, Wrapper]:
    def wrap(right: Function) -> Function:
        def qlinear_add(
            a: Any, as_: Any, az: Any, b: Any, bs: Any, bz: Any, cs: Any, cz: Any
        ) -> Any:
            numbers = (np.asarray(v, np.float32) for v in (a, as_, az, b, bs, bz, cs, cz))
            info = np.iinfo(cz.dtype)
            with np.errstate(all="ignore"):
                whole = np.nan_to_num(np.rint(formula(*numbers)), nan=info.min)
                return np.clip(whole, info.min, info.max).astype(cz.dtype)

        return qlinear_add

    return {"qlinear_add": wrap}


def _real_sum(a: Any, as_: Any, az: Any, b: Any, bs: Any, bz: Any, cs: Any, cz: Any) -> Any:
    return np.rint(((a - az) * as_ + (b - bz) * bs) / cs) + cz


def _without_fma(a: Any, as_: Any, az: Any, b: Any, bs: Any, bz: Any, cs: Any, cz: Any) -> Any:
    ra, rb = as_ / cs, bs / cs
    return a * ra + (b * rb + (cz - (ra * az + rb * bz)))


def _swapped(right: Function) -> Function:
    return lambda a, as_, az, b, bs, bz, cs, cz: right(b, bs, bz, a, as_, az, cs, cz)


def _times_reciprocal(right: Function) -> Function:
    def quantize_linear(x: Any, scale: Any, zero_point: Any, axis: Any = None) -> Any:
        factor = np.float32(1) / np.asarray(scale, np.float32)
        if factor.ndim:
            factor = factor.reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])
        with np.errstate(all="ignore"):
            return right(x * factor, np.float32(1), zero_point, None)

    return quantize_linear


ALL_PRODUCTS = {"conv_integer": 2, "matmul_integer": 2}

_FAULTS = (
    # formulas that look right
    Fault(
        "weight-over-output-first", PRODUCTS, _multiplier(lambda x, w, y: x * (w / y)), rare=True
    ),
    Fault("input-over-output-first", PRODUCTS, _multiplier(lambda x, w, y: (x / y) * w), rare=True),
    Fault(
        "reciprocal-of-output", PRODUCTS, _multiplier(lambda x, w, y: x * w * (1 / y)), rare=True
    ),
    Fault("divide-last", PRODUCTS, _requantizer("divide-last"), rare=True),
    Fault("float64", PRODUCTS, _requantizer("float64"), rare=True),
    Fault("half-away-from-zero", (*REQUANTIZED, QUANTIZE), _rounding(_half_away), rare=True),
    Fault(
        "half-up",
        (*REQUANTIZED, QUANTIZE),
        _rounding(lambda v, zero: np.floor(v + np.float32(0.5)) + zero),
        rare=True,
    ),
    Fault(
        "zero-point-before-rounding",
        (*REQUANTIZED, QUANTIZE),
        _rounding(lambda v, zero: np.rint(v + zero)),
        rare=True,
    ),
    # plainly wrong
    Fault("truncate", (*REQUANTIZED, QUANTIZE), _rounding(lambda v, zero: np.trunc(v) + zero)),
    Fault("floor", (*REQUANTIZED, QUANTIZE), _rounding(lambda v, zero: np.floor(v) + zero)),
    Fault("ceil", (*REQUANTIZED, QUANTIZE), _rounding(lambda v, zero: np.ceil(v) + zero)),
    Fault(
        "wrap-instead-of-saturate",
        (*REQUANTIZED, QUANTIZE),
        _rounding(lambda v, zero: np.rint(v) + zero, wraps=True),
    ),
    Fault(
        "output-zero-point-missing",
        (*REQUANTIZED, QUANTIZE),
        _rounding(lambda v, zero: np.rint(v)),
    ),
    Fault("all-zeros", REQUANTIZED, _after("requantize", np.zeros_like)),
    Fault("plus-37", REQUANTIZED, _after("requantize", lambda y: y + y.dtype.type(37))),
    # accumulators
    Fault(
        "input-zero-point-missing",
        PRODUCTS,
        {name: _operand_replaced(at, 0) for name, at in ALL_PRODUCTS.items()},
    ),
    Fault(
        "weight-zero-point-missing",
        PRODUCTS,
        {name: _operand_replaced(at + 1, 0) for name, at in ALL_PRODUCTS.items()},
    ),
    Fault(
        "bias-missing",
        (CONV, GEMM),
        {"accumulate_conv": _without_bias, "accumulate_matmul": _without_bias},
    ),
    Fault(
        "int16-accumulator",
        PRODUCTS,
        _accumulators(lambda acc: acc.astype(np.int16).astype(np.int32)),
    ),
    Fault(
        "channels-swapped",
        (CONV,),
        _after("accumulate_conv", lambda acc: np.roll(acc, 1, axis=1)),
    ),
    Fault("pad-code-0", (CONV,), {"pad_codes": _pad_with_code_0}),
    Fault("symmetric-pads", (CONV,), _pads(lambda p: (max(p[0], p[2]), max(p[1], p[3])) * 2)),
    Fault("pads-at-the-other-end", (CONV,), _pads(lambda p: (p[2], p[3], p[0], p[1]))),
    Fault("kernel-flipped", (CONV,), {"conv_integer": _flipped_kernel}),
    # per-channel parameters
    Fault("first-scale-only", PRODUCTS, {"requantize": _first_scale_only}),
    Fault("wrong-axis", PRODUCTS, {"requantize": _wrong_axis}),
    # addition, pooling, Q and DQ
    Fault("add-of-real-numbers", (ADD,), _add(_real_sum), rare=True),
    Fault("add-without-fma", (ADD,), _add(_without_fma), rare=True),
    Fault("add-operands-swapped", (ADD,), {"qlinear_add": _swapped}, rare=True),
    Fault(
        "pool-divides-last",
        (POOL,),
        {
            "pool_multiplier": lambda right: (
                lambda x, y, count: np.asarray(np.float32(x) / np.float32(y) / np.float32(count))
            )
        },
        rare=True,
    ),
    Fault("quantize-by-reciprocal", (QUANTIZE,), {"quantize_linear": _times_reciprocal}, rare=True),
    Fault(
        "dequantize-without-zero-point",
        (DEQUANTIZE,),
        {"dequantize_linear": _operand_replaced(2, 0)},
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}
"""Name → fault."""
