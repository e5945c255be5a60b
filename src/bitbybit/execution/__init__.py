"""What happens to this input? Exact integer execution, ONNX Runtime, and their comparison."""
