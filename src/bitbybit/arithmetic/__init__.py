"""What does one operator compute, on plain arrays? One operator per file, NumPy only.

Every function is pure: codes, scales and zero points in, codes out, in ONNX layouts and in the
order of the ONNX operator's inputs. The results are those of the integer graph in ONNX Runtime on
x86-64 with AVX2 and FMA.
"""

from . import alternatives, requantizers
from ._bounds import (
    centred,
    code_range,
    interval_inputs,
    saturated,
    signed_width,
    sum_interval,
    type_bound,
    weight_bound,
    wrapped,
)
from ._conv_integer import accumulate_conv, conv_integer, pad_codes
from ._dequantize_linear import dequantize_linear
from ._fast import FastAdd, FastConv, Interleaved, fast_add, fast_conv
from ._fused_multiply_add import fma32
from ._lookup import lookup
from ._matmul_integer import accumulate_matmul, matmul_integer
from ._move import RESIZE_MODES, move
from ._operands import OperandError, along
from ._pool import max_pool, qlinear_average_pool
from ._qgemm import qgemm
from ._qlinear_add import add_constants, add_table, qlinear_add
from ._qlinear_concat import qlinear_concat
from ._qlinear_conv import qlinear_conv
from ._qlinear_global_average_pool import (
    accumulate_global_average_pool,
    qlinear_global_average_pool,
)
from ._qlinear_matmul import qlinear_matmul
from ._qlinear_mul import qlinear_mul
from ._qlinear_softmax import HEADROOM, qlinear_softmax
from ._quantize_linear import quantize_linear
from ._reduce_mean import LANES, reduce_mean
from ._requantize import (
    accumulator_scale,
    clip_and_round,
    conv_multiplier,
    gemm_multiplier,
    pool_multiplier,
    requantize,
    round_to_codes,
)
from ._sqnr import sqnr_db
from ._window import window_output_size, window_pads

__all__ = [
    "HEADROOM", "LANES", "RESIZE_MODES", "FastAdd", "FastConv", "Interleaved", "OperandError",
    "accumulate_conv", "accumulate_global_average_pool", "accumulate_matmul", "accumulator_scale",
    "add_constants", "add_table", "along", "alternatives", "centred", "clip_and_round",
    "code_range", "conv_integer", "conv_multiplier", "dequantize_linear", "fast_add", "fast_conv",
    "fma32", "gemm_multiplier", "interval_inputs", "lookup", "matmul_integer", "max_pool", "move",
    "pad_codes", "pool_multiplier", "qgemm", "qlinear_add", "qlinear_average_pool",
    "qlinear_concat", "qlinear_conv", "qlinear_global_average_pool", "qlinear_matmul",
    "qlinear_mul", "qlinear_softmax", "quantize_linear", "reduce_mean", "requantize",
    "requantizers", "round_to_codes", "saturated", "signed_width", "sqnr_db", "sum_interval",
    "type_bound", "weight_bound", "window_output_size", "window_pads", "wrapped",
]  # fmt: skip
