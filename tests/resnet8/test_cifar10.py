"""Reading CIFAR-10: by file name, whole or not at all, and without running its pickles."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import DataError
from bitbybit.resnet8.cifar10 import CLASSES, FOLDER, Split, find_folder, load_split
from tests.support.fake_cifar10 import batch, write_dataset
from workshop.selection import names_sha256, select_per_class

TEST_NAMES_SHA256 = "ce762214c434816f0d4d86376d68237adb0480f8f65a07751517bcc72c1b96bb"
"""The identity of the official test images, whatever their order in the archive."""


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    return write_dataset(tmp_path)


def test_a_split_is_sorted_by_file_name(batches: Path) -> None:
    shuffled = batch("test_batch", 20, 5)
    order = np.random.default_rng(0).permutation(20)
    mixed = {
        b"data": shuffled[b"data"][order],
        b"labels": [shuffled[b"labels"][i] for i in order],
        b"filenames": [shuffled[b"filenames"][i] for i in order],
    }
    (batches / "test_batch").write_bytes(pickle.dumps(mixed, protocol=4))
    split = load_split("test", batches)
    assert list(split.names) == sorted(split.names)
    assert (split.images == shuffled[b"data"].reshape(-1, 3, 32, 32)).all()
    assert split.labels.tolist() == shuffled[b"labels"]
    assert len(load_split("train", batches.parent)) == 100


def test_without_a_dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)
    assert find_folder() is None
    with pytest.raises(DataError, match=r"CIFAR-10 was not found.*download_cifar10\.py"):
        load_split("test")
    with pytest.raises(DataError, match=str(tmp_path)):
        load_split("test", tmp_path)
    monkeypatch.setenv("BITBYBIT_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(DataError, match=r"BITBYBIT_DATA=.*mistyped.*another folder"):
        find_folder()


class Exploit:
    """Its pickle calls ``exec`` when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('the pickle ran')",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (pickle.dumps(Exploit()), r"asks for builtins\.exec"),
        (pickle.dumps({b"data": Path()}), "asks for pathlib"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}, protocol=4), "KeyError"),
        (pickle.dumps([1, 2, 3]), "TypeError"),
        (pickle.dumps(batch("a", 2) | {b"labels": [0]}, protocol=4), "1 labels, 2 names"),
        (pickle.dumps(batch("a", 2) | {b"labels": [0, 10]}, protocol=4), "labels from 0 to 10"),
        (
            pickle.dumps(batch("a", 2) | {b"data": np.zeros((2, 3071), np.uint8)}, protocol=4),
            "3071",
        ),
        (pickle.dumps(batch("a", 2) | {b"data": np.zeros((2, 3072))}, protocol=4), "float64"),
        (pickle.dumps(batch("a", 2), protocol=4)[:-100], "expected uint8"),
        (b"", "EOFError"),
        (b"\x80\x04cnumpy\nndarray\n(tR.", "expected uint8"),
    ],
)
def test_a_bad_batch_is_one_sentence(batches: Path, content: bytes, found: str) -> None:
    (batches / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="not a batch of CIFAR-10's python archive") as caught:
        load_split("test", batches)
    assert "\n" not in str(caught.value)
    assert re.search(found, str(caught.value))


def test_a_missing_batch(batches: Path) -> None:
    (batches / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3"):
        load_split("train", batches)


def _split(count: int) -> Split:
    names = tuple(f"{i:05d}.png" for i in range(count))
    return Split(np.zeros((count, 3, 32, 32), np.uint8), np.arange(count) % 10, names)


def test_a_choice_depends_on_names_and_seed_alone() -> None:
    split = _split(500)
    chosen = select_per_class(split, 3, seed=1)
    assert np.bincount(split.labels[chosen]).tolist() == [3] * 10
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert chosen.tolist() == select_per_class(split, 3, seed=1).tolist()
    assert chosen.tolist() != select_per_class(split, 3, seed=2).tolist()
    banned = {split.names[i] for i in chosen}
    others = select_per_class(split, 47, seed=1, exclude=banned)
    assert not banned & {split.names[i] for i in others}
    with pytest.raises(DataError, match=f"too few images of class {CLASSES[0]}"):
        select_per_class(split, 48, seed=1, exclude=banned)


def test_an_image_list_has_one_hash_in_any_order() -> None:
    assert names_sha256(["b", "a"]) == names_sha256(("a", "b")) != names_sha256(["a", "c"])


@pytest.mark.dataset
def test_the_real_dataset(dataset: Path) -> None:
    test = load_split("test", dataset)
    assert test.images.shape == (10000, 3, 32, 32)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert find_folder(dataset / FOLDER) == dataset / FOLDER
    assert names_sha256(test.names) == TEST_NAMES_SHA256
