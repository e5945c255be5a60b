"""Write docs/operators.md: which operators are read as integer layers, and what stays outside.

Operators and their QLinear forms come from the tables of the library; a test compares the file with
what this script writes, and the operators with those that the reader knows.
"""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_bytes
from bitbybit.model.operators import MICROSOFT, OPERATORS
from bitbybit.terminal import Parser, run

TARGET = Path(__file__).resolve().parents[1] / "docs" / "operators.md"

KINDS: dict[str, tuple[str, str, str]] = {
    "conv": ("Conv", "integers", "every accumulator that the weights reach, ties"),
    "dense": ("Gemm MatMul", "integers", "every accumulator that the weights reach, ties"),
    "add": ("Add", "codes, in float32", "all pairs of codes"),
    "mul": ("Mul", "codes, in float32", "all pairs of codes"),
    "concat": ("Concat", "a table for each input", "all codes of each input"),
    "lookup": (
        "Clip HardSigmoid HardSwish LeakyRelu Relu Sigmoid Tanh",
        "a table of 256, or each real value alone",
        "all codes",
    ),
    "global_pool": ("GlobalAveragePool", "integers", "all sums of up to 400 pixels"),
    "average_pool": ("AveragePool", "real values, row by row", "images; ties in the tests"),
    "mean": ("ReduceMean", "real values, in Eigen's order", "images; all sizes in the tests"),
    "softmax": ("Softmax", "a table of exponentials", "images; ties in the tests"),
    "max_pool": ("MaxPool", "codes", "images"),
    "move": ("Pad Resize Slice Split Transpose", "codes", "images; all modes in the tests"),
    "reshape": ("Flatten Reshape Squeeze Unsqueeze", "codes", "images"),
}
"""Kind of layer → its operators, what ONNX Runtime computes on, what `verify` compares."""

OUTSIDE = (
    ("dynamic quantization", "the scales are computed from each input: no codes are fixed"),
    ("Conv, Gemm, MatMul with a float output", "the sum of real values has no fixed order"),
    ("a convolution with other types of codes in and out", "ONNX Runtime computes on real values"),
    ("a layer behind Flatten, Pad or Resize without a quantizer",
     "ONNX Runtime computes on real values; only Pad before Conv or AveragePool is no matter"),
    ("an Add or Mul with a constant", "not read yet"),
    ("Resize that mixes elements, ConvTranspose, BatchNormalization, Where", "not read yet"),
    ("Gemm with alpha or a transposed input, MatMul of more than two dimensions", "not read yet"),
    ("convolutions and pools in one or three dimensions, channels last", "not read yet"),
    ("16-bit activations, weights of less than 8 bits, scales per block",
     "ONNX Runtime has no integer kernel for them on a CPU"),
)  # fmt: skip
"""What stays a float part, and why."""


def page() -> str:
    """Return the text of the page."""
    forms = {row.twin: row for row in OPERATORS.values() if row.twin}
    lines = [
        "# Operators",
        "",
        "`bitbybit` reads ONNX files of opset 10 and later. What the first table names becomes an",
        "integer layer, in a static QDQ file and in its QLinear form alike, and equals ONNX",
        "Runtime bit for bit; what is not there, or lies outside its conditions, stays a float",
        "part that it runs, with its reason. `scripts/list_operators.py` writes this page from the",
        "tables of the library.",
        "",
        "| operator | on codes | layer | ONNX Runtime computes on | `verify` compares |",
        "|---|---|---|---|---|",
        "| QuantizeLinear | | quantize | real values | all codes and all ties between them |",
        "| DequantizeLinear | | dequantize | codes | all codes |",
        "| QuantizeLinear of dequantized codes | | lookup | real values | all codes |",
    ]
    for kind, (names, computed, compared) in KINDS.items():
        for name in names.split():
            row = forms.get(name)
            form = ""
            if row is not None and row.name != "QLinearReduceMean":  # no kernel on a CPU
                form = row.name + (" (com.microsoft)" if row.domains == (MICROSOFT,) else "")
            lines.append(f"| {name} | {form} | {kind} | {computed} | {compared} |")
    lines += [
        "",
        "Beside that `verify` compares every layer with ONNX Runtime on the codes that images",
        "make, and the whole file.",
        "",
        "## Outside",
        "",
        "| what | why it stays a float part |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in OUTSIDE),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = Parser(__doc__)
    parser.parse_args()
    atomic_write_bytes(TARGET, page().encode())


if __name__ == "__main__":
    run(main)
