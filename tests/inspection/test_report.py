"""The report: page, CSV and JSON agree, all forms of a network agree, nothing is loaded."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup

import bitbybit
from bitbybit.digits import shown as shown_as
from bitbybit.errors import DataError
from bitbybit.inspection import report as tables
from bitbybit.inspection.activations import batches_of
from bitbybit.inspection.findings import verdict
from bitbybit.inspection.inspected import examine, inspect
from bitbybit.inspection.report import record
from bitbybit.inspection.weights import constant
from bitbybit.pictures.explorer import script, style
from bitbybit.pictures.inspection_page import body, explore, origin
from bitbybit.resnet8.examples import samples
from tests.support import twins
from tests.support.commands import call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, Any]:
    """The report of the int8 network with its float twin: numbers, page, rows of the CSV."""
    model, reference = (twins.twin(name, folder).path for name in ("int8", "float"))
    html, table = folder / "out.html", folder / "out.csv"
    numbers = report(model, reference, html=html, csv=table)
    text = html.read_text(encoding="utf-8")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = BeautifulSoup(text, "html.parser")
    return {"numbers": numbers, "html": text, "page": page, "rows": rows}


def report(
    model: Path, reference: Path | None = None, html: Path | None = None, csv: Path | None = None
) -> dict[str, Any]:
    """Measure a network on the bundled images as the command does; return the JSON."""
    options = {"--html": html, "--csv": csv, "--against": reference}
    words = [word for name, path in options.items() if path for word in (name, str(path))]
    done = call("inspect", model, "--run", "--json", *words)
    assert (done.status, done.err) == (0, ""), done.err
    numbers: dict[str, Any] = json.loads(done.out)["inspection"]
    return numbers


def cells(table: Any) -> list[dict[str, str]]:
    """Rows of an HTML table by header."""
    head = [th.get_text() for th in table.select("thead th")]
    return [
        dict(zip(head, [cell.get_text() for cell in row.select("th,td")], strict=True))
        for row in table.select("tbody tr")
    ]


def columns(table: Any) -> list[dict[str, str]]:
    """Columns of an HTML table by the header of the row; the first header names the columns."""
    lines = [[cell.get_text() for cell in row.select("th,td")] for row in table.select("tr")]
    names = [line[0] for line in lines]
    return [
        dict(zip(names, column, strict=True))
        for column in zip(*(line[1:] for line in lines), strict=True)
    ]


def section(measured: dict[str, Any], name: str) -> Any:
    return measured["page"].find("section", attrs={"data-layer": name})


def assert_same_parameters(part: Any, parameters: list[dict[str, Any]]) -> None:
    table = columns(part.find(attrs={"data-name": "Parameters"}))
    for shown, numbers in zip(table, parameters, strict=True):
        assert shown["tensor"] == numbers["role"]
        assert shown["name in the file"] == numbers["tensor"]
        assert shown.get("scale initializer", "") in (numbers["scale_name"], "—")
        if numbers["granularity"] == "per tensor":
            assert shown["scale"] == shown_as(numbers["scale"][0])
        elif numbers["scale"]:
            assert shown["least scale"] == shown_as(min(numbers["scale"]))
            assert shown["greatest scale"] == shown_as(max(numbers["scale"]))
        if numbers["scale"]:
            assert shown["zero point"] == shown_as(numbers["zero_point"][0])


def test_page_and_json_agree_to_the_last_digit(measured: dict[str, Any]) -> None:
    compared = 0
    for layer in measured["numbers"]["layers"]:
        part = section(measured, layer["name"])
        assert_same_parameters(part, layer["parameters"])
        for role, numbers in layer["tensors"].items():
            table = part.find(attrs={"data-name": f"Statistics of the {role}"})
            for row in cells(table):
                form = numbers["forms"][row["form"]]
                for key in ("minimum", "maximum", "mean", "std", "count"):
                    assert row[key] == shown_as(form[key]), (layer["name"], role, key)
                    compared += 1
                marked = form["highlight"]
                assert row["mean ± std holds"].startswith(f"{marked['count']:,} (")
        statistics = cells(part.find(attrs={"data-name": "Output statistics"}))
        shown = {row["output"]: row["value"] for row in statistics}
        output = layer["output"]
        assert shown["greatest real value"] == shown_as(output["maximum"])
        assert shown["values"] == shown_as(output["count"])
        if layer["quantized"] and output["at_upper_rail"] is not None:
            assert shown["codes at the upper rail"].startswith(shown_as(output["at_upper_rail"]))
        if output["sqnr_db"] is not None:
            assert shown["SQNR against float"] == f"{output['sqnr_db']:.2f} dB"
    assert compared == 10 * 2 * 2 * 5


def test_overview_and_json_agree(measured: dict[str, Any]) -> None:
    table = measured["page"].find(attrs={"data-name": "All layers"})
    for row, layer in zip(cells(table), measured["numbers"]["layers"], strict=True):
        assert row["layer"] == layer["name"]
        assert row["MACs"] == shown_as(layer["macs"])
        for title, value in (
            ("output SQNR, dB", layer["output"]["sqnr_db"]),
            ("gain per channel, dB", layer["per_channel_gain_db"]),
        ):
            if layer["kind"] == "quantize" and title == "output SQNR, dB":
                assert (row[title], value) == ("inf", None)  # pixels are codes: no noise
            else:
                assert row[title] == ("—" if value is None else f"{value:.2f}")


def test_csv_and_json_agree(measured: dict[str, Any]) -> None:
    rows = iter(measured["rows"])
    for layer in measured["numbers"]["layers"]:
        for parameter in layer["parameters"]:
            row = next(rows)
            assert (row["layer"], row["role"]) == (layer["name"], parameter["role"])
            assert row["tensor"] == parameter["tensor"]
            if parameter["scale"]:
                assert float(row["scale_least"]) == min(parameter["scale"])
                assert float(row["scale_greatest"]) == max(parameter["scale"])
                assert int(row["zero_point_least"]) == min(parameter["zero_point"])
            tensor = layer["tensors"].get(parameter["role"])
            if tensor is not None:
                form = tensor["forms"]["INT8 dequantized"]
                assert float(row["std"]) == form["std"]
                assert float(row["sqnr_db"]) == tensor["sqnr_db"]
    assert next(rows, None) is None


def test_ranges_of_channels_are_given_in_float_and_dequantized(measured: dict[str, Any]) -> None:
    for layer in measured["numbers"]["layers"]:
        for tensor in layer["tensors"].values():
            for real, floats, least in (
                (tensor["channel_least"], tensor["float_channel_least"], "minimum"),
                (tensor["channel_greatest"], tensor["float_channel_greatest"], "maximum"),
            ):
                ends = min if least == "minimum" else max
                assert len(real) == len(floats)
                assert ends(real) == tensor["forms"]["INT8 dequantized"][least]
                assert ends(floats) == tensor["forms"]["FP32"][least]


@pytest.mark.parametrize(
    "table", ["SCALE", "EDGE", "CONSTANT", "LAYERS", "ROWS", "FORMS", "OUTPUT"]
)
def test_no_two_columns_of_a_table_share_a_key(table: str) -> None:
    keys = [column.key for column in getattr(tables, table)]
    assert len(set(keys)) == len(keys)


def test_the_page_says_first_what_it_found_and_links_to_every_layer(
    measured: dict[str, Any], folder: Path
) -> None:
    page = measured["page"]
    assert page.find("strong").get_text() == "Every layer computes on integers."
    assert page.select_one("li a[href='#layer-dense']").get_text() == "dense"
    rows = page.find(attrs={"data-name": "All layers"}).select("tbody th a")
    assert [a["href"][1:] for a in rows] == [s["id"] for s in page.select("bb-explorer section")]
    assert (
        f"bitbybit {bitbybit.__version__}" in page.find(attrs={"data-name": "The file"}).get_text()
    )
    assert verdict(inspect(twins.twin("float", folder))).startswith("A float network")


def test_json_is_json(measured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(measured["numbers"], allow_nan=False)) == measured["numbers"]


def anonymous(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers without what the form of the file decides: names of nodes and tensors."""
    layers = json.loads(json.dumps(numbers["layers"]))
    for layer in layers:
        del layer["node"]
        for parameter in layer["parameters"]:
            for key in ("tensor", "scale_name", "zero_point_name"):
                del parameter[key]
        for tensor in layer["tensors"].values():
            del tensor["name"]
    return list(layers)


