"""One network in all its forms: float, and quantized by ONNX Runtime as QDQ and QOperator."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from bitbybit.resnet8.examples import samples
from tests.support.resnet8_state import random_state
from workshop.export import float_model

FORMS = {
    "int8": ("QDQ", "QInt8", True),
    "int8_qoperator": ("QOperator", "QInt8", True),
    "uint8": ("QDQ", "QUInt8", False),
}


class _Images:
    def __init__(self) -> None:
        images = samples().images.astype(np.float32)
        self._items: Iterator[dict[str, Any]] = iter([{"image": image[None]} for image in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._items, None)


@cache
def files() -> dict[str, bytes]:
    """Return ResNet8 with random weights as ONNX files: float, int8, int8_qoperator, uint8."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = float_model(random_state())
    found = {"float": model.SerializeToString()}
    for name, (form, kind, per_channel) in FORMS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = Path(folder) / "model.onnx"
            quantize_static(
                onnx.ModelProto.FromString(found["float"]), target, _Images(),
                quant_format=QuantFormat[form], per_channel=per_channel,
                activation_type=QuantType[kind], weight_type=QuantType[kind],
            )  # fmt: skip
            found[name] = target.read_bytes()
    return found


def twin(name: str, folder: Path) -> QuantizedModel:
    """Write one of :func:`files` and read it."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        path.write_bytes(files()[name])
    return load(path)
