"""ONNX Runtime's own quantizer on the same network and images: what ours is compared with."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SETTINGS = {
    "quantizer": "onnxruntime.quantization.quantize_static",
    "format": "QDQ",
    "weights": "QInt8, per channel",
    "activations": "QInt8, asymmetric",
    "ranges": "MinMax",
}
"""The counterpart of ``resnet8_int8.onnx`` that this quantizer does best."""


def quantize_with_onnxruntime(
    float_file: Path, images: NDArray[np.uint8], target: Path
) -> dict[str, Any]:
    """Quantize ``float_file`` with ONNX Runtime and return the settings and its version.

    Parameters
    ----------
    float_file
        The float ONNX file; its input takes raw pixels.
    images
        Calibration images, uint8 ``[N, 3, 32, 32]``.
    target
        The file to write.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(np.split(images, range(100, len(images), 100)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch.astype(np.float32)}

    logging.getLogger().setLevel(logging.ERROR)  # it logs advice on the root logger
    quantize_static(
        float_file,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return {**SETTINGS, "onnxruntime": version("onnxruntime")}
