"""Goldens: what ONNX Runtime made of some images, hashed, for every CPU to be held against.

They are made on the contract platform, layer by layer from the file itself; nothing of the engine
takes part.  The engine must equal them everywhere, live ONNX Runtime or not.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.cpu import cpu_features, machine
from bitbybit.errors import DataError, EnvironmentProblem
from bitbybit.execution.compare import Mismatch, described
from bitbybit.execution.cut import LayerRuntime
from bitbybit.execution.engine import trace
from bitbybit.execution.runtime import FileRuntime, ort_trace, platform_problem
from bitbybit.execution.sessions import version
from bitbybit.model.types import QuantizedModel

SCHEMA = 1

SAMPLES = 5
"""Elements of each tensor that are written out, evenly spaced."""


class Difference(NamedTuple):
    """One tensor that is not what the goldens say.

    Attributes
    ----------
    layer : canonical name
    tensor : "output" or "accumulator"
    mismatch : the first written-out element that differs; without an index dtype, shape or hash
    """

    layer: str
    tensor: str
    mismatch: Mismatch


def make_goldens(model: QuantizedModel, images: NDArray[np.uint8]) -> dict[str, Any]:
    """Let ONNX Runtime compute every layer, and record hashes and samples.

    Parameters
    ----------
    model
        The canonical view of a file.
    images
        uint8 ``[N, C, H, W]``, for the graph's only input.

    Returns
    -------
    Plain data for JSON: the stamp (model, images, runtime, CPU) and the layers in graph order.

    Raises
    ------
    EnvironmentProblem
        This is not the contract platform, or the whole file makes other outputs than its layers.
    """
    problem = platform_problem(model)
    if problem:
        raise EnvironmentProblem(
            "goldens are made on the contract platform only",
            where=model.path.name,
            found=problem,
            next_step="Make them on x86-64 with AVX2 and FMA (U8S8: and VNNI).",
        )
    values, runtime = ort_trace(model, images), LayerRuntime(model)
    outputs = FileRuntime(model).run(images)
    for name, whole in zip(model.outputs, outputs, strict=True):
        if not np.array_equal(whole, values[name]):
            raise EnvironmentProblem(
                "the layers alone and the whole file give different outputs",
                where=name,
                next_step="Make no goldens with this version of ONNX Runtime, and report it.",
            )
    layers = []
    for layer in model.layers:
        entry = {"name": layer.name, "output": _entry(values[layer.name])}
        sums = runtime.accumulator(layer, values)
        if sums is not None:
            entry["accumulator"] = _entry(sums.reshape(values[layer.name].shape))
        layers.append(entry)
    return {
        "schema_version": SCHEMA,
        "model": {"file": model.path.name, "sha256": model.sha256},
        "images": {"count": len(images), "sha256": _sha256(images)},
        "made_by": {
            "onnxruntime": version(),
            "architecture": machine(),
            "cpu_features": sorted(cpu_features()),
        },
        "layers": layers,
    }


def check_goldens(
    model: QuantizedModel, record: dict[str, Any], images: NDArray[np.uint8]
) -> list[Difference]:
    """Compare the engine with goldens: needs no ONNX Runtime, holds on every CPU.

    Parameters
    ----------
    model
        The network.
    record
        What :func:`make_goldens` returned.
    images
        The same images.

    Returns
    -------
    What differs, in graph order; empty if the engine is exact.

    Raises
    ------
    DataError
        The record is of another model, of other images or of another schema.
    """
    for what, expected, recorded in (
        ("schema", SCHEMA, record.get("schema_version")),
        ("model", model.sha256, record["model"]["sha256"]),
        ("image", _sha256(images), record["images"]["sha256"]),
        ("layer", [x.name for x in model.layers], [x["name"] for x in record["layers"]]),
    ):
        if expected != recorded:
            raise DataError(
                f"these goldens are of another {what}",
                where="goldens",
                expected=expected,
                found=recorded,
                next_step="Renew them with scripts/make_goldens.py.",
            )
    values = trace(model, images)
    found = []
    for entry in record["layers"]:
        name = entry["name"]
        tensors = {"output": values[name]}
        if "accumulator" in entry:
            tensors["accumulator"] = values.accumulator(name)
        for tensor, array in tensors.items():
            mismatch = _mismatch(entry[tensor], array)
            if mismatch is not None:
                found.append(Difference(name, tensor, mismatch))
    return found


def _entry(values: NDArray[Any]) -> dict[str, Any]:
    places = np.unique(np.linspace(0, values.size - 1, SAMPLES).astype(int))
    indices = [tuple(map(int, np.unravel_index(place, values.shape))) for place in places]
    return {
        "type": described(values),
        "sha256": _sha256(values),
        "samples": {",".join(map(str, index)): _shown(values[index]) for index in indices},
    }


def _mismatch(entry: dict[str, Any], values: NDArray[Any]) -> Mismatch | None:
    """Return the first that differs: dtype and shape, a sample, or the hash."""
    if entry["type"] != described(values):
        return Mismatch((), entry["type"], described(values))
    for place, expected in entry["samples"].items():
        index = tuple(map(int, place.split(",")))
        if _shown(values[index]) != expected:
            return Mismatch(index, expected, _shown(values[index]))
    digest = _sha256(values)
    return None if digest == entry["sha256"] else Mismatch((), entry["sha256"], digest)


def _shown(value: Any) -> int | str:
    """Return an integer as it is, a float in hex."""
    return int(value) if np.issubdtype(value.dtype, np.integer) else float(value).hex()


def _sha256(values: NDArray[Any]) -> str:
    """Hash the values, little-endian, in C order."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return hashlib.sha256(little.tobytes()).hexdigest()
