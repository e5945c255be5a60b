"""The Verilog datapath, simulated: equal on vectors, and seen to fail where it is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitbybit
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.errors import UnsupportedError
from bitbybit.hardware import Choice, verilog, write_pack
from bitbybit.model.load import load
from bitbybit.model.types import QuantizedModel
from tests.support.models import small
from tests.support.networks import one_conv, quantized_images

SCHEMES = verilog.SCHEMES


def simulated(folder: Path, *words: str) -> tuple[int, str]:
    """Run the folder's own script; return its status and the last line."""
    done = subprocess.run(
        [sys.executable, str(folder / "simulate.py"), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip().rpartition("\n")[2]


def hex_words(path: Path) -> list[int]:
    return [int(line, 16) for line in path.read_text().splitlines()]


def asymmetric() -> tuple[QuantizedModel, Any]:
    """A padded, strided, dilated convolution of two groups, uint8, and two images for it."""
    model = one_conv(
        4, (4, 6), (3, 2), (2, 1), (1, 0, 1, 1), (7, 6), ("uint8", "uint8"),
        dilations=(1, 2), group=2,
    )  # fmt: skip
    return model, quantized_images((2, 4, 7, 6), 1)


@pytest.mark.verilog
@pytest.mark.parametrize("scheme", SCHEMES)
def test_groups_strides_dilations_and_pads(scheme: str, tmp_path: Path) -> None:
    model, x = asymmetric()
    verilog.write_verilog(model, "conv", x, tmp_path, scheme)
    count = bitbybit.trace(model, x)["conv"].size
    assert simulated(tmp_path) == (0, f"PASS: {count} outputs and accumulators are equal")


@pytest.mark.verilog
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_dense_layer(scheme: str, tmp_path: Path) -> None:
    model = load(bitbybit.example("int8"))
    traced = bitbybit.trace(model, bitbybit.samples().images.astype(np.float32))
    verilog.write_verilog(model, "dense", traced["flatten"], tmp_path, scheme)
    assert simulated(tmp_path) == (0, "PASS: 100 outputs and accumulators are equal")


@pytest.mark.verilog
@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("layer", ["stem", "stack2.conv1", "stack2.shortcut"])
def test_layers_of_the_network(layer: str, scheme: str, tmp_path: Path) -> None:
    """A symmetric convolution, a padded strided one, and one of 1x1."""
    model = load(bitbybit.example("int8"))
    traced = bitbybit.trace(model, bitbybit.samples().images[8:9].astype(np.float32))
    x = traced[model.layer(layer).inputs[0]]
    verilog.write_verilog(model, layer, x, tmp_path, scheme)
    assert simulated(tmp_path)[1] == (
        f"PASS: {traced[layer].size} outputs and accumulators are equal"
    )


def test_the_vectors_are_those_of_the_engine(tmp_path: Path) -> None:
    model, x = asymmetric()
    traced = bitbybit.trace(model, x)
    verilog.write_verilog(model, "conv", x, tmp_path)
    assert hex_words(tmp_path / "y.hex") == traced["conv"].ravel().tolist()
    acc = traced.accumulator("conv").ravel().view(np.uint32)
    assert hex_words(tmp_path / "acc.hex") == acc.tolist()
    verilog.write_verilog(model, "conv", x, tmp_path, "single-rounding")
    edges = [model.edges[name].params for name in ("x", "conv")]
    weight = model.layers[0].weight.params  # type: ignore[attr-defined]
    wanted = REQUANTIZERS["single-rounding"](
        traced.accumulator("conv"), edges[0].scale, weight.scale,  # type: ignore[union-attr]
        edges[1].scale, edges[1].zero_point, 1,  # type: ignore[union-attr]
    )  # fmt: skip
    assert hex_words(tmp_path / "y.hex") == wanted.ravel().tolist()


FAULTS = {
    "threshold not reached": ("requant_threshold.v", "acc >= table_data", "acc > table_data"),
    "five steps": ("requant_threshold.v", "step <= 128;", "step <= 16;"),
    "padding of code 0": (
        "conv_layer.v", "arrived_inside ? x_value - X_ZERO : 10'sd0",
        "(arrived_inside ? x_value : 10'sd0) - X_ZERO",
    ),
    "weight zero point missing": ("conv_layer.v", "w_value - W_ZERO", "w_value"),
    "signed codes": ("conv_layer.v", "W_SIGNED ? $signed(code)", "1 ? $signed(code)"),
    "strides swapped": ("conv_layer.v", "i * SH", "i * SW"),
    "dilation missing": ("conv_layer.v", "v * DW", "v"),
    "one row lower": ("conv_layer.v", "- TOP", "- TOP + 1"),
    "one group": ("conv_layer.v", "(first + c)", "c"),
    "bias missing": ("conv_layer.v", "acc[g] <= b_data[32*g +: 32]", "acc[g] <= 0"),
    "16-bit accumulator": ("conv_layer.v", "acc[g] + product;", "$signed(acc[g][9:0]) + product;"),
    "last product lost": ("conv_layer.v", "if (tap == K - 1)", "if (tap == K - 2)"),
    "unknown accumulators": ("conv_layer.v", "if (state == LOAD) acc", "if (0) acc"),
    "unknown outputs": ("conv_layer.v", "y_data <= code;", "y_data <= i == 1 ? 8'hxx : code;"),
    "floating outputs": ("conv_layer.v", "y_data <= code;", "y_data <= i == 1 ? 8'hzz : code;"),
    "outputs that nobody wrote": ("conv_layer.v", "y_valid <= 1;", "y_valid <= i != 1;"),
    "unknown valid": ("conv_layer.v", "y_valid <= 1;", "y_valid <= i == 1 ? 1'bx : 1;"),
    "address out of range": ("conv_layer.v", "y_address <= (", "y_address <= 999999 + ("),
    "never done": ("conv_layer.v", "WAIT: if (code_done)", "WAIT: if (code_done && i != 1)"),
}  # fmt: skip


@pytest.mark.verilog
@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_fails(fault: str, tmp_path: Path) -> None:
    model, x = asymmetric()
    verilog.write_verilog(model, "conv", x, tmp_path)
    name, old, new = FAULTS[fault]
    text = (tmp_path / name).read_text()
    assert text.count(old) == 1
    (tmp_path / name).write_text(text.replace(old, new))
    status, last = simulated(tmp_path)
    assert status == 1
    assert last.startswith("FAIL: ")


@pytest.mark.verilog
def test_a_module_of_ones_own_and_its_dump(tmp_path: Path) -> None:
    """It sees no accumulators and drives none."""
    model, x = asymmetric()
    verilog.write_verilog(model, "conv", x, tmp_path)
    own = tmp_path / "own.v"
    text = (tmp_path / "conv_layer.v").read_text()
    own.write_text(text.replace("acc_data <= acc[lane];", ""))
    files = [str(own), *(str(tmp_path / f"requant_{kind}.v") for kind in ("shift", "threshold"))]
    assert simulated(tmp_path, *files)[0] == 1
    assert simulated(tmp_path, "--y-only", *files)[0] == 0
    got = (tmp_path / "got_y.hex").read_text().splitlines()
    words = [line for line in got if not line.startswith("//")]
    assert [int(word, 16) for word in words] == hex_words(tmp_path / "y.hex")
    assert set((tmp_path / "got_acc.hex").read_text().split()) >= {"xxxxxxxx"}
    (tmp_path / "broken.v").write_text("module conv_layer(")
    assert simulated(tmp_path, str(tmp_path / "broken.v"))[0] == 2


@pytest.mark.verilog
@pytest.mark.parametrize(
    ("bias", "status", "says"), [("b_data[32*g +: 32]", 0, "PASS"), ("0", 1, "bias")]
)
def test_the_checker_reads_what_came_out(bias: str, status: int, says: str, tmp_path: Path) -> None:
    model = load(bitbybit.example("int8"))
    images = bitbybit.samples().images[:1].astype(np.float32)
    pack = write_pack(model, tmp_path / "pack", images, Choice(layers=("dense",)))
    rtl = tmp_path / "rtl"
    verilog.write_verilog(model, "dense", pack.tensor("dense", "x", "real"), rtl)
    text = (rtl / "conv_layer.v").read_text()
    (rtl / "conv_layer.v").write_text(text.replace("b_data[32*g +: 32]", bias))
    assert simulated(rtl)[0] == status
    for dump, layer, bits in (("got_y.hex", "dense", "8"), ("got_acc.hex", "dense.acc", "32")):
        words = [str(pack.folder), "--got", str(rtl / dump), "--layer", layer, "--word-bits", bits]
        done = subprocess.run(
            [sys.executable, "-m", "bitbybit", "check", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (status, "")
        assert says in done.stdout


def test_without_a_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verilog.write_verilog(*asymmetric_dense(), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert simulated(tmp_path) == (
        2, "Icarus Verilog is missing (Debian: apt-get install iverilog)."
    )  # fmt: skip


def asymmetric_dense() -> tuple[QuantizedModel, str, Any]:
    model = small()
    return model, "dense", bitbybit.trace(model, np.zeros((1, 3, 8, 8), np.float32))["flatten"]


def test_what_the_datapath_cannot_do(tmp_path: Path) -> None:
    model, layer, x = asymmetric_dense()
    with pytest.raises(UnsupportedError, match=r"dense, floor: .*expected thresholds or single"):
        verilog.write_verilog(model, layer, x, tmp_path, "floor")
    with pytest.raises(UnsupportedError, match="kind add"):
        verilog.write_verilog(model, "add", x, tmp_path)
