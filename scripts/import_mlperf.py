"""Convert MLPerf Tiny's official Keras weights of ResNet8 to ONNX; TensorFlow is not needed.

The file is pretrainedResnet.h5 of mlcommons/tiny. Neither it nor the result is part of this
project.
"""

from __future__ import annotations

import os
from pathlib import Path

from bitbybit.errors import DataError
from bitbybit.files import atomic_write_bytes, require_apart
from bitbybit.terminal import Parser, run
from workshop.export import float_model
from workshop.mlperf import read_keras


def find_weights() -> Path:
    """Return the file in the folder that BITBYBIT_MLPERF names."""
    folder = os.environ.get("BITBYBIT_MLPERF")
    if not folder:
        raise DataError(
            "the official weights were not found",
            where="BITBYBIT_MLPERF",
            expected="a folder that holds pretrainedResnet.h5",
            next_step="Name the file with --weights.",
        )
    return Path(folder) / "pretrainedResnet.h5"


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--weights", type=Path, help="default: pretrainedResnet.h5 in $BITBYBIT_MLPERF"
    )
    parser.add_argument("--output", type=Path, default=Path("_build/mlperf_resnet8.onnx"))
    arguments = parser.parse_args()
    weights = arguments.weights or find_weights()
    require_apart([arguments.output], [weights])
    model = float_model(read_keras(weights), weights)
    atomic_write_bytes(arguments.output, model.SerializeToString(deterministic=True))
    print(
        f"wrote {arguments.output}; evaluate it with: python scripts/evaluate.py {arguments.output}"
    )


if __name__ == "__main__":
    run(main)
