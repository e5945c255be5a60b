"""Draw the bundled 32x32 sample images again."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitbybit.command import run
from bitbybit.files import atomic_write_bytes
from bitbybit.resnet8 import examples
from bitbybit.resnet8.drawings import DRAWINGS
from bitbybit.resnet8.png import encode_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    folder = Path(examples.__file__).with_name("samples")
    parser.add_argument("--output-dir", type=Path, default=folder)
    arguments = parser.parse_args()
    for name, drawing in DRAWINGS.items():
        atomic_write_bytes(arguments.output_dir / f"{name}.png", encode_png(drawing().image()))
    print(f"drew {len(DRAWINGS)} images in {arguments.output_dir}")


if __name__ == "__main__":
    run(main)