def test_qdq_and_qoperator_give_the_same_report(measured: dict[str, Any], folder: Path) -> None:
    other = report(twins.twin("int8_qoperator", folder).path, folder / "float.onnx")
    assert anonymous(other) == anonymous(measured["numbers"])


def test_all_forms_share_their_edges(folder: Path) -> None:
    model, reference, uint8 = (twins.twin(n, folder) for n in ("int8", "float", "uint8"))
    found = inspect(model, reference, others={"UINT8": uint8}, bins=37)
    for layer in found.layers:
        for role, distributions in layer.distributions.items():
            titles = [form.title for form in layer.forms(role)]
            assert titles == ["FP32", "INT8 dequantized", "UINT8 dequantized"]
            first = distributions[0].histogram
            assert len(first.counts) == 37
            for d in distributions:
                assert d.histogram.counts.sum() == d.histogram.total == first.total
                if d.role != "codes":
                    assert np.array_equal(d.histogram.edges, first.edges)


def test_float_and_integer_outputs_share_their_edges(measured: dict[str, Any]) -> None:
    for layer in measured["numbers"]["layers"]:
        output = layer["output"]
        assert len(output["edges"]) == 51
        assert sum(output["counts"]) == output["count"]
        if output["float_counts"] is not None:
            assert sum(output["float_counts"]) == output["count"]


