"""See, check and export every integer of an INT8-quantized network.

Importing the package imports nothing but itself: each public name is loaded from its room when
it is first used (PEP 562), so ``import bitbybit`` is light and torch, onnx and onnxruntime are
needed only by what uses them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for type checkers; a test keeps both lists equal
    from bitbybit import arithmetic, hardware, inspection, pictures
    from bitbybit.errors import BitbybitError
    from bitbybit.execution.compare import compare
    from bitbybit.execution.engine import stream, trace
    from bitbybit.execution.runtime import ort_trace
    from bitbybit.execution.verification import verify
    from bitbybit.model.load import load
    from bitbybit.model.types import QuantizedModel, QuantParams
    from bitbybit.model.writer import write
    from bitbybit.pictures.inspection_page import explore
    from bitbybit.quantization.conversion import quantize
    from bitbybit.resnet8.examples import example, manifest, samples
    from bitbybit.resnet8.proof import prove

__version__ = "0.1.0"

_ROOMS = ("arithmetic", "hardware", "inspection", "pictures")
_HOME = {
    "BitbybitError": "bitbybit.errors",
    "QuantParams": "bitbybit.model.types",
    "QuantizedModel": "bitbybit.model.types",
    "compare": "bitbybit.execution.compare",
    "example": "bitbybit.resnet8.examples",
    "explore": "bitbybit.pictures.inspection_page",
    "load": "bitbybit.model.load",
    "manifest": "bitbybit.resnet8.examples",
    "ort_trace": "bitbybit.execution.runtime",
    "quantize": "bitbybit.quantization.conversion",
    "prove": "bitbybit.resnet8.proof",
    "samples": "bitbybit.resnet8.examples",
    "stream": "bitbybit.execution.engine",
    "trace": "bitbybit.execution.engine",
    "verify": "bitbybit.execution.verification",
    "write": "bitbybit.model.writer",
}

__all__ = [
    "BitbybitError", "QuantParams", "QuantizedModel", "__version__", "arithmetic", "compare",
    "example", "explore", "hardware", "inspection", "load", "manifest", "ort_trace", "pictures",
    "prove", "quantize", "samples", "stream", "trace", "verify", "write",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Load a public name from its room."""
    if name in _ROOMS:
        return import_module(f"bitbybit.{name}")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'bitbybit' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
