"""The diagram of a quantized file: complete, and closed to whatever its names say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import graphviz
import onnx
import pytest

import bitbybit
from bitbybit.inspection import dataflow
from bitbybit.model.dataflow import Dataflow, FlowEdge, FlowNode
from bitbybit.pictures import qdq_graph
from bitbybit.pictures.qdq_graph import qdq_source, render, text_of
from tests.support.commands import script

pytest.importorskip("pygraphviz")

HOSTILE = (
    'a" ]; evil [label="x',
    "</text><script>alert(1)</script>",
    "\\N\\G\\",
    "&lt;b&gt;&#x41;",
    "<b>bold</b>",
    "line\nbreak\x1b[31m",
    "long" * 500,
)


def texts(svg: bytes) -> list[str]:
    """Return the lines of text of an SVG file, which must be well-formed."""
    tree = ET.fromstring(svg)  # noqa: S314 - made here
    found = ["".join(item.itertext()) for item in tree.iter("{http://www.w3.org/2000/svg}text")]
    return [text.replace("\xa0", " ") for text in found]


@pytest.mark.parametrize("form", ["int8", "int8_qoperator"])
def test_every_node_tensor_scale_and_zero_point_is_drawn(form: str) -> None:
    path = bitbybit.example(form)
    graph = onnx.load(path).graph
    drawn = texts(render(qdq_source(dataflow(path))))
    for node in graph.node:
        assert node.op_type in drawn
        assert node.name in drawn
        for name in node.input:
            if name.endswith(("_scale", "_zero_point")):
                assert name in drawn
    for op in ("QuantizeLinear", "DequantizeLinear"):
        assert drawn.count(op) == sum(node.op_type == op for node in graph.node)


def test_every_tensor_has_type_and_shape() -> None:
    flow = dataflow(bitbybit.example("int8"))
    assert all(edge.dtype and edge.shape for edge in flow.edges)
    drawn = texts(render(qdq_source(flow)))
    labels = [t for t in drawn if re.fullmatch(r" ?(int|uint|float)\d+ [N\d×]+ ?", t)]
    assert len(labels) == len(flow.edges)


def test_key_sections_are_marked() -> None:
    drawn = texts(render(qdq_source(dataflow(bitbybit.example("int8")))))
    for section in ("input quantization", "stack1", "stack2", "stack3", "output dequantization"):
        assert drawn.count(section) == 1
    assert drawn.count("residual add") == 3


def test_every_node_of_a_layer_links_to_it() -> None:
    path = bitbybit.example("int8")
    flow = dataflow(path)
    html = qdq_graph(flow, label="fig-x", caption="c", links="#row-")._repr_html_()
    linked = re.findall(r'<g data-href="#row-([\w.-]+)"', html)
    assert sorted(linked) == sorted(node.layer for node in flow.nodes if node.layer)
    assert set(linked) == {layer.name for layer in bitbybit.load(path).layers}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_cannot_leave_their_quotes(name: str) -> None:
    nodes = (
        FlowNode(name, "input", "", "activation"),
        FlowNode(name, "QuantizeLinear", "layer", "activation", ((name, name),)),
    )
    edges = (FlowEdge(name, 0, 1, name, (1, 2)),)
    flow = Dataflow(name, "0" * 64, {"layer": "quantize"}, nodes, edges)
    drawn = texts(render(qdq_source(flow)))
    assert len(drawn) == 8, "input: 2 lines, quantizer: 4, tensor: 1, section: 1"
    html = qdq_graph(flow, label="fig-x", caption="c", links="#row-")._repr_html_()
    assert not re.search("<script|<b>|\x1b|evil<", html)


def test_short_names_are_shown_as_they_are() -> None:
    name = '\\N & <b> "q" &amp;'
    graph = graphviz.Digraph()
    graph.node("n", text_of(name))
    drawn = texts(render(graph.source))
    assert drawn == [name]


def test_the_script_writes_both_files(root: Path, tmp_path: Path) -> None:
    model = bitbybit.example("int8_qoperator")
    command = [sys.executable, root / "scripts" / "annotate_qdq_graph.py", "--model", model]
    command += ["--output-dir", tmp_path / "new"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    svg, png = (tmp_path / "new" / f"{model.stem}_qdq_graph.{form}" for form in ("svg", "png"))
    assert done.stdout.splitlines() == [f"wrote {svg}", f"wrote {png}"]
    assert "QLinearConv" in texts(svg.read_bytes())
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.onnx", "missing.onnx"),
        ("text.onnx", "not an ONNX file"),
        ("float", "no node with"),
    ],
)
def test_bad_input_is_one_sentence(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    model = bitbybit.example("float") if name == "float" else tmp_path / name
    done = script("annotate_qdq_graph.py", "--model", model, "--output-dir", tmp_path / "out")
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
