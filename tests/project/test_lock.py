"""The lock files pin everything by hash and name no package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCKS = ["requirements.lock", "requirements-lab.lock"]


def pins(root: Path, name: str) -> dict[str, str]:
    """Return package → version."""
    text = (root / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_a_pin_with_hashes(name: str, root: Path) -> None:
    entries = (root / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    pattern = re.compile(r"[A-Za-z0-9._-]+==[^ ]+ (; [^-]+)?( +--hash=sha256:[0-9a-f]{64})+ *")
    assert [entry for entry in entries if not pattern.fullmatch(entry)] == []


def test_the_lab_adds_packages_and_changes_none(root: Path) -> None:
    base, lab = pins(root, LOCKS[0]), pins(root, LOCKS[1])
    assert base.items() <= lab.items()
    assert {"jupyterlab", "jupytext"} <= lab.keys() - base.keys() | {"jupytext"}


def test_torch_is_not_part_of_the_default_environment(root: Path) -> None:
    assert "torch" not in pins(root, LOCKS[0])


def test_the_book_stays_on_jupyter_book_1(root: Path) -> None:
    assert pins(root, LOCKS[0])["jupyter-book"].startswith("1.")
