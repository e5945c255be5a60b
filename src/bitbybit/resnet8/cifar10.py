"""CIFAR-10 in the layout of the official python archive, read without running its pickles.

Images are identified by *file name*: every split is sorted by it, so the order in which an
archive happens to store its images never reaches a selection, a hash or a result.
"""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError

FOLDER = "cifar-10-batches-py"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that can construct NumPy arrays and plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, sorted by file name.

    Attributes
    ----------
    images : uint8 ``[N, 3, 32, 32]``, RGB planes, 0..255
    labels : int64 ``[N]``, 0..9, an index into :data:`CLASSES`
    names : N file names, ascending and unique
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: NDArray[np.int64]) -> Split:
        """Return the images at ``index`` (int64 ``[M]``, ascending keeps the name order)."""
        return Split(self.images[index], self.labels[index], tuple(self.names[i] for i in index))


def find_folder(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the batches folder inside ``folder`` or ``$BITBYBIT_DATA``; None if neither is set.

    Raises
    ------
    DataError
        If a folder is named and does not hold the dataset.
    """
    root = folder or os.environ.get("BITBYBIT_DATA")
    if not root:
        return None
    path = Path(root)
    batches = path if path.name == FOLDER else path / FOLDER
    if not batches.is_dir():
        raise _absent(root if folder else f"BITBYBIT_DATA={root}", "Name another folder")
    return batches


def load_split(
    split: Literal["train", "test"], folder: str | os.PathLike[str] | None = None
) -> Split:
    """Read one split, sorted by file name.

    Parameters
    ----------
    split
        ``"train"`` (50,000 images) or ``"test"`` (10,000 images).
    folder
        The folder that holds ``cifar-10-batches-py``; by default ``$BITBYBIT_DATA``.

    Raises
    ------
    DataError
        If the dataset is absent, a batch is damaged, or a pickle asks for anything but arrays.
    """
    batches = find_folder(folder)
    if batches is None:
        raise _absent("BITBYBIT_DATA", "Set BITBYBIT_DATA")
    parts = [_read_batch(batches / name) for name in BATCHES[split]]
    names = [name for part in parts for name in part[2]]
    order = sorted(range(len(names)), key=names.__getitem__)
    images = np.concatenate([part[0] for part in parts])[order]
    labels = np.concatenate([part[1] for part in parts])[order]
    return Split(images, labels, tuple(names[i] for i in order))


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        data, labels = batch[b"data"], np.asarray(batch[b"labels"], dtype=np.int64)
        names = [name.decode("ascii") for name in batch[b"filenames"]]
        found = f"{data.dtype} {list(data.shape)}, {labels.size} labels, {len(names)} names"
    except OSError as error:
        raise _damaged(path, error.strerror or "a file that cannot be read") from error
    except pickle.UnpicklingError as error:
        raise _damaged(path, f"a pickle that asks for {error}") from error
    except Exception as error:  # a hostile pickle can raise anything; none of it has run code
        raise _damaged(path, repr(error)) from error
    if (data.dtype, data.shape, labels.shape) != (np.uint8, (len(names), 3072), (len(names),)):
        raise _damaged(path, found)
    if not np.isin(labels, np.arange(len(CLASSES))).all():
        raise _damaged(path, f"labels from {labels.min()} to {labels.max()}")
    return data.reshape(-1, 3, 32, 32), labels, names


def _absent(where: object, remedy: str) -> DataError:
    return DataError(
        "CIFAR-10 was not found",
        where=where,
        expected=f"a folder that holds {FOLDER}",
        next_step=f"{remedy}, or run `python scripts/download_cifar10.py`.",
    )


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        "not a batch of CIFAR-10's python archive",
        where=path,
        expected="uint8 [N, 3072], N labels 0..9 and N names",
        found=found,
        next_step="Download the archive again.",
    )
