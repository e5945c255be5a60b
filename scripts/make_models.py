"""Make the files in models/ again.

From resnet8.pt and calibration.json come all ONNX files, with the same bytes on every machine;
neither the dataset nor PyTorch is needed. The figures in manifest.json and README.md are
measured again when a file changed and CIFAR-10 is there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from bitbybit.terminal import Parser, configure_logging, run
from workshop.making import make_models


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="default: models")
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="calibrate and let PyTorch quantize again (needs CIFAR-10 and PyTorch)",
    )
    parser.add_argument(
        "--pytorch", action="store_true", help="let PyTorch quantize again (needs both as well)"
    )
    parser.add_argument(
        "--training",
        type=Path,
        help="take the weights from this output folder of scripts/train.py, and recalibrate",
    )
    arguments = parser.parse_args()
    configure_logging(logging.INFO)
    make_models(
        arguments.models,
        training=arguments.training,
        recalibrate=arguments.recalibrate,
        pytorch=arguments.pytorch,
        report=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    run(main)
