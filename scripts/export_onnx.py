"""Export a float state dict of ResNet8 to ONNX, batch-norm folded; PyTorch is not needed.

The input is float32 [N, 3, 32, 32] of raw pixels 0..255, the output logits [N, 10].
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_bytes, require_apart
from bitbybit.terminal import Parser, run
from workshop.export import float_model
from workshop.state_dict import read_state_dict


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--weights", type=Path, default=Path("models/resnet8.pt"))
    parser.add_argument("--output", type=Path, default=Path("_build/resnet8.onnx"))
    arguments = parser.parse_args()
    require_apart([arguments.output], [arguments.weights])
    model = float_model(read_state_dict(arguments.weights), arguments.weights)
    atomic_write_bytes(arguments.output, model.SerializeToString(deterministic=True))
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    run(main)
