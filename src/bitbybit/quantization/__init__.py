"""How does a float network become an integer one? Calibration, ranges, rounding, correction.

:func:`calibrate` observes a float network on images and makes a :class:`Calibration`;
:func:`quantize` makes integers of the network and that record.
"""

from bitbybit.quantization.calibration import calibrate
from bitbybit.quantization.conversion import quantize
from bitbybit.quantization.ranges import METHODS, RangeMethod
from bitbybit.quantization.record import Calibration
from bitbybit.quantization.scheme import Scheme

__all__ = ["METHODS", "Calibration", "RangeMethod", "Scheme", "calibrate", "quantize"]
