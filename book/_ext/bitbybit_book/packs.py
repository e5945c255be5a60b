"""The archive of vectors that a chapter offers: made by the command that the chapter shows."""

from __future__ import annotations

import contextlib
import io
import shlex
import tempfile
import zipfile
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

from bitbybit import cli

from .inputs import book_digest

FOLDER = "_build/packs"
NAME = "resnet8-vectors"
PAGE = "book/verify_hardware.md"
FIRST_DAY = (1980, 1, 1, 0, 0, 0)


def command(text: str) -> list[str]:
    """Return the words of the page's command that makes the archive."""
    lines = (line.split() for line in text.splitlines() if line.startswith("bitbybit vectors "))
    (found,) = (line for line in lines if NAME in line)
    return shlex.split(" ".join(found))[1:]


def archive(root: Path) -> bytes:
    """Run the page's command, and return what it wrote as a ZIP file, always the same bytes."""
    words = command((root / PAGE).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / NAME
        names = [str(root / w) if (root / w).is_file() else w for w in words]
        names = [str(target) if w == NAME else w for w in names]
        with contextlib.redirect_stdout(io.StringIO()):
            cli.call(names)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for path in sorted(p for p in target.rglob("*") if p.is_file()):
                info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), FIRST_DAY)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                file.writestr(info, path.read_bytes())
        return stream.getvalue()


def make(app: Sphinx, config: Config) -> None:
    """Write the archive before any page is read, unless nothing changed since the last."""
    root, folder = Path(app.srcdir), Path(app.srcdir) / FOLDER
    if not (root / PAGE).is_file():
        return
    path, stamp, digest = folder / f"{NAME}.zip", folder / "digest", book_digest(root)
    if path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(root))
    stamp.write_text(digest, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Make the archive when the settings are known."""
    app.connect("config-inited", make)
