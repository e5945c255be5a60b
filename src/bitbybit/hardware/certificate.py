"""The certificate of a network's accumulators: bounds and witnesses that anyone can check.

A JSON object; the book's chapter on accumulators reads it without this library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from bitbybit import __version__
from bitbybit.errors import DataError
from bitbybit.execution.engine import main_node
from bitbybit.hardware.register_widths import Int64, Width, Witness, run_witnesses, widths
from bitbybit.model.types import QuantizedModel
from bitbybit.text import shortened

KIND = "accumulator certificate"
VERSION = 1
ENDS = ("low", "high")


def certificate(
    model: QuantizedModel, found: Sequence[Width], observed_on: str = ""
) -> dict[str, Any]:
    """Write down what is known of a network's accumulators.

    Parameters
    ----------
    model
        The network.
    found
        From :func:`bitbybit.hardware.widths`.
    observed_on
        The inputs of the observed ranges, in words.

    Returns
    -------
    dict
        What JSON can hold. ``certificate``, ``version`` and ``made_by``; ``model``: file and
        SHA-256; ``observed_on``; ``layers``, each with ``layer``, ``kind``, ``node`` (its name in
        the file), ``products``, ``x`` (dtype and zero point), ``bits``, ``types``, and per output
        channel ``weights``, ``low``, ``high`` and ``observed``; ``witness``: ``low`` and ``high``,
        each with ``channel``, ``value``, ``place``, ``padded`` and ``codes`` in hexadecimal, least
        significant byte first. Last the ``sha256`` of all before it (see ``digest``).
    """
    record: dict[str, Any] = {
        "certificate": KIND,
        "version": VERSION,
        "made_by": f"bitbybit {__version__}",
        "model": {"file": model.path.name, "sha256": model.sha256},
        "observed_on": observed_on or None,
        "layers": [_layer(width) for width in found],
    }
    return {**record, "sha256": digest(record)}


def _layer(width: Width) -> dict[str, Any]:
    limits, seen = width.bounds, width.observed
    return {
        "layer": width.layer.name,
        "kind": width.layer.kind,
        "node": main_node(width.layer)[1],
        "products": limits.terms,
        "x": {"dtype": width.x.dtype.name, "zero_point": int(width.x.zero_point)},
        "bits": width.bits,
        "types": limits.by_type,
        "weights": limits.by_weights.tolist(),
        "low": limits.low.tolist(),
        "high": limits.high.tolist(),
        "observed": seen and {e: v.tolist() for e, v in zip(ENDS, seen, strict=True)},
        "witness": {"low": _as_record(width.low), "high": _as_record(width.high)},
    }


def _as_record(witness: Witness) -> dict[str, Any]:
    codes = witness.codes.astype(witness.codes.dtype.newbyteorder("<"))
    return {
        "channel": witness.channel,
        "value": witness.value,
        "place": list(witness.place),
        "padded": witness.padded,
        "codes": codes.tobytes().hex(),
    }


def digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a certificate without its own ``sha256``.

    Of the JSON text with sorted keys and no blanks.
    """
    body = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_certificate(path: Path) -> dict[str, Any]:
    """Return a certificate as it was written.

    Raises
    ------
    DataError
        The file is no certificate, of a newer version, or was changed after it was written.
    """
    again = "Write it again: `bitbybit accumulators MODEL --certificate FILE`."
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("certificate") != KIND:
        raise DataError(f"this is no {KIND}", where=path, next_step=again)
    if record.get("version") != VERSION:
        raise DataError(
            "the certificate has another version than this program reads",
            where=path,
            expected=VERSION,
            found=record.get("version"),
            next_step="Check it with the version of bitbybit that made it: "
            f"{record.get('made_by')}.",
        )
    if record.get("sha256") != digest(record):
        raise DataError(
            "the certificate was changed after it was written",
            where=path,
            expected=f"SHA-256 {digest(record)[:16]}…",
            found=f"{str(record.get('sha256'))[:16]}…",
            next_step=again,
        )
    return record


def check_certificate(record: Mapping[str, Any], model: QuantizedModel) -> list[str]:
    """Check every number of a certificate against the network, from scratch.

    Bounds and witnesses are computed again and compared with ``==``, and the witnesses are run
    (:func:`bitbybit.hardware.run_witnesses`). Of the observed ranges, whose inputs the certificate
    does not hold, only that they lie inside the exact intervals is checked.

    Parameters
    ----------
    record
        From :func:`read_certificate`.
    model
        The network.

    Returns
    -------
    list of str
        A sentence for each thing that is wrong; none if all holds.

    Raises
    ------
    DataError
        The certificate is of another model.
    UnsupportedError
        The network has no accumulator, or ONNX Runtime cannot run a layer.
    """
    named = record.get("model")
    named = named if isinstance(named, dict) else {}
    if named.get("sha256") != model.sha256:
        raise DataError(
            "the certificate is of another model",
            where=model.path.name,
            expected=f"SHA-256 {str(named.get('sha256'))[:16]}…",
            found=f"{model.sha256[:16]}…",
            next_step=f"Check it against the file that it names: {named.get('file')}.",
        )
    given = record.get("layers")
    by_name = {layer.get("layer"): layer for layer in given} if _are_layers(given) else {}
    found = widths(model)
    if list(by_name) != [width.layer.name for width in found]:
        return ["the layers are not those of the model that have an accumulator"]
    faults = []
    for width in found:
        layer = by_name[width.layer.name]
        expected = _layer(replace(width, observed=_observed(layer, width)))
        faults += [
            f"{width.layer.name}: {key} is {shortened(layer.get(key), 60)}, "
            f"computed again {shortened(value, 60)}"
            for key, value in expected.items()
            if layer.get(key) != value
        ]
    return faults + [str(run) for run in run_witnesses(model, found) if not run.attained]


def _are_layers(given: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether something read from JSON is a list of objects with a name."""
    return isinstance(given, list) and all(
        isinstance(layer, dict) and isinstance(layer.get("layer"), str) for layer in given
    )


def _observed(layer: Mapping[str, Any], width: Width) -> tuple[Int64, Int64] | None:
    """Return the observed range that a certificate claims, if it lies in the exact interval."""
    try:
        low, high = (np.array(layer["observed"][end], np.int64) for end in ENDS)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    limits = width.bounds.low, width.bounds.high
    shaped = low.shape == high.shape and low.ndim == 1 and len(low) > 0
    inside = shaped and len(limits[0]) in {1, len(low)}
    return (
        (low, high)
        if inside and np.all((limits[0] <= low) & (low <= high) & (high <= limits[1]))
        else None
    )
