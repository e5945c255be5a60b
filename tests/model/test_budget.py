"""What reading may take: a small file does not ask for a large machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from bitbybit.errors import UnsupportedError
from bitbybit.model.load import load
from bitbybit.model.onnx_file import Budget
from tests.support.graphs import GraphMaker


def casts(path: Path, count: int) -> Path:
    """Write a file of 100 kB whose constants take ``count`` times 800 kB when they are folded."""
    g = GraphMaker((1,))
    g.constant("c", np.zeros(100_000, np.uint8))
    x = "image"
    for i in range(count):
        x = g.node("Add", f"add{i}", [x, g.node("Cast", f"cast{i}", ["c"], to=TensorProto.DOUBLE)])
    return g.save(path, x)


def readers(path: Path, count: int) -> Path:
    """Write a file of 800 kB whose islands copy its constant ``count`` times."""
    g = GraphMaker((1,))
    g.constant("c", np.zeros(200_000, np.float32))
    x = "image"
    for i in range(count):
        x = g.node("Mul", f"mul{i}", [x, "c"])
    return g.save(path, x)


@pytest.mark.parametrize("make", [casts, readers])
def test_constants_take_no_more_than_eight_files_and_the_budget(
    make: object, tmp_path: Path
) -> None:
    path = make(tmp_path / "m.onnx", 20)  # type: ignore[operator]
    assert len(load(path).layers) == 20
    with pytest.raises(UnsupportedError, match=r"raise the budget: load\(path, budget=Budget"):
        load(path, budget=Budget(bytes=0))
    assert len(load(path, budget=Budget(bytes=2**24)).layers) == 20


def test_nodes_and_elements(tmp_path: Path) -> None:
    path = readers(tmp_path / "m.onnx", 3)
    load(path, budget=Budget(nodes=3, elements=200_000))
    with pytest.raises(UnsupportedError, match="more nodes than reading may take"):
        load(path, budget=Budget(nodes=2))
    with pytest.raises(UnsupportedError, match="larger than reading may take"):
        load(path, budget=Budget(elements=199_999))
