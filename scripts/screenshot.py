"""Take the README's picture: a page of the built book in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.terminal import Parser, run

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-prefers-reduced-motion", "--virtual-time-budget=8000"),
)


def main() -> None:
    """Photograph the page; the file appears only when it is complete."""
    parser = Parser(__doc__)
    parser.add_argument("--page", type=Path, default=Path("_build/html/book/index.html"))
    parser.add_argument("--output", type=Path, default=Path("docs/book.png"))
    parser.add_argument("--size", default="1200,940", help="width,height in CSS pixels")
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise EnvironmentProblem(
            "Chromium was not found",
            where="PATH",
            expected=" or ".join(PROGRAMS),
            next_step="Install it.",
        )
    if not arguments.page.is_file():
        raise EnvironmentProblem(
            "the page is not there", where=arguments.page, next_step="Build it with `make book`."
        )
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        subprocess.run(  # noqa: S603 - a browser found on PATH, our own page
            [program, *FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={picture}",
             f"--window-size={arguments.size}", arguments.page.resolve().as_uri()],
            check=False, capture_output=True, timeout=120,
        )  # fmt: skip
        if not picture.is_file():
            raise EnvironmentProblem(
                "Chromium made no picture",
                where=arguments.page,
                next_step="Check that --size is WIDTH,HEIGHT, and that Chromium runs headless.",
            )
        shutil.move(picture, arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    run(main)
