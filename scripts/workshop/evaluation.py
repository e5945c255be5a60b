"""Accuracy of a ResNet8 file, and how far its logits are from those of another one.

ONNX files run in ONNX Runtime as the integer graph; ``.pt`` files run in PyTorch.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import sqnr_db
from bitbybit.errors import DataError, ModelError
from bitbybit.resnet8.cifar10 import CLASSES, Split
from workshop.selection import names_sha256

SCHEMA_VERSION = 1
BATCH_SIZE = 100
"""No result depends on it; memory does."""


def run_model(
    path: str | os.PathLike[str], images: NDArray[np.uint8]
) -> tuple[str, NDArray[np.float32]]:
    """Run a model file on images.

    Parameters
    ----------
    path
        ``.onnx``: one input, float32 ``[N, 3, 32, 32]`` of raw pixels 0..255, one output, logits
        ``[N, 10]``. ``.pt``: a float state dict of ResNet8, or a TorchScript archive of the same
        signature; both need PyTorch.
    images
        uint8 ``[N, 3, 32, 32]``, RGB planes.

    Returns
    -------
    backend, logits
        ``"onnxruntime"`` or ``"pytorch"``, and float32 ``[N, 10]``.

    Raises
    ------
    DataError
        If ``images`` has another type or shape.
    ModelError
        If the file is not such a model.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
        raise DataError(
            "the images do not fit ResNet8",
            where="images",
            expected="uint8 [N, 3, 32, 32]",
            found=f"{images.dtype} {list(images.shape)}",
            next_step="Give RGB planes of 32 x 32 pixels, 0 to 255.",
        )
    path = Path(path)
    if path.suffix not in {".onnx", ".pt"}:
        raise ModelError(
            "an unknown kind of model file",
            where=path,
            expected=".onnx or .pt",
            next_step="Name a file that one of the scripts wrote, or one of models/.",
        )
    if not path.is_file():
        raise ModelError(
            "there is no such file", where=path, next_step="Make it, or name one of models/."
        )
    backend, run = _onnx_runner(path) if path.suffix == ".onnx" else _torch_runner(path)
    logits = np.empty((len(images), len(CLASSES)), np.float32)
    done = 0
    for batch in pixel_batches(images):
        found = run(batch)
        expected = (len(batch), len(CLASSES))
        if found.shape != expected:
            raise ModelError(
                "the model does not give one row of logits per image and one column per class",
                where=path,
                expected=list(expected),
                found=list(found.shape),
                next_step="Evaluate a classifier of CIFAR-10 whose batch size is open.",
            )
        logits[done : done + len(batch)] = found
        done += len(batch)
    return backend, logits


Runner = Callable[[NDArray[np.float32]], NDArray[Any]]


def pixel_batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield images as the networks take them: float32 pixels, :data:`BATCH_SIZE` at a time."""
    for start in range(0, len(images), BATCH_SIZE):
        yield images[start : start + BATCH_SIZE].astype(np.float32)


def _onnx_runner(path: Path) -> tuple[str, Runner]:
    from bitbybit.execution.sessions import Session
    from bitbybit.model.onnx_file import Budget, read_file

    read_file(path, Budget())  # refuses what ONNX Runtime would spend any amount of memory on
    session = Session(os.fspath(path))
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        raise ModelError(
            "not a classifier of images",
            where=path,
            expected="one input and one output",
            found=f"{len(session.inputs)} and {len(session.outputs)}",
            next_step="Evaluate a classifier of CIFAR-10.",
        )
    return "onnxruntime", lambda batch: session.run({session.inputs[0]: batch})[0]


def _torch_runner(path: Path) -> tuple[str, Runner]:
    import torch

    if _is_torchscript(path):
        from workshop.pytorch_int8 import load_torchscript

        model = load_torchscript(path)
    else:
        from workshop.architecture import ResNet8
        from workshop.export import check_state
        from workshop.state_dict import read_state_dict

        state = read_state_dict(path)
        check_state(state, path)
        model = ResNet8()
        model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in state.items()})
        model.eval()

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            return model(torch.from_numpy(batch)).numpy()

    return "pytorch", run


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return ``overall`` and ``per_class``: correct, total and their quotient.

    ``logits`` is ``[N, 10]``, ``labels`` ``[N]``, 0..9. The predicted class is the first of the
    largest logits.
    """
    correct = logits.argmax(axis=1) == labels
    rows = [(name, correct[labels == label]) for label, name in enumerate(CLASSES)]
    return {
        "overall": _share(correct),
        "per_class": [{"class": name} | _share(hits) for name, hits in rows],
    }


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    correct, total = int(hits.sum()), len(hits)
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total if total else None,
    }


def fidelity(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, Any]:
    """Compare logits ``[N, 10]`` with those of a reference model on the same images.

    Returns
    -------
    dict
        ``changed_predictions``: how many images get another class;
        ``logit_sqnr_db``: ``10 log10(sum r^2 / sum (q - r)^2)`` over all logits, rounded to 0.01,
        None when there is no difference.
    """
    exact = reference.astype(np.float64)
    noise = float(np.square(logits - exact).sum())
    signal = float(np.square(exact).sum())
    return {
        "changed_predictions": int((logits.argmax(1) != reference.argmax(1)).sum()),
        "logit_sqnr_db": round(sqnr_db(signal, noise), 2) if noise else None,
    }


def describe_data(split: Split, name: str) -> dict[str, Any]:
    """Return what an evaluation record says of its images."""
    return {"split": name, "images": len(split), "names_sha256": names_sha256(split.names)}


def evaluate(
    path: str | os.PathLike[str],
    split: Split,
    split_name: str,
    against: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Evaluate a model file and return the record that ``scripts/evaluate.py`` writes.

    Parameters
    ----------
    path
        The model; see :func:`run_model`.
    split, split_name
        The images, and what the record calls them.
    against
        A reference model, usually the float one; adds ``against`` with :func:`fidelity`.

    Returns
    -------
    dict
        ``schema_version, backend, model, data, overall, per_class`` and perhaps ``against``.
        Files are named without their folders.
    """
    backend, logits = run_model(path, split.images)
    record = {
        "schema_version": SCHEMA_VERSION,
        "backend": backend,
        "model": describe_file(path),
        "data": describe_data(split, split_name),
        **accuracy(logits, split.labels),
    }
    if against is not None:
        _, reference = run_model(against, split.images)
        record["against"] = {"model": describe_file(against), **fidelity(logits, reference)}
    return record


def describe_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the name and the SHA-256 of a file."""
    path = Path(path)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
