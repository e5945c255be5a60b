"""How a pack's accumulators become codes: a named scheme, its multipliers or the user's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import arithmetic
from bitbybit.arithmetic.requantizers import REQUANTIZERS, FixedPoint, Multiplier, Requantizer
from bitbybit.digits import hex_float, shortest
from bitbybit.execution.engine import compute
from bitbybit.execution.feed import read_npz
from bitbybit.hardware.pack import Record, wrong
from bitbybit.model.types import Add, AnyArray, Conv, Dense, GlobalPool, Layer, QuantizedModel


@dataclass(frozen=True)
class Scheme:
    """How the convolutions and dense layers requantize; additions and pools are the contract's.

    Attributes
    ----------
    name : a key of :data:`~bitbybit.arithmetic.requantizers.REQUANTIZERS`
    own : layer name to a multiplier that takes the place of the one made of the scales
    """

    name: str = "contract"
    own: Mapping[str, Multiplier] = field(default_factory=dict)

    @property
    def rule(self) -> Requantizer:
        """The scheme itself.

        Raises
        ------
        DataError
            There is none of this name.
        """
        if self.name not in REQUANTIZERS:
            expected, next_step = ", ".join(REQUANTIZERS), "Choose one of these."
            raise wrong("requantization", "no such scheme", next_step, expected, self.name)
        return REQUANTIZERS[self.name]

    @property
    def is_contract(self) -> bool:
        """Whether it is the contract with the network's own multipliers."""
        return self.name == "contract" and not self.own

    def multiplier(self, model: QuantizedModel, layer: Layer) -> Multiplier | None:
        """Return what a layer multiplies by; None where there is nothing.

        Parameters
        ----------
        model
            The network, which knows the scales of its edges.
        layer
            One of its layers.

        Returns
        -------
        Multiplier
            Of a convolution or dense layer that of the scheme; where its output is float, the real
            value of one unit of the accumulator. Of a global pool float32 ``()``. Of an addition
            float32 ``[2]``: the two ratios of scales.
        """
        *given, y = (model.edges[name].params for name in (*layer.inputs, layer.name))
        scales = [p.scale for p in given if p is not None]
        if layer.name in self.own or len(scales) < max(len(given), 1):
            return self.own.get(layer.name)
        if isinstance(layer, (Conv, Dense)) and layer.weight.params is not None:
            w_scale = layer.weight.params.scale
            if y is None:
                return arithmetic.accumulator_scale(scales[0], w_scale)
            return self.rule.multiplier(scales[0], w_scale, y.scale, y.zero_point)
        sizes = [size or 0 for size in model.edges[layer.inputs[0]].shape[2:]]
        if isinstance(layer, GlobalPool) and y is not None and all(sizes):
            return arithmetic.pool_multiplier(scales[0], y.scale, math.prod(sizes))
        if isinstance(layer, Add) and y is not None:
            return np.array(scales, np.float32) / y.scale
        return None

    def output(
        self, model: QuantizedModel, layer: Layer, inputs: list[AnyArray], acc: AnyArray | None
    ) -> AnyArray:
        """Return what a layer makes of its inputs, or of its accumulators ``acc``."""
        y = model.edges[layer.name].params
        if self.is_contract or acc is None or y is None or not isinstance(layer, (Conv, Dense)):
            return compute(model, layer, inputs)
        return self.rule.codes(acc, self.multiplier(model, layer), y.zero_point, 1)

    def constants(self, model: QuantizedModel, layer: Layer) -> dict[str, AnyArray]:
        """Return the multiplier's arrays by name: m, or q and shift, or several m."""
        multiplier = self.multiplier(model, layer)
        if multiplier is None:
            return {}
        if isinstance(multiplier, FixedPoint):
            return {"q": multiplier.q, "shift": multiplier.shift}
        if isinstance(multiplier, tuple):
            return {f"m{place}": np.asarray(part) for place, part in enumerate(multiplier)}
        return {"m": np.asarray(multiplier)}

    def described(self, model: QuantizedModel, layer: Layer) -> Record | None:
        """Return the multiplier for JSON, in decimal and hex; of thresholds nothing."""
        arrays = {k: v.reshape(-1) for k, v in self.constants(model, layer).items()}
        if "q" in arrays:
            q, shift = (arrays[name].tolist() for name in ("q", "shift"))
            real = [math.ldexp(a, -b) for a, b in zip(q, shift, strict=True)]
            more = {"integer": q, "shift": shift, "rule": "multiplier = integer * 2^-shift"}
            return {"decimal": real, "hex": [value.hex() for value in real], **more}
        if len(arrays) != 1 or arrays["m"].dtype.kind != "f":
            return None
        m = arrays["m"]
        decimal = shortest(m) if m.dtype == np.float32 else m.tolist()
        return {"decimal": decimal, "hex": hex_float(m)}


