"""Download CIFAR-10 (python version, 170 MB), verify its SHA-256 and extract its batches.

An interrupted download continues where it stopped when the command is run again.
"""

from __future__ import annotations

import os
from pathlib import Path

from bitbybit.terminal import Parser, run
from workshop.download import download, extract


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(os.environ.get("BITBYBIT_DATA") or "data"),
        help="folder that will hold cifar-10-batches-py (default: $BITBYBIT_DATA, or data)",
    )
    parser.add_argument(
        "--archive", type=Path, help="use this copy of cifar-10-python.tar.gz, without a network"
    )
    arguments = parser.parse_args()
    if arguments.archive:
        batches = extract(arguments.archive, arguments.data_dir)
    else:
        batches = download(arguments.data_dir)
    print(f"{batches} is complete. Use it with: export BITBYBIT_DATA={batches.parent.resolve()}")


if __name__ == "__main__":
    run(main)
