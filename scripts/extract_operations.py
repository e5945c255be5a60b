"""List every quantization-related operation of an ONNX file with its scales and zero points."""

from __future__ import annotations

from pathlib import Path

from bitbybit.files import atomic_write_json, require_apart
from bitbybit.terminal import Parser, run
from workshop.operations import operations


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="float, QDQ or QOperator ONNX")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    record = operations(arguments.model)
    require_apart([arguments.output], [arguments.model])
    atomic_write_json(arguments.output, record)
    summary = record["summary"]
    print(
        f"wrote {arguments.output}: {len(record['operations'])} of {summary['total_nodes']} nodes"
    )


if __name__ == "__main__":
    run(main)
