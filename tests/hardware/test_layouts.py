"""Layouts, words and C arrays: there and back, and by somebody who knows the table only."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit import example, load, samples
from bitbybit.errors import DataError
from bitbybit.hardware import Choice, Pack, write_pack
from bitbybit.hardware.layouts import (
    Where,
    arranged,
    as_header,
    as_words,
    of_words,
    read_values,
    restored,
)
from tests.support.arrays import f32
from tests.support.networks import one_conv

ALL = ("NCHW", "NHWC", "NC/8HW8", "NC/16HW16", "im2col")
LAYERS = ("stem", "stack2.conv1", "stack2.shortcut", "stack1.add", "pool", "dense")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Every layout and format of some layers."""
    choice = Choice(layers=LAYERS, layouts=ALL, formats=("npy", "hex", "bin", "c"))
    folder = tmp_path_factory.mktemp("packs") / "pack"
    return write_pack(load(example("int8")), folder, samples().images[:1], choice)


def tensors(pack: Pack, name: str) -> Any:
    """Yield each tensor of a layer: which it is, its set, and its entry."""
    layer = pack.layer(name)
    for tensor, entry in layer["tensors"].items():
        yield tensor, "", 0, entry
    vectors = {k: v for k, v in layer["vectors"]["real"].items() if k != "coverage"}
    for tensor, entry in vectors.items():
        for place, one in enumerate(entry if tensor == "x" else [entry]):
            yield tensor, "real", place, one


@pytest.mark.parametrize("name", LAYERS)
def test_every_copy_gives_the_tensor_back(pack: Pack, name: str) -> None:
    model = load(example("int8"))
    seen = set()
    for tensor, stimuli, place, entry in tensors(pack, name):
        values = pack.tensor(name, tensor, stimuli, place)
        where = Where(model, model.layer(name), tensor, place)
        for copy in entry["copies"]:
            if copy["format"] == "c":
                continue
            path = pack.folder / copy["file"]
            found = read_values(path, copy["format"], values.dtype, copy.get("word_bits", 64))
            count = int(np.prod(copy["shape"]))
            assert found.reshape(-1)[count:].tolist() == [0] * (found.size - count)
            physical = found.reshape(-1)[:count].reshape(copy["shape"])
            back = restored(physical, copy["layout"], where, values.shape)
            unread = back != values
            if copy["layout"] == "im2col" and tensor == "x":
                # Exactly what no window reads is lost: of a 1x1 kernel with stride 2 most pixels.
                read = np.zeros(values.shape, bool)
                is_shortcut = name.endswith("shortcut")
                read[..., ::2, ::2] = True
                assert not (unread & (read if is_shortcut else True)).any()
            else:
                assert not unread.any()
            seen.add((copy["format"], copy["layout"]))
    if name not in ("stack1.add", "pool"):
        assert {layout for _, layout in seen} == set(ALL)


def test_an_element_is_where_the_table_says(pack: Pack) -> None:
    x = pack.tensor("stack2.conv1", "x", "real")
    w = pack.tensor("stack2.conv1", "w")
    n, c, i, j = 0, 11, 5, 7

    def copy(tensor: str, stimuli: str, layout: str) -> Any:
        entries = pack.entry("stack2.conv1", tensor, stimuli)["copies"]
        entry = next(e for e in entries if (e["format"], e["layout"]) == ("npy", layout))
        return np.load(pack.folder / entry["file"])

    assert copy("x", "real", "NHWC")[n, i, j, c] == x[n, c, i, j]
    assert copy("x", "real", "NC/8HW8")[n, c // 8, i, j, c % 8] == x[n, c, i, j]
    assert copy("w", "", "NHWC")[3, 1, 2, c] == w[3, c, 1, 2]
    # Stride 2 with the odd pad at the end: output (2, 3) begins at input (4, 6).
    row = copy("x", "real", "im2col")[0, 2 * 16 + 3]
    assert row[c * 9 + 1 * 3 + 1] == x[n, c, i, j]
    y = copy("y", "real", "im2col")
    acc = copy("sum", "real", "im2col")
    centred = copy("x", "real", "im2col")[0].astype(int) + 128
    assert np.array_equal(centred @ copy("w", "", "im2col")[0].astype(int), acc)
    assert y[2 * 16 + 3, 4] == pack.tensor("stack2.conv1", "y", "real")[0, 4, 2, 3]


def test_the_first_word_by_hand(pack: Pack) -> None:
    entry = pack.entry("stem", "y", "real")
    copy = next(e for e in entry["copies"] if (e["format"], e["layout"]) == ("hex", "NHWC"))
    word = (pack.folder / copy["file"]).read_text().splitlines()[0]
    assert (len(word), copy["lanes"]) == (16, 8)
    lanes = [int(word[2 * k : 2 * k + 2], 16) for k in range(7, -1, -1)]
    signed = [lane - 256 if lane > 127 else lane for lane in lanes]
    assert signed == pack.tensor("stem", "y", "real")[0, :8, 0, 0].tolist()


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20),
    st.sampled_from(["int8", "uint8", "int32", "int64", "float32"]),
    st.sampled_from([8, 16, 32, 64, 128]),
)
def test_words_there_and_back(numbers: list[int], dtype: str, bits: int) -> None:
    values = np.array(numbers, np.int64).astype(dtype)
    found = of_words(as_words(values, bits), values.dtype, bits, "file")
    assert found[: len(values)].tolist() == values.tolist()
    assert not found[len(values) :].any()


