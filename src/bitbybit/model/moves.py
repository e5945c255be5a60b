"""What an operator that moves elements does, by its attributes and constant inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bitbybit.arithmetic import RESIZE_MODES
from bitbybit.model.fold import Constants, NoLayerError
from bitbybit.model.graph import Step
from bitbybit.model.types import QuantParams


def attributes_of(
    constants: Constants, step: Step, params: QuantParams | None, *, on_codes: bool
) -> dict[str, Any]:
    """Return what sets a Transpose, Slice, Pad or Resize apart, by the names that ONNX gives it.

    Parameters
    ----------
    params : of the codes that are moved
    on_codes : whether the file's node reads codes, not their real view

    Raises
    ------
    NoLayerError : it does not only move elements
    """
    reader = _READERS.get(step.op)
    if reader is None:
        raise NoLayerError(f"{step.op} is no integer layer of the contract")
    found = reader(constants, step)
    if "constant_value" in found:
        found["constant_value"] = _padding(found["constant_value"], params, on_codes=on_codes)
    return {name: value for name, value in found.items() if value is not None}


def _ints(constants: Constants, step: Step, position: int, name: str) -> tuple[int, ...] | None:
    if not step.input(position):
        return step.node.ints(name, ()) if name in step.node.attributes else None
    given = constants.plain(step.input(position))
    if given is None or given.dtype.kind not in "iu":
        raise NoLayerError(f"its {name} are no constant integers")
    return tuple(int(i) for i in given.reshape(-1))


def _transpose(_constants: Constants, step: Step) -> dict[str, Any]:
    return {"perm": step.node.ints("perm", ()) or None}


def _slice(constants: Constants, step: Step) -> dict[str, Any]:
    names = ("starts", "ends", "axes", "steps")
    found = {name: _ints(constants, step, i, name) for i, name in enumerate(names, 1)}
    lengths = {len(value) for value in found.values() if value is not None}
    if found["starts"] is None or len(lengths) != 1 or 0 in (found["steps"] or ()):
        raise NoLayerError("it does not say from where to where it cuts")
    return found


def _pad(constants: Constants, step: Step) -> dict[str, Any]:
    pads, mode = _ints(constants, step, 1, "pads"), step.node.text("mode", "constant")
    if pads is None or min(pads, default=0) < 0 or step.input(3):
        raise NoLayerError("its pads are negative, or for some axes only")
    if mode not in ("constant", "edge", "reflect"):
        raise NoLayerError(f"it pads in the mode {mode}")
    value = None
    if step.input(2):
        value = constants.plain(step.input(2))
        if value is None or value.size != 1:
            raise NoLayerError("what it pads with is no single constant")
    return {"pads": pads, "mode": mode, "constant_value": value}


def _padding(value: Any, params: QuantParams | None, *, on_codes: bool) -> int:
    """Return the code that fills a pad."""
    number = 0.0 if value is None else float(value.reshape(-1)[0])
    if on_codes:
        return int(number)
    if number or params is None:
        raise NoLayerError(f"it pads with {number}, not with 0")
    return int(params.zero_point)


def _resize(constants: Constants, step: Step) -> dict[str, Any]:
    node, names = step.node, ("coordinate_transformation_mode", "nearest_mode")
    modes = {
        name: node.text(name, default)
        for name, default in zip(names, ("half_pixel", "round_prefer_floor"), strict=True)
    }
    if node.text("mode", "nearest") != "nearest":
        raise NoLayerError(f"it mixes elements in the mode {node.text('mode', '')}")
    if any(modes[name] not in known for name, known in zip(names, RESIZE_MODES, strict=True)):
        raise NoLayerError(f"it finds the nearest element by {', '.join(modes.values())}")
    others = {"antialias", "axes", "keep_aspect_ratio_policy", "exclude_outside"}
    if len(step.inputs) < 3 or any(node.attributes.keys() & others):
        raise NoLayerError("it rounds or chooses axes as only some opsets do")
    scales = constants.plain(step.input(2)) if step.input(2) else None
    if scales is not None and scales.size:
        return modes | {"scales": tuple(float(s) for s in scales.astype(np.float32))}
    sizes = _ints(constants, step, 3, "sizes")
    if not sizes:
        raise NoLayerError("its scales and sizes are not constants")
    return modes | {"sizes": sizes}


_READERS: dict[str, Callable[[Constants, Step], dict[str, Any]]] = {
    "Transpose": _transpose,
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
}


def parts_of_split(constants: Constants, step: Step) -> list[dict[str, Any]]:
    """Return for each output of a Split the Slice that makes it.

    Raises
    ------
    NoLayerError : the file does not say how long each part is
    """
    lengths = _ints(constants, step, 1, "split")
    if lengths is None or len(lengths) != len(step.outputs):
        raise NoLayerError("the file does not say how long each part is")
    ends = np.cumsum(lengths)
    axis = step.node.int("axis", 0)
    return [
        {"starts": [int(end) - length], "ends": [int(end)], "axes": [axis]}
        for end, length in zip(ends, lengths, strict=True)
    ]
