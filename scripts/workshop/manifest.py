"""``models/manifest.json``: what each committed file is, how it was made, how good it is."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bitbybit.cpu import cpu_features, machine
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import accuracy, describe_data, describe_file, fidelity, run_model

SCHEMA_VERSION = 1
REFERENCE = "resnet8.onnx"
"""The float model that changed predictions and SQNR are counted against."""

MAKE, RECALIBRATE = "make models", "python scripts/make_models.py --recalibrate"
COMMANDS = {
    "resnet8.pt": "python scripts/train.py",
    "training.json": "python scripts/train.py",
    "held_out_images.txt": RECALIBRATE,
    "calibration.json": RECALIBRATE,
    "resnet8.onnx": MAKE,
    "resnet8_int8.onnx": MAKE,
    "resnet8_int8_qoperator.onnx": MAKE,
    "resnet8_int8_per_tensor.onnx": MAKE,
    "resnet8_int8_per_tensor_qoperator.onnx": MAKE,
    "resnet8_uint8.onnx": MAKE,
    "resnet8_int8_operations.json": MAKE,
    "resnet8_int8.pt": "python scripts/make_models.py --pytorch",
}
"""Every file that the manifest describes, and the command that makes it, in this order."""

EVALUATED = tuple(name for name in COMMANDS if name.endswith((".onnx", ".pt")))


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return ``sha256``, ``bytes`` and ``command`` of each file of :data:`COMMANDS`."""
    described = {}
    for name, command in COMMANDS.items():
        path = folder / name
        digest = describe_file(path)["sha256"]
        described[name] = {"sha256": digest, "bytes": path.stat().st_size, "command": command}
    return described


def carry_over(files: Mapping[str, dict[str, Any]], former: Mapping[str, Any]) -> tuple[str, ...]:
    """Copy into ``files`` the figures of files that did not change; return the others' names.

    ``former`` is the ``files`` part of the manifest that is replaced.
    """
    stale = []
    for name in EVALUATED:
        old = former.get(name, {})
        if old.get("sha256") == files[name]["sha256"] and "evaluation" in old:
            files[name]["evaluation"] = old["evaluation"]
        else:
            stale.append(name)
    return tuple(stale)


def evaluate_file(
    folder: Path, name: str, test: Split, reference: Path | None = None
) -> dict[str, Any]:
    """Return the figures of one model on the test images.

    Parameters
    ----------
    folder, name
        Where the model is.
    test
        The images.
    reference
        The folder of :data:`REFERENCE`; by default ``folder``.

    Returns
    -------
    dict
        ``backend``, ``overall``, ``per_class`` (correct predictions by class), and against the
        float model ``changed_predictions`` and ``logit_sqnr_db``.
    """
    _, exact = run_model((reference or folder) / REFERENCE, test.images)
    backend, logits = run_model(folder / name, test.images)
    result = accuracy(logits, test.labels)
    return {
        "backend": backend,
        "overall": result["overall"],
        "per_class": {row["class"]: row["correct"] for row in result["per_class"]},
        **fidelity(logits, exact),
    }


def describe_evaluation(test: Split) -> dict[str, Any]:
    """Return on what, and with what, the figures were measured."""
    return {
        "data": {"dataset": "CIFAR-10"} | describe_data(test, "test"),
        "reference": REFERENCE,
        "machine": machine(),
        "cpu_features": sorted(cpu_features()),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute, where installed."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "onnx", "onnxruntime", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
