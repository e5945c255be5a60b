"""Damaged, contradictory and hostile files: one sentence, exit status 2, nothing executed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bitbybit.errors import BitbybitError, ModelError, UnsupportedError
from bitbybit.model.load import load
from bitbybit.model.types import Conv, FloatIsland
from bitbybit.model.writer import Form, build
from tests.support import models
from tests.support.damage import (
    Change,
    attribute,
    dims,
    external,
    image,
    makes,
    node,
    operator,
    reads,
    sentence,
    tensor,
    together,
    values,
)


def proto(form: Form = "qoperator", *, per_channel: bool = True) -> onnx.ModelProto:
    """Return a healthy model."""
    return build(models.small(per_channel=per_channel), form)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("m.onnx", b"\x7fELF not onnx at all", "not an ONNX file, or a truncated one"),
        ("m.onnx", b"", "the file is empty"),
        ("m.onnx", b"\x08\x08", "not an ONNX file, or a truncated one: it holds no graph"),
        ("m.pt", b"PK", "wrong extension (expected .onnx, found .pt)"),
        ("m", b"PK", "wrong extension (expected .onnx, found none)"),
    ],
)
def test_no_onnx(name: str, data: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError) as error:
        load(tmp_path / name)
    assert expected in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path / "a\0b.onnx"):
        with pytest.raises(ModelError, match="there is no such file"):
            load(path)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match="not a regular file"):
        load(tmp_path / "folder.onnx")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = proto("qdq").SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(BitbybitError):
            load(path)


def branch(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    node(model, "add").attribute.append(helper.make_attribute("then_branch", body))


def too_few_inputs(model: onnx.ModelProto) -> None:
    del node(model, "stem").input[4:]


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


CONTRADICTIONS: dict[str, tuple[Change, str]] = {
    "scale zero": (
        values("stem/y_scale", np.float32(0)),
        "node 'stem' (QLinearConv), input 6: a scale must be finite and positive (found 0.0).",
    ),
    "scale negative": (
        values("stem/w_scale", np.full(8, -1, np.float32)),
        "node 'stem' (QLinearConv), input 4: a scale must be finite and positive (found -1.0).",
    ),
    "scale NaN": (
        values("input/y_scale", np.float32("nan")),
        "node 'input' (QuantizeLinear), input 1: a scale must be finite and positive (found nan).",
    ),
    "scale infinite": (
        values("add/y_scale", np.float32("inf")),
        "node 'add' (QLinearAdd), input 6: a scale must be finite and positive (found inf).",
    ),
    "zero point of another type": (
        values("stem/w_zero_point", np.zeros(8, np.uint8)),
        (
            "node 'stem' (QLinearConv), input 5: the zero point has another type than the codes "
            "(expected int8, found uint8)."
        ),
    ),
    "zero point of another shape": (
        values("stem/w_zero_point", np.zeros(3, np.int8)),
        (
            "node 'stem' (QLinearConv), input 4: scale and zero point have different shapes "
            "(expected (8,), found (3,))."
        ),
    ),
    "float bias": (
        values("stem/b", np.zeros(8, np.float32)),
        "node 'stem' (QLinearConv): the bias has a wrong type (expected int32, found float32).",
    ),
    "bias of another length": (
        values("stem/b", np.zeros(7, np.int32)),
        (
            "node 'stem' (QLinearConv), bias: the bias has another length than the output channels "
            "(expected 8, found 7)."
        ),
    ),
    "number of scales": (
        together(
            values("stem/w_scale", np.ones(7, np.float32)),
            values("stem/w_zero_point", np.zeros(7, np.int8)),
        ),
        (
            "node 'stem' (QLinearConv), weight: the number of scales differs from the number of "
            "channels (expected 8, found 7)."
        ),
    ),
    "channels": (
        values("stem/w", np.zeros((8, 4, 3, 3), np.int8)),
        (
            "node 'stem' (QLinearConv): the input has another number of channels than the weights "
            "(expected 4, found 3)."
        ),
    ),
    "kernel too large": (
        together(image(2, 1), attribute("stem", "pads", [0, 0, 0, 0])),
        (
            "node 'stem' (QLinearConv): the kernel is larger than the padded input "
            "(expected at most 1, found 3)."
        ),
    ),
    "kernel_shape": (
        attribute("stem", "kernel_shape", [5, 5]),
        (
            "node 'stem' (QLinearConv): kernel_shape differs from the weights "
            "(expected (3, 3), found (5, 5))."
        ),
    ),
    "group": (
        attribute("stem", "group", 3),
        (
            "node 'stem' (QLinearConv): the output channels cannot be divided into groups "
            "(expected a divisor of 8, found 3)."
        ),
    ),
    "stride": (
        attribute("stem", "strides", [0, 1]),
        "node 'stem' (QLinearConv): strides must be 2 positive integers (found (0, 1)).",
    ),
    "pads": (
        attribute("stem", "pads", [0, 1]),
        (
            "node 'stem' (QLinearConv), pads: wrong pads "
            "(expected 4 integers >= 0: all beginnings, then all ends, found (0, 1))."
        ),
    ),
    "auto_pad": (
        attribute("stem", "auto_pad", "HALF"),
        (
            "node 'stem' (QLinearConv), auto_pad: unknown value "
            "(expected NOTSET, SAME_UPPER, SAME_LOWER or VALID, found 'HALF')."
        ),
    ),
    "auto_pad and pads": (
        attribute("stem", "auto_pad", "SAME_UPPER"),
        "node 'stem' (QLinearConv): pads and auto_pad exclude each other (found SAME_UPPER).",
    ),
    "shapes of a sum": (
        attribute("left", "strides", [1, 1]),
        (
            "node 'add' (QLinearAdd): the inputs have different shapes "
            "(expected (None, 12, 7, 7), found (None, 12, 4, 4))."
        ),
    ),
    "features": (
        values("dense/w", np.zeros((9, 5), np.int8)),
        (
            "node 'dense' (QGemm): the input has another number of features than the weights "
            "(expected 9, found 12)."
        ),
    ),
    "axis": (
        attribute("flatten", "axis", 7),
        "node 'flatten' (Flatten), axis: the axis is out of range (expected -4 to 3, found 7).",
    ),
    "declared size": (
        dims("stem/w", 2**40, 2**40),
        (
            "initializer 'stem/w': the tensor declares shape [1099511627776, 1099511627776] and "
            "does not hold its values (expected 1208925819614629174706176 bytes, found 216 bytes)."
        ),
    ),
    "negative size": (
        dims("stem/w", -8, 3, 3, 3),
        "initializer 'stem/w': a dimension is negative (found [-8, 3, 3, 3]).",
    ),
    "absurd input": (
        image(3, 2**50),
        (
            "tensor 'image': a tensor is larger than reading may take (expected <= 1099511627776 "
            "elements, found shape (None, 3, 8, 1125899906842624)). If you trust the file, raise "
            "the budget: load(path, budget=Budget(...))."
        ),
    ),
    "cycle": (reads("stem", 0, "add"), "node 'stem' (QLinearConv): the graph has a cycle."),
    "missing tensor": (
        reads("add", 0, "nowhere"),
        "node 'add' (QLinearAdd): nothing makes the input tensor 'nowhere'.",
    ),
    "tensor made twice": (
        makes("left", "right"),
        "node 'right' (QLinearConv): tensor 'right' is made twice.",
    ),
    "too few inputs": (
        too_few_inputs,
        (
            "node 'stem' (QLinearConv): the operator misses an input or has one too many "
            "(expected 8 or more, found 4)."
        ),
    ),
    "an input left out": (
        reads("add", 2, ""),
        (
            "node 'add' (QLinearAdd): the operator misses an input or has one too many "
            "(expected 7 or more, found 8, input 2 left out)."
        ),
    ),
    "unknown operator": (
        operator("pool", "Convolve"),
        (
            "node 'pool' (Convolve): unsupported operator Convolve; 5 layers were read before it, "
            "the last one 'add'."
        ),
    ),
    "unknown domain": (
        operator("stem", "Conv", "acme.ops"),
        (
            "node 'stem' (Conv): unsupported operator acme.ops.Conv; 1 layers were read before it, "
            "the last one 'input'."
        ),
    ),
    "control flow": (
        branch,
        "node 'add' (QLinearAdd): control flow with subgraphs is not read.",
    ),
    "old opset": (
        old_opset,
        (
            "the ONNX opset is too old for quantized operators (expected >= 10, found 9). "
            "Convert it with onnx.version_converter."
        ),
    ),
    "external data missing": (
        external(location="weights.bin"),
        (
            "initializer 'stem/w': the external data file is missing (found weights.bin). "
            "Put it beside the model."
        ),
    ),
    "external data above": (
        external(location="../../etc/passwd"),
        (
            "initializer 'stem/w': external data must lie inside the model's folder "
            "(found ../../etc/passwd)."
        ),
    ),
    "external data absolute": (
        external(location="/etc/passwd"),
        (
            "initializer 'stem/w': external data must lie inside the model's folder "
            "(found /etc/passwd)."
        ),
    ),
    "external data without location": (
        external(offset="0"),
        "initializer 'stem/w': external data has no location.",
    ),
    "hostile name": (
        reads("add", 0, "\x1b[31m\u202e<script>" + "x" * 10_000),
        "node 'add' (QLinearAdd): nothing makes the input tensor '\\x1b[31m\\u202e<script>"
        + "x" * 105
        + "…'.",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions(case: str, tmp_path: Path) -> None:
    change, expected = CONTRADICTIONS[case]
    model = proto()
    change(model)
    found = sentence(model, tmp_path)
    assert found.startswith(expected)
    assert re.search(r"\. [A-Z].*\.$", found), "it says what to do next"


QDQ_CONTRADICTIONS: dict[str, tuple[Change, str]] = {
    "bias zero point": (
        values("stem/b_zero_point", np.int32(1)),
        "node 'stem' (Conv), bias: the zero point of a bias must be 0.",
    ),
    "axis": (
        together(
            values("stem/w_scale", np.ones(8, np.float32)),
            values("stem/w_zero_point", np.zeros(8, np.int8)),
            attribute("stem/w_dequantize", "axis", 4),
        ),
        (
            "node 'stem/w_dequantize' (DequantizeLinear), axis: the axis is out of range "
            "(expected -4 to 3, found 4)."
        ),
    ),
    "type": (
        reads("stem/dequantize", 2, "stem/b_zero_point"),
        (
            "node 'stem/dequantize' (DequantizeLinear), input 2: the zero point has another type "
            "than the codes (expected int8, found int32)."
        ),
    ),
}


@pytest.mark.parametrize("case", QDQ_CONTRADICTIONS)
def test_contradictions_in_qdq_files(case: str, tmp_path: Path) -> None:
    change, expected = QDQ_CONTRADICTIONS[case]
    model = proto("qdq", per_channel=False)
    change(model)
    assert sentence(model, tmp_path).startswith(expected)


@pytest.mark.parametrize(
    ("factor", "fits"), [(1 + 2e-6, True), (0.992, True), (1.02, False), (0.98, False), (2, False)]
)
def test_a_bias_of_another_scale_makes_an_island_where_onnx_runtime_does_not_fuse(
    factor: float, fits: bool, tmp_path: Path
) -> None:
    model = proto("qdq", per_channel=False)
    scale = numpy_helper.to_array(tensor(model, "stem/b_scale"))
    values("stem/b_scale", np.asarray(scale * np.float32(factor)))(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    layer = load(tmp_path / "m.onnx").layer("stem")
    assert isinstance(layer, Conv if fits else FloatIsland)
    if isinstance(layer, FloatIsland):
        assert layer.reason.startswith("Conv: its bias has the scale ")
        values("stem/b", np.zeros(8, np.int32))(model)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert isinstance(load(tmp_path / "m.onnx").layer("stem"), FloatIsland)


def test_the_command_line_says_one_sentence_and_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    script, output = "scripts/extract_operations.py", str(tmp_path / "o.json")
    for command in (
        [sys.executable, "-m", "bitbybit", "inspect", str(path)],
        [sys.executable, script, "--model", str(path), "--output", output],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        what = "not an ONNX file, or a truncated one. Copy or export it again."
        assert done.stderr == f"{path}: {what}\n"
        assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == [path]


def test_unsupported_is_told_apart_from_broken(tmp_path: Path) -> None:
    model = proto()
    operator("pool", "Convolve")(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError):
        load(tmp_path / "m.onnx")
