"""One layer for a Verilog simulator: a datapath, its memories as hex, and a test bench.

The folder ``rtl`` beside this file holds the modules. Its ``README.md`` says how to simulate them,
and which ports a module of one's own must have to take the place of ``conv_layer``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import accumulate, params
from bitbybit.files import atomic_write_text
from bitbybit.hardware.matrices import matrix_layer
from bitbybit.model.types import AnyArray, Conv, Dense, QuantizedModel, QuantParams

SOURCES = Path(__file__).parent / "rtl"
"""The folder of what is the same for every layer."""

SCHEMES = ("thresholds", "single-rounding")
"""The requantizers that the datapath can have."""

LANES = 16
"""Output channels that are computed side by side, at most."""


def write_verilog(
    model: QuantizedModel,
    layer: str,
    x: NDArray[Any],
    folder: Path | str,
    scheme: str = "thresholds",
) -> tuple[Path, ...]:
    """Write a datapath, a test bench and the vectors of one layer.

    Parameters
    ----------
    model
        The network.
    layer
        The name of a convolution or dense layer with 8-bit codes.
    x
        Codes of the layer's input, ``[N, C, H, W]`` or ``[N, K]``: N images one after the other.
    folder
        Where to write; it is made if it is missing.
    scheme
        ``"thresholds"``, which equals the contract, or ``"single-rounding"``, an integer
        multiplier and a shift, which is another function: ``y.hex`` is what *it* gives.

    Returns
    -------
    The files. Words of ``.hex`` files are for ``$readmemh``, lane 0 in the lowest bits.

    Raises
    ------
    UnsupportedError
        Another kind of layer or scheme; weight zero points that differ, or a shift outside 1..62.
    EnvironmentProblem
        A file cannot be written.
    """
    found = matrix_layer(model.layer(layer))
    source, made = (params(model.edges[name], found) for name in (found.inputs[0], layer))
    weight = params(found.weight, found)
    acc = accumulate(model, found, [x])
    table = _table(scheme, (source, weight, made), acc.shape[1])
    if table is None or np.ptp(weight.zero_point) or made.dtype.itemsize > 1:
        raise UnsupportedError(
            "the datapath has no such requantizer, shift or zero points",
            where=f"{model.path.name}, layer {layer}, {scheme}",
            expected=f"{' or '.join(SCHEMES)}, shifts from 1 to 62, 8-bit codes, one w_zero_point",
            found=f"w_zero_point {np.unique(weight.zero_point)}",
            next_step="Take another scheme or layer.",
        )
    golden = REQUANTIZERS["contract" if scheme == "thresholds" else scheme]
    y = golden(acc, source.scale, weight.scale, made.scale, made.zero_point, 1)
    defined, w = _geometry(found, x.shape, acc.shape)
    defined |= {
        "X_SIGNED": int(source.dtype.kind == "i"),
        "X_ZERO": int(source.zero_point),
        "W_SIGNED": int(weight.dtype.kind == "i"),
        "W_ZERO": int(weight.zero_point.flat[0]),
        "Y_MIN": made.qmin,
        "Y_MAX": made.qmax,
        "Y_ZERO": int(made.zero_point),
        "SHIFTS": int(scheme != "thresholds"),
    }
    lanes, bias = defined["LANES"], np.zeros(len(w), np.int64)
    if found.bias is not None:
        bias[: acc.shape[1]] = found.bias.values
    texts = {path.name: path.read_text(encoding="utf-8") for path in SOURCES.glob("*.*")}
    texts["layer.vh"] = "".join(f"`define {name} {value}\n" for name, value in defined.items())
    texts |= {
        "x.hex": _hex(x.reshape(-1, 1), 2),
        "w.hex": _hex(w.reshape(-1, lanes, w.shape[1]).swapaxes(1, 2).reshape(-1, lanes), 2),
        "b.hex": _hex(bias.reshape(-1, lanes), 8),
        "table.hex": _hex(table.reshape(-1, 1), 10),
        "y.hex": _hex(y.reshape(-1, 1), 2),
        "acc.hex": _hex(acc.reshape(-1, 1), 8),
    }
    for name, text in texts.items():
        atomic_write_text(Path(folder) / name, text)
    return tuple(Path(folder) / name for name in texts)


def _table(scheme: str, edges: tuple[QuantParams, ...], channels: int) -> NDArray[np.int64] | None:
    """Return the requantizer's words, one row per channel; None where it has none."""
    x, w, y = edges
    if scheme not in SCHEMES:
        return None
    scales = np.broadcast_to(w.scale, channels).astype(np.float32)
    made = REQUANTIZERS[scheme].multiplier(x.scale, scales, y.scale, y.zero_point)
    if scheme == "thresholds":
        return np.asarray(made)
    fits = np.all((made.shift >= 1) & (made.shift <= 62))
    return np.asarray(made.q + (made.shift << 32)) if fits else None


def _geometry(
    layer: Conv | Dense, x: tuple[int, ...], y: tuple[int, ...]
) -> tuple[dict[str, int], AnyArray]:
    """Return sizes by the name of their parameter, and weights ``[M, K]`` with whole blocks."""
    values = layer.weight.values
    taps = values if isinstance(layer, Conv) else values.T[:, :, None, None]
    moves = layer if isinstance(layer, Conv) else Conv("", (), layer.weight, None)
    per_group = len(taps) // moves.group
    lanes = min(LANES, per_group) if moves.group == 1 else math.gcd(LANES, per_group)
    (n, c, h, w), (_, m, *out) = (*x, 1, 1)[:4], (*y, 1, 1)[:4]
    whole = np.zeros((-(-m // lanes) * lanes, taps[0].size), taps.dtype)
    whole[:m] = taps.reshape(m, -1)
    (kh, kw), (sh, sw), (dh, dw) = taps.shape[2:], moves.strides, moves.dilations
    sizes = {"IMAGES": n, "C": c, "H": h, "W": w, "M": m, "H_OUT": out[0], "W_OUT": out[1]}
    sizes |= {"KH": kh, "KW": kw, "SH": sh, "SW": sw, "DH": dh, "DW": dw, "GROUPS": moves.group}
    return sizes | {"TOP": moves.pads[0], "LEFT": moves.pads[1], "LANES": lanes}, whole


def _hex(words: AnyArray, digits: int) -> str:
    """Return words of several lanes as lines for ``$readmemh``, lane 0 last, in its lowest bits."""
    mask = 16**digits - 1
    rows = words.astype(np.int64).tolist()
    return "".join("".join(f"{v & mask:0{digits}x}" for v in row[::-1]) + "\n" for row in rows)
