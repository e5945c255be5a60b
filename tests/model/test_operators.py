"""The table of operators against the schemas that ONNX and ONNX Runtime publish."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from bitbybit.model.match import MATCHERS
from bitbybit.model.operators import MICROSOFT, OPERATORS, Operand, Operator, operator
from bitbybit.model.types import Add, Layer, Mul, Operation

OLDEST_OPSET = 10
_MARKS = {"Optional": "?", "Variadic": "*"}


def _names(formal: Any) -> list[str]:
    return [f.name + _MARKS.get(str(f.option).rpartition(".")[2], "") for f in formal]


def _published() -> list[tuple[str, str, Any]]:
    """Return domain, operator and schema of every version that a readable file may use."""
    newest = onnx.defs.onnx_opset_version()
    found = []
    for name, row in OPERATORS.items():
        if "" in row.domains:
            for opset in range(OLDEST_OPSET, newest + 1):
                try:
                    found.append(("", name, onnx.defs.get_schema(name, opset)))
                except onnx.defs.SchemaError:
                    assert (name, opset) == ("DynamicQuantizeLinear", OLDEST_OPSET)
    found += [
        (MICROSOFT, schema.name, schema)
        for schema in get_all_operator_schema()
        if schema.domain == MICROSOFT and operator(schema.name, MICROSOFT)
    ]
    return found


PUBLISHED = _published()


@pytest.mark.parametrize("name", OPERATORS)
def test_every_signature_is_the_published_one(name: str) -> None:
    row = OPERATORS[name]
    found = {(domain, schema.since_version): schema for domain, n, schema in PUBLISHED if n == name}
    assert {domain for domain, _ in found} == set(row.domains)
    newest = max(found)
    schema = found[newest]
    assert row.signature.split("->")[0].split() == _names(schema.inputs)
    assert row.signature.split("->")[1].split() == _names(schema.outputs)
    for (_, version), other in found.items():
        if (name, version) == ("Resize", 10):
            continue  # it took no roi: the reader makes an island of it
        older = _names(other.inputs)  # older versions take fewer inputs: the rest was attributes
        assert [n.rstrip("?*") for n in older] == list(row.inputs)[: len(older)]


@pytest.mark.parametrize("name", [n for n, row in OPERATORS.items() if row.keeps])
def test_codes_are_taken_since_the_named_opset(name: str) -> None:
    since = OPERATORS[name].codes_since
    for opset in range(since, onnx.defs.onnx_opset_version() + 1):
        assert _takes_codes(name, opset)
    assert since == 1 or (name, since) == ("Resize", 10) or not _takes_codes(name, since - 1)


def _takes_codes(name: str, opset: int) -> bool:
    schema = onnx.defs.get_schema(name, opset)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    types = allowed.get(schema.inputs[0].type_str, [schema.inputs[0].type_str])
    return {"tensor(int8)", "tensor(uint8)"} <= set(types)


@pytest.mark.parametrize("name", [n for n, row in OPERATORS.items() if row.twin])
def test_a_twin_reads_the_values_of_its_operator(name: str) -> None:
    row = OPERATORS[name]
    schema = onnx.defs.get_schema(row.twin)
    if row.most_inputs is None:
        assert _names(schema.inputs) == ["inputs*"]
    else:
        assert schema.min_input <= len(row.values) <= schema.max_input
    assert row.output is not None


@pytest.mark.parametrize(
    "kind",
    [k for k in (*Layer.__subclasses__(), *Operation.__subclasses__()) if k.twin],
    ids=lambda k: k.kind,
)
def test_every_kind_of_layer_has_an_operator_on_codes_and_a_matcher(kind: type[Layer]) -> None:
    rows = [row for row in OPERATORS.values() if row.twin == kind.twin]
    assert len(rows) == 1
    assert rows[0].most_inputs is None or len(rows[0].data) == (2 if kind in (Add, Mul) else 1)
    assert kind.twin in MATCHERS


def test_positions_follow_from_the_names() -> None:
    conv, gemm, add = (OPERATORS[n] for n in ("QLinearConv", "QGemm", "QLinearAdd"))
    assert conv.operands == (
        Operand("x", 0, 1, 2),
        Operand("w", 3, 4, 5),
        Operand("y", None, 6, 7),
    )
    assert (conv.data, conv.weight, conv.bias) == ((0,), 3, 8)
    assert gemm.operands == (
        Operand("a", 0, 1, 2),
        Operand("b", 3, 4, 5),
        Operand("y", None, 7, 8),
    )
    assert (gemm.weight, gemm.bias, gemm.least_inputs) == (3, 6, 6)
    assert (add.data, add.weight, add.bias, add.output) == ((0, 3), None, None, add.operands[2])
    assert OPERATORS["ConvInteger"].operands == (
        Operand("x", 0, None, 2),
        Operand("w", 1, None, 3),
    )
    assert OPERATORS["QLinearSoftmax"].operands[0] == Operand("X", 0, 1, 2)
    assert operator("QGemm") is None


def test_operators_on_codes_are_told_from_the_others() -> None:
    floats = {n for n, row in OPERATORS.items() if not row.on_codes}
    others = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Clip", "ReduceMean"}
    assert floats == others | {n for n, row in OPERATORS.items() if row.keeps}


def test_the_rows_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Operator("Relu", "X -> Y").name = "Elu"  # type: ignore[misc]