def read_multipliers(path: Path, model: QuantizedModel, name: str) -> dict[str, Multiplier]:
    """Read multipliers of the user's own, as the scheme ``name`` takes them.

    Parameters
    ----------
    path
        JSON, ``{"stem": [0.0008, "0x1.a36e2fp-11", ...], "dense": {"q": [...], "shift": [...]}}``,
        or ``.npz`` with the arrays ``stem``, ``dense.q``, ``dense.shift``: one number, or one per
        output channel.
    model
        The network.
    name
        The scheme: float32 for one that multiplies by a float, ``q * 2^-shift`` for the others.

    Raises
    ------
    DataError
        The file is not like this, a layer is unknown, or a multiplier does not fit it.
    """
    rule = Scheme(name).rule
    given: Any = None
    try:
        given = _nested(read_npz(path)) if path.suffix == ".npz" else json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not given:
        next_step = 'Check the path; JSON is like {"stem": [0.0008], "dense": [0.002]}.'
        raise wrong(path, "no multipliers by layer name", next_step)
    found = {}
    for layer_name, value in given.items():
        layer = model.layer(str(layer_name))
        if not isinstance(layer, (Conv, Dense)) or model.edges[layer.name].params is None:
            next_step = "Name convolutions and dense layers."
            raise wrong(f"{path}, {layer.name}", "this layer has no multiplier", next_step)
        found[layer.name] = _own(f"{path}, {layer.name}", layer, value, rule)
    return found


def _nested(arrays: Mapping[str, NDArray[Any]]) -> Record:
    """Return arrays ``layer``, ``layer.q`` and ``layer.shift`` as JSON would have them."""
    found: Record = {}
    for name, values in arrays.items():
        layer, _, part = name.rpartition(".")
        if part in ("q", "shift"):
            found.setdefault(layer, {})[part] = values
        else:
            found[name] = values
    return found


def _own(where: str, layer: Conv | Dense, value: Any, rule: Requantizer) -> Multiplier:
    """Return one layer's multiplier, checked against its scheme and its channels."""
    channels = layer.weight.values.shape[0 if isinstance(layer, Conv) else 1]
    derived = rule.multiplier(np.float32(1), np.float32(0.5), np.float32(1), np.int8(0))
    fixed = isinstance(derived, FixedPoint)
    if not fixed and (isinstance(derived, tuple) or np.asarray(derived).dtype.kind != "f"):
        next_step = "Choose a scheme with a multiplier, for example contract or single-rounding."
        raise wrong(where, f"{rule.name} has no multiplier to give", next_step)
    try:
        parts = [np.asarray(value[key]) for key in _LIMITS] if fixed else [_reals(value)]
        good = all(part.shape in ((), (channels,)) for part in parts)
        if fixed:
            ends = zip(parts, _LIMITS.values(), strict=True)
            good &= all(p.dtype.kind in "iu" and low <= p.min() <= p.max() <= high
                        for p, (low, high) in ends)  # fmt: skip
        else:
            good &= bool((np.isfinite(parts[0]) & (parts[0] > 0)).all())
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        good, parts = False, []
    if not good:
        expected = f"{'q and shift' if fixed else 'positive numbers'}, 1 or {channels}"
        next_step = f"Give {rule.name} what it multiplies by, for each output channel."
        raise wrong(where, "not a multiplier of this layer", next_step, expected)
    if fixed:
        return FixedPoint(*np.broadcast_arrays(*(part.astype(np.int64) for part in parts)))
    return parts[0].astype(np.asarray(derived).dtype)


_LIMITS = {"q": (0, 2**31 - 1), "shift": (-31, 62)}


def _reals(value: Any) -> NDArray[np.float64]:
    """Return real numbers, of which some may be written as hex floats."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, list):
        return np.array([_reals(item)[()] for item in value])
    is_hex = isinstance(value, str) and value.lstrip("+-").lower().startswith("0x")
    return np.asarray(float.fromhex(value) if is_hex else float(value))
