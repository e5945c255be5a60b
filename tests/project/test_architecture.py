"""A room imports only what its row names. This table is the map of the library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SHARED = {"arithmetic", "cpu", "digits", "errors", "files", "terminal", "text"}
"""What every room may use: the modules beside the rooms, and the ground floor."""

STANDARD = {"numpy"}

# room -> (rooms it may import, packages it may import)
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "arithmetic": (set(), set()),
    "model": (set(), {"google", "onnx"}),
    "execution": ({"model"}, {"onnx", "onnxruntime"}),
    "quantization": ({"model", "execution"}, {"onnx", "onnxruntime"}),
    "inspection": ({"model", "execution", "resnet8"}, set()),
    "pictures": (
        {"model", "execution", "inspection"},
        {"IPython", "PIL", "graphviz", "matplotlib", "pygraphviz"},
    ),
    "resnet8": (
        {"model", "execution"},
        {"PIL"},
    ),
    "cli": (
        {"model", "execution", "quantization", "inspection"} | {"pictures", "resnet8"},
        {"PIL"},
    ),
}


def imported(source: str, package: str) -> set[str]:
    """Return the full names that a module of ``package`` imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(parents) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def violations(source: str, package: str, standard_library: frozenset[str]) -> set[str]:
    """Return the imports of a module that the row of its room does not name."""
    room = package.split(".")[1]
    rooms, packages = ROOMS[room]
    wrong = set()
    for name in imported(source, package):
        top, *rest = name.split(".")
        if top == "bitbybit":
            allowed = bool(rest) and (rest[0] in rooms | SHARED | {room, "__version__"})
        else:
            allowed = top in packages | STANDARD | standard_library
        if not allowed:
            wrong.add(name)
    return wrong


@pytest.fixture(scope="module")
def standard_library() -> frozenset[str]:
    """The top-level modules of Python itself."""
    import sys

    return sys.stdlib_module_names


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_its_row_names(
    room: str, root: Path, standard_library: frozenset[str]
) -> None:
    source = root / "src"
    paths = sorted((source / "bitbybit" / room).rglob("*.py"))
    assert paths
    wrong = {
        str(path.relative_to(source)): names
        for path in paths
        if (
            names := violations(
                path.read_text(encoding="utf-8"),
                ".".join(path.parent.relative_to(source).parts),
                standard_library,
            )
        )
    }
    if room == "cli":  # `import bitbybit` for its version, `from bitbybit import ...`
        wrong = {path: names - {"bitbybit"} for path, names in wrong.items()}
        wrong = {path: names for path, names in wrong.items() if names}
    assert wrong == {}


def test_every_room_is_in_the_table(root: Path) -> None:
    folders = {path.parent.name for path in (root / "src" / "bitbybit").glob("*/__init__.py")}
    assert folders - {"models"} == set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_says_its_purpose(room: str, root: Path) -> None:
    source = (root / "src" / "bitbybit" / room / "__init__.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("arithmetic", "import onnx"),
        ("arithmetic", "from bitbybit.model.types import Layer"),
        ("model", "from bitbybit.execution.engine import trace"),
        ("arithmetic", "from ..execution import trace"),
        ("model", "import onnxruntime"),
        ("model", "def f():\n    from bitbybit import execution"),
        ("inspection", "import matplotlib.pyplot as plt"),
        ("pictures", "from bitbybit.quantization.record import read"),
        ("execution", "import torch"),
        ("execution", "import bitbybit"),
    ],
)
def test_a_forbidden_import_is_found(
    room: str, source: str, standard_library: frozenset[str]
) -> None:
    assert violations(source, f"bitbybit.{room}", standard_library)


def test_an_allowed_import_is_not_reported(standard_library: frozenset[str]) -> None:
    source = "import os\nimport numpy as np\nfrom ._x import y\nfrom bitbybit.errors import Z"
    assert violations(source, "bitbybit.arithmetic", standard_library) == set()
    source = "from bitbybit.model.types import Layer\nfrom .table import table"
    assert violations(source, "bitbybit.pictures", standard_library) == set()
