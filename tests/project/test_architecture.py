"""A room imports only what its row names. This table is the map of the library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
    "quantization": ({"model"}, {"onnx"}),
    "inspection": ({"model", "execution", "resnet8"}, set()),
    "hardware": ({"model", "execution"}, set()),
    "pictures": (
        {"model", "execution", "inspection", "hardware"},
        {"IPython", "PIL", "graphviz", "pygraphviz"},
    ),
    "resnet8": (
        {"model", "execution"},
        {"PIL"},
    ),
    "cli": (
        {"model", "execution", "quantization", "inspection"} | {"hardware", "pictures", "resnet8"},
        {"PIL"},
    ),
}


def imported(source: str, package: str) -> set[str]:
    """Return the full names that a module of ``package`` imports, wherever the import stands.

    What stands under ``if TYPE_CHECKING`` is not imported when the code runs, and is left out.
    """
    found: set[str] = set()
    for node in _running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(parents) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _running(child)


def violations(source: str, package: str) -> set[str]:
    """Return the imports of a module that the row of its room does not name."""
    room = package.split(".")[1]
    rooms, packages = ROOMS[room]
    wrong = set()
    for name in imported(source, package):
        top, *rest = name.split(".")
        if top != "bitbybit":
            allowed = top in packages | STANDARD | sys.stdlib_module_names
        elif rest:
            private = rest[0] != room and any(part.startswith("_") for part in rest)
            allowed = rest == ["__version__"] or (
                rest[0] in rooms | SHARED | {room} and not private
            )
        else:
            allowed = room == "cli"  # for its version and its docstring
        if not allowed:
            wrong.add(name)
    return wrong


def modules(root: Path) -> dict[str, tuple[str, str]]:
    """Return each module of the library: its package and its source."""
    found = {}
    for path in sorted((root / "src" / "bitbybit").rglob("*.py")):
        package = ".".join(path.parent.relative_to(root / "src").parts)
        name = package if path.stem == "__init__" else f"{package}.{path.stem}"
        found[name] = (package, path.read_text(encoding="utf-8"))
    return found


def test_a_room_imports_only_what_its_row_names(root: Path) -> None:
    wrong = {
        name: found
        for name, (package, source) in modules(root).items()
        if package != "bitbybit" and (found := violations(source, package))
    }
    assert wrong == {}


def test_no_import_leads_back(root: Path) -> None:
    """A cycle raises CycleError, which names it. The package itself imports its rooms lazily."""
    sources = modules(root)
    lead = {
        name: {module(target, sources) for target in imported(source, package)} - {name, ""}
        for name, (package, source) in sources.items()
        if name != "bitbybit"
    }
    order = list(TopologicalSorter(lead).static_order())
    assert set(order) >= lead.keys()


def module(name: str, known: dict[str, tuple[str, str]]) -> str:
    """Return the module that an imported name lies in, "" outside the library's rooms."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return "" if name == "bitbybit" else name


def test_every_room_is_in_the_table_and_says_its_purpose(root: Path) -> None:
    rooms = {
        path.parent.name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        for path in (root / "src" / "bitbybit").glob("*/__init__.py")
    }
    assert rooms.keys() == ROOMS.keys()
    assert all(rooms.values())


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("arithmetic", "import onnx"),
        ("arithmetic", "from bitbybit.model.types import Layer"),
        ("arithmetic", "from ..execution import trace"),
        ("model", "from bitbybit.execution.engine import trace"),
        ("model", "import onnxruntime"),
        ("model", "def f():\n    from bitbybit import execution"),
        ("inspection", "import matplotlib.pyplot as plt"),
        ("pictures", "from bitbybit.quantization import quantize"),
        ("execution", "from bitbybit.arithmetic._operands import along"),
        ("execution", "import torch"),
        ("execution", "import bitbybit"),
    ],
)
def test_a_forbidden_import_is_found(room: str, source: str) -> None:
    assert violations(source, f"bitbybit.{room}")


def test_an_allowed_import_is_not_reported() -> None:
    source = "import os\nimport numpy as np\nfrom ._x import y\nfrom bitbybit.errors import Z"
    assert violations(source, "bitbybit.arithmetic") == set()
    source = "from bitbybit.model.types import Layer\nfrom .table import table"
    assert violations(source, "bitbybit.pictures") == set()
    source = "if TYPE_CHECKING:\n    from bitbybit.execution.engine import Trace"
    assert violations(source, "bitbybit.model") == set()
