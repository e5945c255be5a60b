"""Validate every quantized fully connected layer of a model against ONNX Runtime.

QLinearMatMul, QGemm, and Gemm or MatMul between QuantizeLinear and DequantizeLinear are worked
out in two stages, int32 accumulation and requantization, and compared with what ONNX Runtime makes
of the same codes. Exit status: 0 all equal, 1 a mismatch, 2 it cannot be done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bitbybit.command import run
from bitbybit.commands._validation import validate_file
from bitbybit.model.types import Dense


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file with QLinearMatMul, QGemm or QDQ Gemm")
    parser.add_argument("--images", type=int, default=4, help="images to run (default: 4)")
    arguments = parser.parse_args()
    return validate_file(arguments.model, Dense, arguments.images)


if __name__ == "__main__":
    run(main)
