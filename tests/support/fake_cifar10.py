"""A tiny dataset in the layout of CIFAR-10's python archive, and an archive of it."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from bitbybit.resnet8.cifar10 import BATCHES, FOLDER
from workshop.download import Archive


def batch(name: str, count: int, seed: int = 0) -> dict[bytes, Any]:
    """Return ``count`` random images whose labels go round the ten classes."""
    generator = np.random.default_rng(seed)
    return {
        b"data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
        b"labels": [i % 10 for i in range(count)],
        b"filenames": [f"{name}_{i:04d}.png".encode() for i in range(count)],
    }


def write_dataset(folder: Path, per_batch: int = 20) -> Path:
    """Write all batches below ``folder``; return ``folder / "cifar-10-batches-py"``."""
    batches = folder / FOLDER
    batches.mkdir(parents=True)
    for seed, name in enumerate((*BATCHES["train"], *BATCHES["test"])):
        (batches / name).write_bytes(pickle.dumps(batch(name, per_batch, seed), protocol=4))
    (batches / "batches.meta").write_bytes(pickle.dumps({b"num_cases_per_batch": per_batch}))
    return batches


def pack(members: dict[str, bytes], url: str) -> tuple[bytes, Archive]:
    """Return a ``.tar.gz`` of ``members`` and the record that describes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as target:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    return data, Archive(url, len(data), hashlib.sha256(data).hexdigest())