def test_the_page_is_small_and_loads_nothing(measured: dict[str, Any]) -> None:
    html, page = measured["html"], measured["page"]
    assert len(html.encode()) < 1_500_000
    assert len(script().encode()) + len(style().encode()) < 15_000
    for tag in page.find_all(src=True):
        assert tag["src"].startswith("data:image/png;base64,")
    for tag in page.find_all(href=True):
        assert tag["href"].startswith("#")
        assert page.find(id=tag["href"][1:]) is not None
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    digest = base64.b64encode(hashlib.sha256(page.find("script").string.encode()).digest())
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert f"'sha256-{digest.decode()}'" in policy


def test_ids_are_unique_and_every_image_has_a_name(measured: dict[str, Any]) -> None:
    page = measured["page"]
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(set(ids)) == len(ids)
    assert all(tag["alt"] for tag in page.find_all("img"))
    for tag in page.select("section svg"):
        assert tag["aria-label"]


def test_every_layer_is_on_the_page_and_in_the_strip(measured: dict[str, Any]) -> None:
    page = measured["page"]
    names = [layer["name"] for layer in measured["numbers"]["layers"]]
    assert [s["data-layer"] for s in page.select("bb-explorer section")] == names
    links = page.select("bb-explorer nav a")
    assert [a["data-layer"] for a in links] == names
    stem = links[names.index("stem")]
    assert "[Q]" in stem.get_text()
    assert "16×32×32" in stem.get_text()


def test_the_strip_draws_the_skip_edges(measured: dict[str, Any]) -> None:
    """ResNet8 has one edge over other layers per residual stack, and one per shortcut."""
    boxes = len(measured["page"].select("bb-explorer nav .bb-stop"))
    lines = measured["page"].select("bb-explorer nav path")
    edges = {
        (source, layer["name"]) for layer in sheet_inputs(measured) for source in layer["inputs"]
    }
    assert boxes == 18
    assert len(lines) == len(edges)


