"""What ``validate_qlinearconv.py`` and ``validate_qlinearmatmul.py`` share."""

from __future__ import annotations

from pathlib import Path

from bitbybit.command import printable
from bitbybit.errors import ModelError, UnsupportedError
from bitbybit.execution.stimuli import stimuli
from bitbybit.execution.validation import as_lines, validate
from bitbybit.model.reader import load
from bitbybit.model.types import Conv, Dense
from bitbybit.resnet8.inputs import default_images

_WORDS: dict[type[Conv | Dense], tuple[str, str]] = {
    Conv: ("convolution", "QLinearConv, or Conv between DequantizeLinear and QuantizeLinear"),
    Dense: ("fully connected layer", "QLinearMatMul, QGemm, or Gemm or MatMul in QDQ form"),
}


def validate_file(path: Path, kind: type[Conv | Dense], images: int) -> int:
    """Print the validation of every quantized layer of a kind; return the exit status.

    Parameters
    ----------
    path
        An ONNX file.
    kind
        Which layers.
    images
        How many images, or stimuli for a model of another input shape.

    Returns
    -------
    0 if every element is equal, else 1.

    Raises
    ------
    ModelError
        The file is missing (the message says how to make it) or cannot be read.
    UnsupportedError
        It has no quantized layer of this kind.
    """
    if not path.is_file():
        raise ModelError(
            "there is no such file", where=path, next_step="Make it with `make models`."
        )
    model, (noun, wanted) = load(path), _WORDS[kind]
    given, _ = default_images(model, images)
    found = validate(model, kind, stimuli(model, images) if given is None else given)
    if not found:
        raise UnsupportedError(
            f"the model has no quantized {noun}",
            where=path,
            expected=wanted,
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
