"""From images to the record of which integers are made: ranges, rounding, correction.

:func:`calibrate` observes a float network on images and makes a
:class:`bitbybit.quantization.Calibration`; :func:`bitbybit.quantize` makes integers of the network
and that record.
"""

from workshop.calibration.ranges import METHODS, Method, RangeMethod
from workshop.calibration.recording import calibrate

__all__ = ["METHODS", "Method", "RangeMethod", "calibrate"]
