"""What does hardware need, and what do its shortcuts cost? Widths, vectors, checks."""

from .arrays import Array, Mapping, mapping
from .buffers import Buffer, buffers, live_bytes
from .matrices import accumulators, input_rows, matrix_layer, packed_weights
from .pack import Pack, read_pack
from .vectors import Choice, write_pack

__all__ = [
    "Array",
    "Buffer",
    "Choice",
    "Mapping",
    "Pack",
    "accumulators",
    "buffers",
    "input_rows",
    "live_bytes",
    "mapping",
    "matrix_layer",
    "packed_weights",
    "read_pack",
    "write_pack",
]
