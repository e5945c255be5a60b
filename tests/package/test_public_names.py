"""The public surface: pinned, lazy, and the same for type checkers."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import bitbybit

PUBLIC = [
    "BitbybitError",
    "QuantParams",
    "QuantizedModel",
    "__version__",
    "arithmetic",
    "compare",
    "example",
    "explore",
    "hardware",
    "inspection",
    "load",
    "manifest",
    "ort_trace",
    "pictures",
    "prove",
    "quantize",
    "samples",
    "stream",
    "trace",
    "verify",
    "write",
]

HARDWARE = [
    "Array",
    "Buffer",
    "Check",
    "Choice",
    "Compared",
    "Converter",
    "Diagnosis",
    "Difference",
    "Element",
    "Explanation",
    "Given",
    "Hypothesis",
    "Mapping",
    "Pack",
    "Parts",
    "Run",
    "Scheme",
    "Width",
    "Window",
    "Witness",
    "analog_accumulators",
    "analog_codes",
    "analog_trace",
    "buffers",
    "c_compiler",
    "c_function",
    "certificate",
    "check",
    "check_c",
    "check_certificate",
    "diagnose",
    "differences",
    "full_scale",
    "input_rows",
    "layer_sums",
    "live_bytes",
    "mapping",
    "matrix_layer",
    "packed_weights",
    "power_of_two_scales",
    "read_certificate",
    "read_multipliers",
    "read_pack",
    "run_witnesses",
    "saturating_sums",
    "stream_with",
    "tile_sums",
    "trace_with",
    "widths",
    "witness_input",
    "write_c",
    "write_pack",
    "write_verilog",
]
INSPECTION = [
    "Column", "Inspection", "LayerInspection", "TensorIndex", "activation_reports", "as_csv",
    "as_json", "as_text", "batches_of", "bin_edges", "costs", "csv_text", "dataflow", "examine",
    "findings", "histogram", "inspect", "parameter_rows", "real_values", "record", "sentences",
    "statistics", "tensor_index", "tensor_reports",
]  # fmt: skip
PICTURES = [
    "Picture", "Table", "accumulator_histogram", "accuracy_map", "add_table", "dots", "explore",
    "followed", "hex_float", "histograms", "layer_explorer", "live_ranges", "mark", "mistakes",
    "network", "number_line", "partial_sums", "qdq_graph", "round_trip", "rulers", "source",
    "staircase", "table", "tiles", "weight_ranges", "window", "you_are_here",
]  # fmt: skip


def modules_after(program: str) -> set[str]:
    """Return the top-level modules that a fresh Python has loaded after ``program``."""
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_public_names_are_these() -> None:
    assert sorted(bitbybit.__all__) == PUBLIC
    assert len(PUBLIC) <= 21
    assert sorted(dir(bitbybit)) == PUBLIC


def test_the_names_of_three_rooms_are_these() -> None:
    assert sorted(bitbybit.hardware.__all__) == HARDWARE
    assert sorted(bitbybit.inspection.__all__) == INSPECTION
    assert sorted(bitbybit.pictures.__all__) == PICTURES


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(bitbybit, name) is getattr(bitbybit, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bitbybit.nothing  # noqa: B018 (the access is the test)


def test_type_checkers_see_the_same_names(root: Path) -> None:
    tree = ast.parse((root / "src" / "bitbybit" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = dict.fromkeys(bitbybit._ROOMS, "bitbybit") | bitbybit._HOME
    assert homes == lazy
    assert sorted([*lazy, "__version__"]) == PUBLIC


def test_importing_loads_nothing_else() -> None:
    heavy = {"numpy", "onnx", "onnxruntime", "torch", "PIL", "matplotlib", "argparse"}
    assert modules_after("import bitbybit") & heavy == set()


def test_no_public_name_loads_torch() -> None:
    program = "import bitbybit\nfor name in bitbybit.__all__: getattr(bitbybit, name)"
    assert "torch" not in modules_after(program)


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    heavy = {"numpy", "onnx", "onnxruntime", "torch", "PIL", "matplotlib"}
    assert modules_after("import bitbybit.cli") & heavy == set()
    program = "import bitbybit.cli; bitbybit.cli.parser(['inspect', '--help'])"
    assert modules_after(program) & heavy == set()
