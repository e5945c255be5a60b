"""Draw a quantized ONNX file: every quantizer with its scale and zero point, every tensor."""

from __future__ import annotations

from pathlib import Path

from bitbybit.errors import UnsupportedError
from bitbybit.files import atomic_write_bytes
from bitbybit.model.dataflow import dataflow
from bitbybit.pictures.qdq_graph import qdq_source, render
from bitbybit.terminal import Parser, run


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="QDQ or QOperator ONNX file")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for PNG and SVG")
    arguments = parser.parse_args()
    flow = dataflow(arguments.model)
    if not any(node.parameters for node in flow.nodes):
        raise UnsupportedError(
            "the model has no node with a scale and a zero point",
            where=arguments.model,
            next_step="Quantize it with scripts/quantize_onnx.py.",
        )
    source = qdq_source(flow)
    files = {form: render(source, form) for form in ("svg", "png")}
    for form, data in files.items():
        path = arguments.output_dir / f"{arguments.model.stem}_qdq_graph.{form}"
        atomic_write_bytes(path, data)
        print(f"wrote {path}")


if __name__ == "__main__":
    run(main)
