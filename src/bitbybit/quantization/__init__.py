"""How does a float network become an integer one? By a scheme and a calibration record.

:func:`quantize` makes integers of the network and the record. The record is made once, on images,
by ``scripts/quantize_onnx.py``.
"""

from bitbybit.quantization.conversion import quantize
from bitbybit.quantization.record import Calibration
from bitbybit.quantization.scheme import Scheme

__all__ = ["Calibration", "Scheme", "quantize"]
