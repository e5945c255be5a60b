"""The page of operators says what the reader knows."""

from __future__ import annotations

from pathlib import Path

import list_operators
from bitbybit.model.match import MATCHERS
from bitbybit.model.operators import OPERATORS
from bitbybit.model.types import FloatIsland, Layer, Operation


def test_the_page_is_the_one_that_the_script_writes(root: Path) -> None:
    assert (root / "docs" / "operators.md").read_text(encoding="utf-8") == list_operators.page()


def test_the_page_has_every_operator_and_every_kind() -> None:
    named = {op: kind for kind, (ops, *_) in list_operators.KINDS.items() for op in ops.split()}
    moved = {name for name, row in OPERATORS.items() if row.keeps} - {"Identity"}
    assert set(named) == set(MATCHERS) | moved
    known = {k.kind for k in (*Layer.__subclasses__(), *Operation.__subclasses__())}
    assert {*named.values(), "quantize", "dequantize", FloatIsland.kind} == known - {"layer"}
