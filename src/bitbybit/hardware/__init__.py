"""What does hardware need, and what do its shortcuts cost? Widths, vectors, checks."""

from .arrays import Array, Mapping, mapping
from .buffers import Buffer, buffers, live_bytes
from .matrices import accumulators, input_rows, matrix_layer, packed_weights

__all__ = [
    "Array", "Buffer", "Mapping", "accumulators", "buffers", "input_rows", "live_bytes",
    "mapping", "matrix_layer", "packed_weights",
]  # fmt: skip
