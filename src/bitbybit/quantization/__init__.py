"""How does a float network become an integer one? Calibration, ranges, rounding, correction."""
