"""Check that no tracked file names a package registry or a path of this machine, or is huge."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.terminal import Parser, run
from bitbybit.text import printable

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 2_000_000

# The brackets keep this file from finding itself.
REGISTRY = (
    r"py[p]i\.org|pythonhoste[d]\.org|registry\.np[m]js|deb\.debia[n]\.org"
    r"|index[-_]ur[l]\s*=|https?://[^\s)\"']*(?:/simpl[e]/|\.wh[l]\b|\.tg[z]\b)"
)
HOME_FOLDER = r"/hom[e]/\w|/User[s]/\w|/roo[t]/\w"


def pattern() -> re.Pattern[str]:
    """Return what must not occur: registries, the folder around this checkout, its user's."""
    folders = {str(ROOT.parent), str(Path.home())} - {"/", "/tmp"}  # noqa: S108 (a name, unused)
    paths = (re.escape(folder) + "/" for folder in sorted(folders))
    return re.compile("|".join([REGISTRY, HOME_FOLDER, *paths]))


def findings(name: str, forbidden: re.Pattern[str]) -> list[str]:
    """Return what is wrong with one tracked file, one line each."""
    path = ROOT / name
    if not path.is_file() or path.is_symlink():
        return []
    data = path.read_bytes()
    found = [f"{name}: {len(data):,} bytes, more than {LARGEST:,}"] if len(data) > LARGEST else []
    if b"\0" in data:
        return found
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        match = forbidden.search(line)
        if match:
            found.append(f"{name}:{number}: {printable(match.group())}")
    return found


def main() -> int:
    Parser(__doc__).parse_args()
    listing = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 (git is wherever the user has it)
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        raise EnvironmentProblem(
            "the list of tracked files is not available", where="git ls-files",
            next_step="Run this in a git clone.",
        )  # fmt: skip
    names = sorted(filter(None, listing.stdout.decode().split("\0")))
    forbidden = pattern()
    found = [line for name in names for line in findings(name, forbidden)]
    print("\n".join([*found, f"{len(names)} tracked files, {len(found)} findings"]))
    return 1 if found else 0


if __name__ == "__main__":
    run(main)
