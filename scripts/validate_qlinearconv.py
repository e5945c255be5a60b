"""Validate every quantized convolution of a model against ONNX Runtime, integer by integer.

Each layer is worked out in two stages, int32 accumulation and requantization, and compared with
what ONNX Runtime makes of the same codes. Exit status: 0 all equal, 1 a mismatch, 2 it cannot be
done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bitbybit.command import run
from bitbybit.commands._validation import validate_file
from bitbybit.model.types import Conv


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file with QLinearConv or QDQ Conv layers")
    parser.add_argument("--images", type=int, default=4, help="images to run (default: 4)")
    arguments = parser.parse_args()
    return validate_file(arguments.model, Conv, arguments.images)


if __name__ == "__main__":
    run(main)
