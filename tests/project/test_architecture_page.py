"""``docs/architecture.md`` names what exists, and its table is the one that is enforced."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.project.test_architecture import ROOMS

MODULES = ("terminal",)
"""Modules beside the rooms that the page names."""


def resolve(name: str) -> object:
    """Return what a dotted name below ``bitbybit`` is; raises if there is no such thing."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(("bitbybit", *parts[:end])))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_name_exists(page: str) -> None:
    heads = "|".join((*ROOMS, *MODULES))
    names = set(re.findall(rf"`((?:{heads})\.[A-Za-z_.]+)`", page))
    assert len(names) > 40
    for name in sorted(names):
        assert resolve(name) is not None


def test_a_name_that_does_not_exist_is_found() -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolve("model.load.nothing")


def test_the_table_is_the_one_that_is_enforced(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| ?(.*) ?\|$", page, re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", may)) for room, may in rows} == {
        room: rooms for room, (rooms, _) in ROOMS.items()
    }


def test_the_files_that_it_names_exist(page: str, root: Path) -> None:
    for name in re.findall(r"`((?:src|scripts|book)/[\w/.]*)`", page):
        assert (root / name).exists(), name
