"""Files into one canonical view, and back: float, QDQ and QOperator ONNX; state dicts."""