def sheet_inputs(measured: dict[str, Any]) -> list[dict[str, Any]]:
    folder = measured["numbers"]["model"]["file"]
    assert folder == "int8.onnx"
    return [
        {"name": layer["name"], "inputs": [p["tensor"] for p in layer["parameters"]
                                           if p["role"].startswith("input")]}
        for layer in measured["numbers"]["layers"]
    ]  # fmt: skip


def test_a_float_network_has_a_report_too(folder: Path) -> None:
    numbers = report(twins.twin("float", folder).path, html=folder / "f.html")
    stem = numbers["layers"][0]
    assert stem["quantized"] is False
    assert set(stem["tensors"]["weight"]["forms"]) == {"FP32"}
    assert stem["output"]["count"] == 10 * 16 * 32 * 32
    assert "No tensor of this layer has quantization parameters." in (folder / "f.html").read_text(
        encoding="utf-8"
    )


def test_a_range_of_values_is_marked_and_counted(folder: Path) -> None:
    found = examine(folder / "int8.onnx", folder / "float.onnx", highlight=(-0.25, 0.0))
    floats = constant(twins.twin("float", folder).layer("stem"), "weight")
    assert floats is not None
    expected = int(((floats.values >= -0.25) & (floats.values <= 0)).sum())
    shown: Any = BeautifulSoup(body(found, found.layer("stem")), "html.parser")
    row = cells(shown.find(attrs={"data-name": "Statistics of the weight"}))[0]
    assert row["−0.25 to 0.0 holds"].startswith(f"{expected} (")
    marked = record(found)["layers"][1]["tensors"]["weight"]["forms"]["FP32"]["highlight"]
    assert marked == {"low": -0.25, "high": 0.0, "count": expected}
    with pytest.raises(DataError, match="low <= high"):
        examine(folder / "int8.onnx", highlight=(1, 0))


def test_without_inputs_the_page_says_so(folder: Path) -> None:
    found = inspect(twins.twin("int8", folder))
    assert ("inputs", "none: the network was not run") in origin(found)
    assert all(layer.activation is None for layer in found.layers)
    assert "Output of the first image" not in body(found, found.layers[0])


def test_two_runs_give_the_same_bytes(folder: Path, measured: dict[str, Any]) -> None:
    model, reference = folder / "int8.onnx", folder / "float.onnx"
    report(model, reference, html=folder / "again.html")
    assert (folder / "again.html").read_text(encoding="utf-8") == measured["html"]


def test_the_batch_size_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, reference = twins.twin("int8", folder), twins.twin("float", folder)
    images = samples().images
    found = []
    for size in (1, 10):
        monkeypatch.setattr("bitbybit.inspection.activations.BATCH", size)
        numbers = record(inspect(model, reference, batches_of(model, images, reference)))
        for layer in numbers["layers"]:  # a float convolution may round differently per batch
            for key in ("sqnr_db", "rounding_sqnr_db", "float_counts", "edges", "counts"):
                del layer["output"][key]
        found.append([layer["output"] for layer in numbers["layers"]])
    assert found[0] == found[1]


def test_explore_shows_the_committed_networks() -> None:
    found = examine()
    assert (found.model.form, list(found.others)) == ("qdq", ["UINT8"])
    assert found.reference is not None
    html = explore(label="x")._repr_html_()
    assert html.count("<section ") == len(found.layers)
    assert 'id="x-stem"' in html
    assert found.data.startswith("The 10 bundled")


def test_explore_takes_any_network(folder: Path) -> None:
    path = twins.twin("int8_qoperator", folder).path
    found = examine(path, folder / "float.onnx", bins=10)
    assert found.others == {}
    assert found.bins == 10
    assert found.layer("stem").tensors["weight"].error is not None
