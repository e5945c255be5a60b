"""Write the chapters as notebooks into ``_build/notebooks`` and open them in JupyterLab.

They are those of the built book: text in plain Markdown, every number written out, every figure
drawn. A notebook that you changed is kept beside the new one. Other arguments go to JupyterLab.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.files import atomic_write_text
from bitbybit.terminal import Parser, run

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "_build" / "html" / "_sources" / "book"
NOTEBOOKS = ROOT / "_build" / "notebooks"
RECORD = ".written.json"


def write_notebooks(built: Path, folder: Path) -> list[Path]:
    """Copy the notebooks; keep each that a reader changed as ``NAME.yours.ipynb``."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    written = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    chapters = sorted(built.glob("*.ipynb"))
    for source in chapters:
        text, target = source.read_text(encoding="utf-8"), folder / source.name
        if target.is_file() and _digest(target.read_text(encoding="utf-8")) != written.get(
            source.name
        ):
            if _digest(text) == written.get(source.name):
                continue  # the reader's, and nothing new
            target.replace(_free(folder, source.stem))
        atomic_write_text(target, text)
        written[source.name] = _digest(text)
    atomic_write_text(record, json.dumps(written, indent=1))
    return [folder / source.name for source in chapters]


def _free(folder: Path, stem: str) -> Path:
    """Return a name that no notebook has yet."""
    names = (f"{stem}.yours{number}.ipynb" for number in ("", *range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def trust(notebooks: Iterable[Path]) -> None:
    """Let JupyterLab show the figures before the cells have run: our own build made them."""
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()  # type: ignore[no-untyped-call]
    for path in notebooks:
        notary.sign(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
    notary.store.close()


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--only-write", action="store_true", help="do not open JupyterLab")
    arguments, rest = parser.parse_known_args()
    if not BUILT.is_dir():
        raise EnvironmentProblem(
            "the book is not built yet", where=BUILT, next_step="Run: make book"
        )
    notebooks = write_notebooks(BUILT, NOTEBOOKS)
    trust(notebooks)
    print(f"{len(notebooks)} notebooks are in {NOTEBOOKS}", flush=True)
    if arguments.only_write:
        return
    os.environ["JUPYTER_CONFIG_PATH"] = str(ROOT / ".jupyter")
    # The first chapter is open when JupyterLab comes up.
    first = NOTEBOOKS / "boundary_operations.ipynb"
    command = [sys.executable, "-m", "jupyter", "lab", str(first), *rest]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter


if __name__ == "__main__":
    run(main)
