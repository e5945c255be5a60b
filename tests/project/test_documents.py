"""The documents at the root name only files, targets and versions that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import bitbybit

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
TARGETS = {
    "help", "setup", "book", "serve", "lab", "test", "test-browser", "lint", "models", "bench",
    "mutants", "clean", "lock",
}  # fmt: skip


def documents(root: Path) -> list[Path]:
    return [*(root / name for name in DOCUMENTS), *(root / "docs").rglob("*.md")]


def test_relative_links_lead_somewhere(root: Path) -> None:
    links = [
        (path.name, target)
        for path in documents(root)
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert links == []


def test_named_make_targets_exist(root: Path) -> None:
    named = {
        target
        for path in documents(root)
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(), re.MULTILINE)
    }
    assert named
    assert named <= TARGETS


def test_extras_that_are_named_exist(root: Path) -> None:
    pages = [*documents(root), *(root / "book").glob("*.md"), root / ".ci" / "run"]
    named = {
        extra
        for path in pages
        for extras in re.findall(r"'\.\[([a-z,]+)\]'", path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named
    assert named <= set(project["optional-dependencies"])


def test_the_makefile_has_exactly_these_targets(root: Path) -> None:
    rules = re.findall(r"^([a-z-]+):.* ## .", (root / "Makefile").read_text(), re.MULTILINE)
    assert sorted(rules) == sorted(TARGETS)


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md"])
def test_the_version_is_the_same_everywhere(name: str, root: Path) -> None:
    assert bitbybit.__version__ in (root / name).read_text(encoding="utf-8")


def test_decisions_are_numbered_and_listed(root: Path) -> None:
    folder = root / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in files if f"]({name})" not in index] == []


def test_the_python_of_the_readme_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 (our own text)
    assert capsys.readouterr().out.startswith("int8 ")
