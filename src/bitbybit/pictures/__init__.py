"""How does it look? Figures, diagrams and tables that a page and a notebook show alike.

Every picture is inline SVG with a caption and alternative text, in the ink of the page; every
table is HTML. The functions draw what they are given and compute nothing else.
"""

from bitbybit.digits import hex_float

from .add_table import add_table, rulers
from .charts import accumulator_histogram, number_line, partial_sums, round_trip, staircase
from .compared import dots, mistakes
from .distributions import accuracy_map, histograms, weight_ranges
from .followed import followed, window
from .inspection_page import explore, layer_explorer
from .mark import mark
from .network import network, you_are_here
from .picture import Picture, source
from .qdq_graph import qdq_graph
from .table import Table, table
from .tiling import live_ranges, tiles

__all__ = [
    "Picture", "Table", "accumulator_histogram", "accuracy_map", "add_table", "dots", "explore",
    "followed", "hex_float", "histograms", "layer_explorer", "live_ranges", "mark", "mistakes",
    "network", "number_line", "partial_sums", "qdq_graph", "round_trip", "rulers", "source",
    "staircase", "table", "tiles", "weight_ranges", "window", "you_are_here",
]  # fmt: skip
