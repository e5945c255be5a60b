"""What does hardware need, and what do its shortcuts cost? Widths, vectors, checks."""

from .analog import (
    Converter,
    analog_accumulators,
    analog_codes,
    analog_trace,
    full_scale,
    tile_sums,
)
from .arrays import Array, Mapping, mapping
from .buffers import Buffer, buffers, live_bytes
from .c_source import c_compiler, c_function, check_c, write_c
from .certificate import certificate, check_certificate, read_certificate
from .diagnosis import Diagnosis, Element, Explanation, Window, diagnose
from .dump import Check, Compared, Given, check
from .hypotheses import Hypothesis
from .matrices import input_rows, layer_sums, matrix_layer, packed_weights
from .pack import Pack, read_pack
from .powers_of_two import power_of_two_scales
from .register_widths import (
    Run,
    Width,
    Witness,
    run_witnesses,
    saturating_sums,
    widths,
    witness_input,
)
from .scheme import Scheme, read_multipliers
from .substitutes import Parts, stream_with, trace_with
from .sweeps import Difference, differences
from .vectors import Choice, write_pack
from .verilog import write_verilog

__all__ = [
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
