"""One network in all its forms: float, and quantized by ONNX Runtime as QDQ and QOperator."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from tests.support.foreign import runtime_quantized
from tests.support.resnet8_state import random_state
from workshop.export import float_model

FORMS = {
    "int8": ("QDQ", "S8S8", True),
    "int8_qoperator": ("QOperator", "S8S8", True),
    "uint8": ("QDQ", "U8U8", False),
}


@cache
def files() -> dict[str, bytes]:
    """Return ResNet8 with random weights as ONNX files: float, int8, int8_qoperator, uint8."""
    model = float_model(random_state())
    found = {"float": model.SerializeToString()}
    for name, (form, types, per_channel) in FORMS.items():
        made = runtime_quantized(model, form, types, pixels=True, per_channel=per_channel)
        found[name] = made.SerializeToString()
    return found


def twin(name: str, folder: Path) -> QuantizedModel:
    """Write one of :func:`files` and read it."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        path.write_bytes(files()[name])
    return load(path)
