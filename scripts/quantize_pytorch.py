"""Quantize ResNet8 with PyTorch's own quantizer (torch.ao, FX graph mode) into TorchScript.

Calibrated on the same 1,000 training images as every other variant; needs the dataset and the
pinned version of PyTorch.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_bytes, atomic_write_json, require_apart
from bitbybit.resnet8.cifar10 import load_split
from bitbybit.terminal import Parser, run
from workshop.evaluation import evaluate
from workshop.selection import calibration_split, held_out_split
from workshop.state_dict import read_state_dict


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--weights", type=Path, default=Path("models/resnet8.pt"))
    parser.add_argument("--output", type=Path, default=Path("_build/resnet8_int8.pt"))
    parser.add_argument("--output-json", type=Path, help="evaluate on the held-out images")
    arguments = parser.parse_args()
    outputs = filter(None, (arguments.output, arguments.output_json))
    require_apart(outputs, [arguments.weights])
    from workshop.pytorch_int8 import quantize, to_bytes

    state = read_state_dict(arguments.weights)
    train = load_split("train")
    module = quantize(state, calibration_split(train).images, arguments.weights)
    atomic_write_bytes(arguments.output, to_bytes(module))
    print(f"wrote {arguments.output}")
    if arguments.output_json:
        held = held_out_split(train)[1]
        record = evaluate(arguments.output, held, "held-out", against=arguments.weights)
        atomic_write_json(arguments.output_json, record)
        print(f"held-out top-1 {100 * record['overall']['accuracy']:.2f} %")


if __name__ == "__main__":
    run(main)
