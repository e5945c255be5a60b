"""Draw the bundled 32x32 sample images again."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bitbybit.files import atomic_write
from bitbybit.resnet8 import examples
from bitbybit.terminal import Parser, run
from workshop.drawings import DRAWINGS


def main() -> None:
    parser = Parser(__doc__)
    folder = Path(examples.__file__).with_name("samples")
    parser.add_argument("--output-dir", type=Path, default=folder, help="default: the package's")
    arguments = parser.parse_args()
    for name, drawing in DRAWINGS.items():
        image = Image.fromarray(drawing().image().transpose(1, 2, 0).copy())
        atomic_write(arguments.output_dir / f"{name}.png", image.save)
    print(f"drew {len(DRAWINGS)} images in {arguments.output_dir}")


if __name__ == "__main__":
    run(main)
