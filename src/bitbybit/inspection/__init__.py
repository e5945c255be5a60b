"""What do parameters and activations look like? Ranges, histograms, errors, costs: plain data."""

from bitbybit.inspection.activations import ActivationReport, FloatDistance, activation_reports
from bitbybit.inspection.clipping import Rails
from bitbybit.inspection.dequantized import dequantize, real_values
from bitbybit.inspection.findings import Findings, findings, sentences
from bitbybit.inspection.folded import FoldedClip, folded_clips
from bitbybit.inspection.histograms import Histogram, bin_edges, code_edges, histogram
from bitbybit.inspection.index import LayerEntry, TensorEntry, TensorIndex, tensor_index
from bitbybit.inspection.inputs import batches_of
from bitbybit.inspection.parameters import ParameterRow, parameter_rows
from bitbybit.inspection.record import csv_text, record
from bitbybit.inspection.sheet import Range, Sheet, sheet
from bitbybit.inspection.statistics import Statistics, ValueRange, statistics, value_range
from bitbybit.inspection.summary import (
    FeatureMaps,
    Inspection,
    LayerInspection,
    feature_maps,
    inspect,
)
from bitbybit.inspection.weights import (
    GranularityGain,
    RoundingError,
    TensorReport,
    granularity_gain,
    tensor_reports,
)
from bitbybit.model.costs import Cost, costs
from bitbybit.model.dataflow import Dataflow, FlowEdge, FlowNode, dataflow

__all__ = [
    "ActivationReport", "Cost", "Dataflow", "FeatureMaps", "Findings", "FloatDistance", "FlowEdge",
    "FlowNode", "FoldedClip", "GranularityGain", "Histogram", "Inspection", "LayerEntry",
    "LayerInspection", "ParameterRow", "Rails", "Range", "RoundingError", "Sheet", "Statistics",
    "TensorEntry", "TensorIndex", "TensorReport", "ValueRange", "activation_reports", "batches_of",
    "bin_edges", "code_edges", "costs", "csv_text", "dataflow", "dequantize", "feature_maps",
    "findings", "folded_clips", "granularity_gain", "histogram", "inspect", "parameter_rows",
    "real_values", "record", "sentences", "sheet", "statistics", "tensor_index", "tensor_reports",
    "value_range",
]  # fmt: skip
