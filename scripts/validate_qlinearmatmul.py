"""Validate every quantized fully connected layer of a model against ONNX Runtime.

QLinearMatMul, QGemm, and Gemm or MatMul between QuantizeLinear and DequantizeLinear are worked
out in two stages, int32 accumulation and requantization, and compared with what ONNX Runtime makes
of the same codes. Exit status: 0 all equal, 1 a mismatch, 2 it cannot be done.
"""

from __future__ import annotations

from bitbybit.cli.verify import validate
from bitbybit.terminal import run


def main() -> int:
    return validate(__doc__, "dense")


if __name__ == "__main__":
    run(main)
