"""``calibration.json``: everything that cannot be computed again bit for bit.

Ranges, Gram matrices and the rounding that follows from them depend on the last bits of some
machine's kernels. They are measured once and recorded: ranges, scales and biases as hexadecimal
floats, rounding as the difference from the nearest code. From the float weights and this record,
the integers follow by single IEEE 754 operations, the same on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import BitbybitError, DataError
from bitbybit.files import atomic_write_json
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.quantization.scheme import Range, Scheme

SCHEMA_VERSION = 1

_NO_RECORD = (
    *(LookupError, TypeError, ValueError, AttributeError),
    *(RecursionError, BitbybitError),
)
"""What reading something else than a record raises."""


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """Weights and bias of one layer.

    Attributes
    ----------
    scale : float32 ``[M]`` or, per tensor, ``[1]``
    zero_point : of the weights
    rounding : codes minus nearest codes, packed by :func:`pack`; "" where all are nearest
    bias : corrected bias, float32 ``[M]``, or None: the float network's own
    """

    scale: NDArray[np.float32]
    zero_point: int = 0
    rounding: str = ""
    bias: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Variant:
    """What one scheme makes of a network: ranges by edge, records by layer."""

    scheme: Scheme
    ranges: dict[str, Range]
    layers: dict[str, LayerRecord]


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """The record of a calibration.

    Attributes
    ----------
    network : :func:`fingerprint` of the float network
    method : how ranges were chosen, as the workshop that calibrated describes it
    images : what it was calibrated on, as the caller describes it, and how many
    made_with : versions and session options
    variants : one per scheme
    """

    network: str
    method: dict[str, Any]
    images: dict[str, Any]
    made_with: dict[str, Any]
    variants: tuple[Variant, ...]

    def variant(self, scheme: Scheme | None = None) -> Variant:
        """Return what was recorded for ``scheme``, by default the first.

        Raises
        ------
        DataError
            Nothing was.
        """
        for variant in self.variants:
            if scheme in {None, variant.scheme}:
                return variant
        raise DataError(
            "the calibration knows nothing of this scheme",
            expected="; ".join(str(variant.scheme) for variant in self.variants) or "a scheme",
            found=scheme or "no scheme",
            next_step="Calibrate again, with this scheme among `schemes`.",
            where="calibration record",
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record as JSON, atomically."""
        variants = [
            {
                "scheme": vars(variant.scheme),
                "ranges": {edge: _hex(ends) for edge, ends in variant.ranges.items()},
                "layers": {name: _layer_to_json(layer) for name, layer in variant.layers.items()},
            }
            for variant in self.variants
        ]
        record = {"schema_version": SCHEMA_VERSION, **vars(self), "variants": variants}
        atomic_write_json(Path(path), record)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read a record.

        Raises
        ------
        DataError
            No such file, or not such a record.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            if record["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {record['schema_version']}")
            return cls(
                network=str(record["network"]),
                method=dict(record["method"]),
                images=dict(record["images"]),
                made_with=dict(record["made_with"]),
                variants=tuple(_variant_from_json(entry) for entry in record["variants"]),
            )
        except OSError as error:
            raise DataError(
                "the calibration record cannot be read",
                where=path,
                found=error.strerror,
                next_step="Name a record that scripts/quantize_onnx.py wrote.",
            ) from None
        except _NO_RECORD as error:
            ours = isinstance(error, BitbybitError)
            raise DataError(
                "not a calibration record",
                where=path,
                expected=f"what Calibration.save writes, schema version {SCHEMA_VERSION}",
                found=error if ours else f"{type(error).__name__}: {error}",
                next_step="Make one with scripts/quantize_onnx.py.",
            ) from None


def fingerprint(model: QuantizedModel) -> str:
    """Return the SHA-256 of a float network's layer names, weights and biases."""
    digest = hashlib.sha256()
    for layer in model.layers:
        digest.update(f"{layer.kind} {layer.name} {layer.inputs}\n".encode())
        if isinstance(layer, Conv | Dense):
            for tensor in (layer.weight, layer.bias):
                if tensor is not None:
                    digest.update(f"{tensor.values.shape}\n".encode())
                    digest.update(np.ascontiguousarray(tensor.values, "<f4").tobytes())
    return digest.hexdigest()


def pack(difference: NDArray[np.int64]) -> str:
    """Return code differences as base64 of zlib of little-endian int16; "" if all are 0."""
    if not difference.any():
        return ""
    return base64.b64encode(zlib.compress(difference.astype("<i2").tobytes(), 9)).decode("ascii")


def unpack(text: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the int64 array that :func:`pack` packed.

    Raises
    ------
    DataError
        The text is damaged, or made of another number of values.
    """
    if not text:
        return np.zeros(shape, np.int64)
    size = 2 * int(np.prod(shape))
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error):
        data = b""
    if len(data) != size:
        raise DataError(
            "the recorded rounding is damaged, or does not fit the weights",
            where="calibration record",
            expected=f"{size} bytes",
            found=f"{len(data)} or more" if data else "no packed bytes",
            next_step="Restore the record, or calibrate again.",
        )
    return np.frombuffer(data, "<i2").astype(np.int64).reshape(shape)


def _layer_to_json(layer: LayerRecord) -> dict[str, Any]:
    bias = None if layer.bias is None else _hex(layer.bias)
    return {**vars(layer), "scale": _hex(layer.scale), "bias": bias}


def _hex(values: Iterable[float]) -> str:
    return " ".join(float(value).hex() for value in values)


def _floats(text: str) -> NDArray[np.float32]:
    exact = np.array([float.fromhex(word) for word in text.split()])
    with np.errstate(over="ignore"):
        values = exact.astype(np.float32)
    if not (np.isfinite(values).all() and (values == exact).all()):
        raise ValueError("a number that is no finite float32")
    return values


def _variant_from_json(entry: dict[str, Any]) -> Variant:
    ranges = {}
    for name, text in entry["ranges"].items():
        low, high = map(float.fromhex, text.split())
        if not (np.isfinite(high - low) and low <= high):
            raise ValueError(f"range {text} of {name}")
        ranges[name] = (low, high)
    layers = {name: _layer_from_json(**layer) for name, layer in entry["layers"].items()}
    return Variant(Scheme(**entry["scheme"]), ranges, layers)


def _layer_from_json(
    *, scale: str, zero_point: int, rounding: str, bias: str | None
) -> LayerRecord:
    corrected = None if bias is None else _floats(bias)
    return LayerRecord(_floats(scale), int(zero_point), str(rounding), corrected)
