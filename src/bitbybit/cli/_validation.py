"""What ``validate_qlinearconv.py`` and ``validate_qlinearmatmul.py`` share."""

from __future__ import annotations

from pathlib import Path

from bitbybit.errors import DataError, ModelError, UnsupportedError
from bitbybit.execution.feed import Input, read_npz
from bitbybit.execution.stimuli import stimuli
from bitbybit.execution.validation import as_lines, validate
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, FloatIsland, QuantizedModel
from bitbybit.resnet8.inputs import default_images
from bitbybit.terminal import Parser
from bitbybit.text import printable

_WORDS: dict[type[Conv | Dense], tuple[str, str]] = {
    Conv: ("convolution", "QLinearConv, or Conv between DequantizeLinear and QuantizeLinear"),
    Dense: ("fully connected layer", "QLinearMatMul, QGemm, or Gemm or MatMul in QDQ form"),
}


def validator(description: str | None, kind: type[Conv | Dense]) -> int:
    """Read the arguments of a validator script, validate, and return the exit status."""
    parser = Parser(description)
    parser.add_argument("model", type=Path, help=f"ONNX file with {_WORDS[kind][1]}")
    parser.add_argument("--images", type=int, default=4, help="images to run (default: 4)")
    parser.add_argument("--inputs", type=Path, help="graph inputs by name (.npz) instead of images")
    arguments = parser.parse_args()
    return validate_file(arguments.model, kind, arguments.images, arguments.inputs)


def validate_file(
    path: Path, kind: type[Conv | Dense], images: int = 4, inputs: Path | None = None
) -> int:
    """Print the validation of every quantized layer of a kind; return the exit status.

    Parameters
    ----------
    path
        An ONNX file.
    kind
        Which layers.
    images
        How many images, or stimuli for a model of another input shape.
    inputs
        An ``.npz`` file with the graph inputs by name, instead of images.

    Returns
    -------
    0 if every element is equal, else 1.

    Raises
    ------
    ModelError
        The file is missing (the message says how to make it) or cannot be read.
    UnsupportedError
        It has no quantized layer of this kind.
    DataError
        Inputs that do not fit, or fewer than one image.
    """
    if not path.exists():
        raise ModelError(
            "there is no such file", where=path, next_step="Make it with `make models`."
        )
    model, (noun, wanted) = load(path), _WORDS[kind]
    found = validate(model, kind, _images(model, images) if inputs is None else read_npz(inputs))
    if not found:
        raise UnsupportedError(
            f"the model has no quantized {noun}",
            where=path,
            expected=wanted,
            found=_left_out(model, kind),
            next_step="Quantize it with scripts/quantize_onnx.py.",
        )
    for layer in found:
        print("\n".join(printable(line) for line in as_lines(layer)))
    failed = [layer.layer for layer in found if not layer.passed]
    elements = sum(result.elements for layer in found for result in layer.results)
    verdict = f"FAIL: {', '.join(failed)}" if failed else "PASS"
    print(
        printable(
            f"{verdict}: {len(found)} layer{'s'[: len(found) > 1]}, {elements:,} elements compared"
        )
    )
    return 1 if failed else 0


def _images(model: QuantizedModel, count: int) -> Input:
    if count < 1:
        raise DataError(
            "the number of images must be positive",
            expected=">= 1",
            found=count,
            where="--images",
            next_step="Ask for at least one.",
        )
    given, _ = default_images(model, count)
    return stimuli(model, count) if given is None else given


def _left_out(model: QuantizedModel, kind: type[Conv | Dense]) -> str:
    """Return why the operators of this kind make no layer, "" if there are none."""
    operators = (
        ("Conv", "QLinearConv") if kind is Conv else ("Gemm", "MatMul", "QGemm", "QLinearMatMul")
    )
    reasons = [
        layer.reason
        for layer in model.layers
        if isinstance(layer, FloatIsland) and any(op in operators for op, _ in layer.nodes)
    ]
    return "; ".join(dict.fromkeys(reasons))