def test_grouped_and_dilated_convolutions_have_a_matrix(tmp_path: Path) -> None:
    model = one_conv(1, (4, 6), (3, 2), (2, 1), (1, 0, 2, 1), (9, 8), dilations=(2, 1), group=2)
    pack = write_pack(model, tmp_path / "pack", None, Choice(layouts=("im2col",)))
    (name,) = (layer.name for layer in model.layers)
    rows, columns, acc = (
        np.load(pack.folder / pack.entry(name, *which_one)["copies"][0]["file"])
        for which_one in (("x", "real"), ("w",), ("sum", "real"))
    )
    p = pack.layer(name)["quantization"]
    x_zero = p["x"][0]["zero_point"][0]
    w_zero = np.resize(p["w"]["zero_point"], 6).reshape(2, 1, 3)
    sums = (rows.astype(int) - x_zero) @ (columns.astype(int) - w_zero)
    assert np.array_equal(np.concatenate(list(sums), axis=1), acc)


def test_a_layout_that_does_not_exist_is_said() -> None:
    model = load(example("int8"))
    where = Where(model, model.layer("stem"), "y")
    with pytest.raises(DataError, match=r"no such layout \(expected NCHW, .*found NC/8HW16"):
        arranged(np.zeros((1, 8, 2, 2), np.int8), "NC/8HW16", where)
    with pytest.raises(DataError, match=r"not the layout NC/8HW8 \(expected 32 elements, found 31"):
        restored(np.zeros(31, np.int8), "NC/8HW8", where, (1, 3, 2, 2))
    with pytest.raises(DataError, match=r"no such tensor"):
        restored(np.zeros(4, np.int8), "im2col", where._replace(layer=model.layer("pool")), (1, 4))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0102\n01xx\n", r"d\.hex, line 2: a digit is unknown \(x\) or not driven \(z\)"),
        ("zzzz\n", "line 1: a digit is unknown"),
        ("0102\n@3 0304\n", r"line 2: the words leave a gap \(expected @1, found @3"),
        ("010203\n", r"line 1: not such a word \(expected 4 hex digits, found 010203"),
        ("/* \n */ hello\n", "line 2: not such a word"),
    ],
)
def test_a_dump_that_is_no_words_is_said(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        of_words(text, np.dtype(np.int8), 16, "d.hex")


def test_comments_underscores_and_addresses_are_those_of_verilog() -> None:
    text = "// 0x00\n@0 01_02 /* two\nlines */ 0304 // end\n@2\nFFfe\n"
    assert of_words(text, np.dtype(np.int8), 16, "d").tolist() == [2, 1, 4, 3, -2, -1]


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    path, byte = tmp_path / "d", np.dtype(np.int8)
    with pytest.raises(DataError, match="there is no such file"):
        read_values(path, "bin", byte)
    path.write_bytes(b"\x80\x01\x02")
    with pytest.raises(DataError, match=r"last element is cut \(expected a multiple of 4 bytes"):
        read_values(path, "bin", np.dtype(np.int32))
    for form in ("npy", "hex"):
        with pytest.raises(DataError, match=f"cannot be read .expected {form}"):
            read_values(path, form, byte)


@pytest.mark.parametrize("bits", [0, 7, 24, 8192])
def test_a_width_of_words_that_does_not_exist_is_said(bits: int) -> None:
    with pytest.raises(DataError, match="word width: not a power of two"):
        as_words(np.zeros(1, np.int8), bits)


@pytest.mark.skipif(which("cc") is None, reason="no C compiler")
def test_c_arrays_hold_the_numbers(tmp_path: Path) -> None:
    reals = f32([0.1, -1e-45, np.inf, -np.inf, np.nan])
    whole = np.array([-(2**31), 2**31 - 1, 0], np.int32)
    (tmp_path / "r.h").write_text(as_header(reals, "r", "reals"))
    (tmp_path / "w.h").write_text(as_header(whole, "w", "whole"))
    (tmp_path / "a.c").write_text(
        '#include <stdio.h>\n#include "r.h"\n#include "w.h"\n'
        "int main(void) { return fwrite(r, 4, 5, stdout) != 5 || fwrite(w, 4, 3, stdout) != 3; }\n"
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "a", "a.c"]
    subprocess.run([str(which("cc")), *flags], cwd=tmp_path, check=True)
    made = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
    assert np.frombuffer(made[:20], np.float32).tolist()[:4] == reals.tolist()[:4]
    assert np.isnan(np.frombuffer(made[16:20], np.float32)).all()
    assert np.frombuffer(made[20:], np.int32).tolist() == whole.tolist()
