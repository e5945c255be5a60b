"""Count code lines: those with a token that is neither a comment nor part of a docstring.

One line for each room (a folder of the library), then the total. A call that is written over
several lines counts as many; blank lines count nothing.
"""

from __future__ import annotations

import ast
import tokenize
from collections import Counter
from pathlib import Path

from bitbybit.errors import DataError
from bitbybit.terminal import Parser, run

LIBRARY = Path(__file__).resolve().parents[1] / "src" / "bitbybit"
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(path: Path) -> int:
    """Return the code lines of a Python file."""
    with path.open("rb") as file:
        lines = {
            number
            for token in tokenize.tokenize(file.readline)
            if token.type not in _NO_CODE
            for number in range(token.start[0], token.end[0] + 1)
        }
    return len(lines - _docstring_lines(path))


def _docstring_lines(path: Path) -> set[int]:
    """Return the lines of strings that stand as statements, which document what is above them."""
    return {
        number
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def count(folder: Path) -> dict[Path, int]:
    """Return the code lines of every Python file below a folder."""
    return {path: code_lines(path) for path in sorted(folder.rglob("*.py"))}


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=LIBRARY, help="default: the library"
    )
    parser.add_argument("--files", action="store_true", help="one line for each file as well")
    arguments = parser.parse_args()
    counted = count(arguments.folder)
    if not counted:
        raise DataError(
            "there are no Python files",
            where=arguments.folder,
            next_step="Name a folder that holds some.",
        )
    lines, files = Counter[str](), Counter[str]()
    for path, number in counted.items():
        room, *inside = path.relative_to(arguments.folder).parts
        room = room if inside else "(beside the rooms)"
        lines[room] += number
        files[room] += 1
        if arguments.files:
            print(f"{number:>7,}  {path.relative_to(arguments.folder)}")
    for room in sorted(lines):
        print(f"{room:<20}{files[room]:>5} files{lines[room]:>8,} lines")
    print(f"{'total':<20}{len(counted):>5} files{sum(counted.values()):>8,} lines")


if __name__ == "__main__":
    run(main)
