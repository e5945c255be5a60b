"""What do parameters and activations look like? Ranges, histograms, errors, costs: plain data."""

from bitbybit.inspection.activations import activation_reports, batches_of
from bitbybit.inspection.columns import Column, as_csv, as_json, as_text
from bitbybit.inspection.findings import findings, sentences
from bitbybit.inspection.index import TensorIndex, tensor_index
from bitbybit.inspection.inspected import (
    Inspection,
    LayerInspection,
    examine,
    inspect,
    parameter_rows,
    tensor_reports,
)
from bitbybit.inspection.report import csv_text, record
from bitbybit.inspection.statistics import bin_edges, histogram, statistics
from bitbybit.inspection.weights import real_values
from bitbybit.model.costs import costs
from bitbybit.model.dataflow import dataflow

__all__ = [
    "Column", "Inspection", "LayerInspection", "TensorIndex", "activation_reports", "as_csv",
    "as_json", "as_text", "batches_of", "bin_edges", "costs", "csv_text", "dataflow", "examine",
    "findings", "histogram", "inspect", "parameter_rows", "real_values", "record", "sentences",
    "statistics", "tensor_index", "tensor_reports",
]  # fmt: skip
