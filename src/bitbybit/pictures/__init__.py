"""How does it look? Figures, diagrams and tables that a page and a notebook show alike.

Every picture is inline SVG with a caption and alternative text, in the ink of the page; every
table is HTML. The functions draw what they are given and compute nothing else.
"""

from .add_table import add_table, rulers
from .captions import source
from .diagram import Diagram
from .glue import glue
from .mark import mark
from .network import network
from .picture import Picture
from .qdq_graph import QdqGraph, qdq_graph
from .quantizer import number_line, round_trip
from .sums import accumulator_histogram, partial_sums, staircase
from .table import Table, hex_float, table
from .window import window

__all__ = [
    "Diagram", "Picture", "QdqGraph", "Table", "accumulator_histogram", "add_table", "glue",
    "hex_float", "mark", "network", "number_line", "partial_sums", "qdq_graph", "round_trip",
    "rulers", "source", "staircase", "table", "window",
]  # fmt: skip
