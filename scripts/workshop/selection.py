"""Which training images are held out, and which every quantized variant is calibrated on.

Every choice rests on file names and a seed alone; :func:`names_sha256` is its identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.resnet8.cifar10 import CLASSES, Split

HELD_OUT_PER_CLASS = 200
HELD_OUT_SEED = 0
CALIBRATION_PER_CLASS = 100
CALIBRATION_SEED = 1


def select_per_class(
    split: Split, per_class: int, seed: int, exclude: Iterable[str] = ()
) -> NDArray[np.int64]:
    """Choose ``per_class`` images of each class at random, by file name.

    Parameters
    ----------
    split
        The images to choose from.
    per_class
        How many of each class.
    seed
        Seed of NumPy's PCG64 generator; the choice depends on nothing else but the names.
    exclude
        File names that must not be chosen.

    Returns
    -------
    Ascending int64 indices into ``split``, ``[10 * per_class]``.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    banned = set(exclude)
    free = np.array([name not in banned for name in split.names])
    chosen = []
    for label in range(len(CLASSES)):
        candidates = np.flatnonzero((split.labels == label) & free)
        if len(candidates) < per_class:
            raise DataError(
                f"there are too few images of class {CLASSES[label]}",
                where="the training images of CIFAR-10",
                expected=f"at least {per_class}",
                found=len(candidates),
                next_step="Ask for fewer of each class.",
            )
        chosen.append(generator.choice(candidates, per_class, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def at_most(split: Split, count: int | None, seed: int) -> Split:
    """Return ``count`` images chosen at random by file name, or all if there are no more."""
    if count is None or count >= len(split):
        return split
    generator = np.random.Generator(np.random.PCG64(seed))
    return split.take(np.sort(generator.permutation(len(split))[:count]))


def names_sha256(names: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted names, one per line: the identity of an image list."""
    text = "".join(f"{name}\n" for name in sorted(names))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def held_out_split(train: Split) -> tuple[Split, Split]:
    """Split the training images into those used for training and those held out for choices.

    The held-out images are chosen by :func:`select_per_class` with the constants above; nothing
    is trained or calibrated on them, so they may judge a choice that test images must not.
    """
    held = select_per_class(train, HELD_OUT_PER_CLASS, HELD_OUT_SEED)
    rest = np.setdiff1d(np.arange(len(train)), held)
    return train.take(rest), train.take(held)


def calibration_split(train: Split) -> Split:
    """Return the training images that every quantized variant is calibrated on, 100 per class.

    They are chosen by :func:`select_per_class`; no held-out image is among them.
    """
    _, held = held_out_split(train)
    chosen = select_per_class(train, CALIBRATION_PER_CLASS, CALIBRATION_SEED, exclude=held.names)
    return train.take(chosen)
