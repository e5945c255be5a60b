"""What the chapters are computed from, as one digest.

jupyter-cache runs a chapter again when its code cells change, not when the library or a model
does.  So the cache lives in a folder that is named after everything else that can change a
number, and a change of any of it starts an empty one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

KEPT_CACHES = 2
PACKAGES = (
    "numpy", "onnx", "onnxruntime", "graphviz", "pygraphviz",
    "ipykernel", "myst-nb", "jupyter-cache", "jupyter-book", "sphinx", "sphinx-book-theme",
)  # fmt: skip
IGNORED = ("__pycache__", ".ipynb_checkpoints")


def files_below(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Every file at or below ``root/name`` for each name, sorted, without caches."""
    for name in names:
        top = root / name
        found = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        for path in found:
            if not set(path.parts) & set(IGNORED) and path.suffix != ".pyc":
                yield path


def machine() -> str:
    """Python, package versions, CPU features, C compilers and dataset presence, as text."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package}={metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package}=absent")
    data = os.environ.get("BITBYBIT_DATA", "")
    dataset = bool(data) and (Path(data) / "cifar-10-batches-py").is_dir()
    compilers = [name for name in ("gcc", "clang", "cc") if shutil.which(name)]
    here = [sys.version, platform.machine(), cpu_features(), f"{dataset=}", f"{compilers=}"]
    return "\n".join([*here, *versions])


def cpu_features() -> str:
    """The CPU's feature flags where the system tells them, else its name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return next(lines, "")


def digest(root: Path, names: Iterable[str]) -> str:
    """SHA-256 over the machine and over path and content of every file named, in hex."""
    total = hashlib.sha256(machine().encode())
    for path in files_below(root, names):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def execution_digest(root: Path) -> str:
    """The digest of all that can change what a chapter's cells compute, except the cells."""
    evaluation = "book/_ext/bitbybit_sentences.py"
    return digest(root, ("src", "models", "scripts", "requirements.lock", evaluation))


def book_digest(root: Path) -> str:
    """The digest of all that can change a page."""
    names = ("src", "models", "scripts", "requirements.lock", "book", "_config.yml", "_toc.yml")
    return digest(root, names)


def choose_cache(app: Sphinx, config: Config) -> None:
    """Point the execution cache at the folder of this digest and delete the oldest others."""
    root = Path(app.srcdir)
    caches = Path(app.outdir).parent / "executed"
    chosen = caches / execution_digest(root)[:16]
    chosen.mkdir(parents=True, exist_ok=True)
    os.utime(chosen)
    by_age = sorted(caches.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[KEPT_CACHES:]:
        shutil.rmtree(old, ignore_errors=True)
    config.nb_execution_cache_path = str(chosen)
    config.bitbybit_execution_digest = chosen.name


def setup(app: Sphinx) -> None:
    """Choose the cache before any chapter is read; a new one makes Sphinx read all again."""
    app.add_config_value("bitbybit_execution_digest", "", "env")
    app.connect("config-inited", choose_cache, priority=100)
