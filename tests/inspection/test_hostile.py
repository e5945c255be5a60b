"""Names, values and files that try to break the page: a sentence, and nothing executes."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup

from bitbybit.inspection.inspected import inspect
from bitbybit.inspection.report import csv_text, record
from bitbybit.model.load import load
from bitbybit.model.types import Conv, QuantizedModel, QuantizedTensor
from bitbybit.pictures.inspection_page import layer_explorer, origin, page
from tests.support import foreign, models, twins
from tests.support.written import fault_of_csv

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "../../etc/passwd",
    "x" * 10_000,
    "\u202eevil\u2066",
    "a\x00b\x1b[31m",
    "`code` & &lt;b&gt;",
    "</title></style><svg onload=alert(1)>",
)


def hostile(name: str, folder: Path) -> QuantizedModel:
    """A network in which every node, tensor and initializer carries ``name``."""
    model = foreign.grouped_and_pooled()
    renamed: dict[str, str] = {}
    for i, node in enumerate(model.graph.node):
        node.name = name.replace("\x00", "") + (str(i) if i else "")
        for part in (node.input, node.output):
            for j, tensor in enumerate(part):
                if tensor not in {"image", "logits"}:
                    renamed.setdefault(tensor, f"{name}/{len(renamed)}".replace("\x00", ""))
                    part[j] = renamed[tensor]
    for tensor in model.graph.initializer:
        tensor.name = renamed[tensor.name]
    path = folder / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_stay_text(name: str, tmp_path: Path) -> None:
    found = inspect(hostile(name, tmp_path))
    html = page(found)
    tree = BeautifulSoup(html, "html.parser")
    assert len(tree.find_all("script")) == 1
    assert len(tree.find_all("style")) == 1
    assert tree.find(onload=True) is tree.find(onerror=True) is tree.find(onmouseover=True) is None
    assert all(str(img["src"]).startswith("data:") for img in tree.find_all("img"))
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", html)
    assert len(html) < 600_000
    ids = [tag["id"] for tag in tree.find_all(id=True)]
    assert len(set(ids)) == len(ids)
    for section in tree.select("section[data-layer]"):
        assert re.fullmatch(r"[\w.-]+", str(section["data-layer"]))
    assert record(found)["layers"]
    assert fault_of_csv(csv_text(found).encode()) == ""


def test_a_hostile_file_name_stays_text(tmp_path: Path) -> None:
    target = tmp_path / "<img src=x onerror=alert(1)>\u202e.onnx"
    target.write_bytes(twins.files()["float"])
    html = page(inspect(load(target)))
    tree = BeautifulSoup(html, "html.parser")
    assert tree.title is not None
    assert "<img src=x" in tree.title.get_text()
    assert all(str(img["src"]).startswith("data:") for img in tree.find_all("img"))
    assert "\u202e" not in html


def test_a_name_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    found = inspect(hostile("=HYPERLINK(0)", tmp_path))
    rows = list(csv.reader(io.StringIO(csv_text(found))))
    dangerous = [cell for row in rows for cell in row if cell[:1] in set("=@\t\r")]
    assert dangerous == []
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row)


def without_weights(model: QuantizedModel) -> QuantizedModel:
    kept = model.layers[:1]
    return replace(model, layers=kept, outputs=(kept[-1].name,))


def test_a_network_without_weights_has_a_page() -> None:
    html = page(inspect(without_weights(models.small())))
    assert "No layer has weights." in html
    assert "This layer has no weights." in html


def test_an_empty_network_has_a_page() -> None:
    model = models.small()
    empty = replace(model, layers=(), outputs=model.inputs)
    found = inspect(empty)
    assert "No layer has weights." in page(found)
    assert "<bb-explorer>" in layer_explorer(found)._repr_html_()


def test_nan_and_infinite_weights_are_counted_on_the_page(tmp_path: Path) -> None:
    model = twins.twin("float", tmp_path)
    stem = model.layer("stem")
    assert isinstance(stem, Conv)
    for values, count in ((np.nan, 432), (np.inf, 432)):
        broken = np.full_like(stem.weight.values, values)
        layer = replace(stem, weight=QuantizedTensor("w", broken))
        html = page(inspect(replace(model, layers=(layer, *model.layers[1:]))))
        assert f"{count} values are NaN or infinite and left out." in html
    some = stem.weight.values.copy()
    some[0, 0, 0, 0] = np.nan
    layer = replace(stem, weight=QuantizedTensor("w", some))
    found = inspect(replace(model, layers=(layer, *model.layers[1:])))
    assert "1 values are NaN" in page(found)
    assert record(found)["layers"][0]["tensors"]["weight"]["forms"]["FP32"]["invalid"] == 1


def test_a_quantized_layer_without_twin_says_so(tmp_path: Path) -> None:
    html = page(inspect(twins.twin("int8", tmp_path)))
    assert "There is no float twin, so the rounding error is not known." in html
    assert "none was given: no distance from float is shown" in html


def test_layers_without_twin_are_named(tmp_path: Path) -> None:
    reference = twins.twin("float", tmp_path)
    fewer = replace(reference, layers=reference.layers[1:])
    rows = origin(inspect(twins.twin("int8", tmp_path), fewer))
    assert ("layers without float twin", "stem") in rows
