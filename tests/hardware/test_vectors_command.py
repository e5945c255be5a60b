"""``bitbybit vectors``: what it writes, under which scheme, and how it says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit import arithmetic, example, load, resnet8, samples, trace
from bitbybit.arithmetic.requantizers import REQUANTIZERS, FixedPoint
from bitbybit.errors import DataError
from bitbybit.hardware import read_multipliers, read_pack
from bitbybit.model.types import Conv, Dense
from bitbybit.model.writer import write
from tests.support.arrays import f32
from tests.support.commands import call
from tests.support.models import small

MODEL = example("int8")


@pytest.fixture(autouse=True)
def _no_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITBYBIT_DATA", raising=False)


def test_it_writes_a_pack_and_says_what(tmp_path: Path) -> None:
    done = call("vectors", MODEL, "--out", tmp_path / "p", "--images", 1, "--format", "hex,c")
    assert (done.status, done.err) == (0, "")
    files = [path for path in (tmp_path / "p").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    assert f"{len(files)} files, {size:,} bytes, bundled samples\n" in done.out
    assert done.out.endswith("17 layers, real, scheme contract\n")
    assert read_pack(tmp_path / "p", load(MODEL)).layer("stem")["padding"]["value"] == -128
    again = call("vectors", MODEL, "--out", tmp_path / "p", "--images", 1, "--format", "hex,c")
    assert (again.status, again.out) == (0, done.out)


def test_inputs_of_ones_own(tmp_path: Path) -> None:
    images = np.random.default_rng(4).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "x.npz", image=images)
    done = call("vectors", MODEL, "--out", tmp_path / "p", "--inputs", tmp_path / "x.npz",
                "--images", 2, "--layers", "input")  # fmt: skip
    assert done.status == 0, done.err
    pack = read_pack(tmp_path / "p")
    assert np.array_equal(pack.tensor("input", "x", "real"), images[:2])
    assert pack.manifest["stimuli"]["real"]["words"] == "The arrays of x.npz."


@pytest.mark.parametrize("name", REQUANTIZERS)
def test_every_scheme_requantizes_in_every_layer(name: str, tmp_path: Path) -> None:
    write(small(3), tmp_path / "small.onnx")
    path = tmp_path / "small.onnx"
    assert call("vectors", path, "--out", tmp_path / "p", "--requant", name).status == 0
    model, pack, rule = load(path), read_pack(tmp_path / "p"), REQUANTIZERS[name]
    assert pack.manifest["scheme"]["name"] == name
    assert pack.manifest["scheme"]["formula"] == rule.formula
    seen = 0
    for layer in model.layers:
        for place, edge in enumerate(layer.inputs):
            if edge not in model.inputs:  # what a layer reads is what the one before it made
                read = pack.tensor(layer.name, "x", "real", place)
                assert np.array_equal(read, pack.tensor(edge, "y", "real"))
        y = model.edges[layer.name].params
        if isinstance(layer, (Conv, Dense)) and y is not None and layer.weight.params is not None:
            x = model.edges[layer.inputs[0]].params
            assert x is not None
            acc = pack.tensor(layer.name, "acc", "real")
            codes = rule(acc, x.scale, layer.weight.params.scale, y.scale, y.zero_point, 1)
            assert np.array_equal(pack.tensor(layer.name, "y", "real"), codes)
            seen += 1
    assert seen > 3


def test_an_image_and_few_hazards(tmp_path: Path) -> None:
    ship = Path(resnet8.__file__).with_name("samples") / "ship.png"
    words = ("--layers", "stem", "--stimuli", "real,hazard", "--hazard-images", 1)
    assert call("vectors", MODEL, "--out", tmp_path / "p", "--inputs", ship, *words).status == 0
    pack = read_pack(tmp_path / "p")
    image = samples().images[[8]].astype(np.float32)
    assert np.array_equal(pack.tensor("stem", "x", "real"), trace(load(MODEL), image)["input"])
    assert len(pack.tensor("stem", "x", "hazard")) == 1
    hazards = pack.layer("stem")["vectors"]["hazard"]["coverage"]["hazards"]
    assert any(reached < wanted for wanted, reached in hazards.values())


def test_an_integer_multiplier_is_in_the_manifest(tmp_path: Path) -> None:
    words = ("--images", 1, "--layers", "stem", "--requant", "single-rounding")
    assert call("vectors", MODEL, "--out", tmp_path / "p", *words).status == 0
    pack = read_pack(tmp_path / "p")
    found = pack.layer("stem")["multiplier"]
    acc, y = (pack.tensor("stem", t, "real")[0, 5].reshape(-1) for t in ("acc", "y"))
    q, shift, zero = found["integer"][5], found["shift"][5], -128
    assert float.fromhex(found["hex"][5]) == q * 2.0**-shift == found["decimal"][5]
    mine = [((int(a) * q + (1 << (shift - 1))) >> shift) + zero for a in acc]
    assert [min(max(v, -128), 127) for v in mine] == y.tolist()
    assert pack.tensor("stem", "q")[5] == q


def test_multipliers_of_ones_own_give_golden_outputs(tmp_path: Path) -> None:
    given: dict[str, Any] = {"stem": [0.002] * 15 + ["0x1.8p-9"], "dense": 0.001}
    (tmp_path / "m.json").write_text(json.dumps(given))
    words = ("--images", 1, "--multipliers", tmp_path / "m.json")
    assert call("vectors", MODEL, "--out", tmp_path / "p", *words).status == 0
    pack = read_pack(tmp_path / "p")
    assert pack.manifest["scheme"]["own_multipliers"] == ["stem", "dense"]
    m = f32([0.002] * 15 + [1.5 / 512])
    acc = pack.tensor("stem", "acc", "real")
    mine = np.clip(np.rint(acc.astype(np.float32) * m[:, None, None]), 0, 255) - 128
    assert np.array_equal(pack.tensor("stem", "y", "real"), mine)
    assert np.array_equal(pack.tensor("stem", "m"), m)
    # What comes behind is computed from that.
    assert np.array_equal(pack.tensor("stack1.conv1", "x", "real"), mine)


def test_integer_multipliers_of_ones_own(tmp_path: Path) -> None:
    q, shift = np.arange(16) + 900, np.full(16, 20)
    arrays: dict[str, Any] = {"stem.q": q, "stem.shift": shift, "dense.q": 5, "dense.shift": 9}
    np.savez(tmp_path / "m.npz", **arrays)
    model = load(MODEL)
    own = read_multipliers(tmp_path / "m.npz", model, "single-rounding")
    assert isinstance(own["stem"], FixedPoint)
    assert own["stem"].q.tolist() == q.tolist()
    words = ("--images", 1, "--multipliers", tmp_path / "m.npz", "--requant", "single-rounding")
    assert call("vectors", MODEL, "--out", tmp_path / "p", *words).status == 0
    pack = read_pack(tmp_path / "p")
    acc = pack.tensor("stem", "acc", "real")
    mine = (acc.astype(np.int64) * q[:, None, None] + 2**19) >> 20
    assert np.array_equal(pack.tensor("stem", "y", "real"), np.clip(mine - 128, -128, 127))


@pytest.mark.parametrize(
    ("scheme", "text", "said"),
    [
        ("contract", "no json", "no multipliers by layer name"),
        ("contract", "[1]", "no multipliers by layer name"),
        ("contract", "{}", "no multipliers by layer name"),
        ("contract", '{"steam": 1}', "there is no such layer .found steam."),
        ("contract", '{"pool": 1}', "pool: this layer has no multiplier"),
        ("contract", '{"stem": [1, 2]}', "expected positive numbers, 1 or 16"),
        ("contract", '{"stem": -1}', "not a multiplier of this layer"),
        ("contract", '{"stem": "fast"}', "not a multiplier of this layer"),
        ("contract", '{"stem": {"q": 1, "shift": 1}}', "not a multiplier of this layer"),
        ("contract", '{"stem": 1e999}', "not a multiplier of this layer"),
        ("single-rounding", '{"stem": 0.5}', "expected q and shift, 1 or 16"),
        ("single-rounding", '{"stem": {"q": 0.5, "shift": 1}}', "not a multiplier"),
        ("single-rounding", '{"stem": {"q": 1}}', "not a multiplier"),
        ("single-rounding", '{"stem": {"q": 1, "shift": 63}}', "not a multiplier"),
        ("thresholds", '{"stem": 0.5}', "thresholds has no multiplier to give"),
    ],
)
def test_a_multiplier_that_does_not_fit_is_said(
    tmp_path: Path, scheme: str, text: str, said: str
) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(Exception, match=said) as error:
        read_multipliers(tmp_path / "m.json", load(MODEL), scheme)
    assert type(error.value).__name__ in ("DataError", "ModelError")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "hexx"), "format: no such thing (expected npy, hex, bin, c, found hexx)"),
        (("--stimuli", "reel"), "stimuli: no such thing (expected real, directed, hazard"),
        (("--layout", "CHWN"), "layout: no such layout (expected NCHW, NHWC,"),
        (
            ("--word-bits", "12"),
            "word width: not a power of two (expected 8 to 4096 bits, found 12",
        ),
        (("--requant", "rne"), "requantization: no such scheme (expected contract, thresholds,"),
        (("--layers", "steem"), "there is no such layer (found steem). Near: stem"),
        (("--inputs", "none.npz"), "none.npz: there is no such file."),
        (("--images", "11"), "there are only 10 images"),
        (("--multipliers", "none.json"), "none.json: no multipliers by layer name"),
    ],
)
def test_a_wrong_wish_is_one_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = call("vectors", MODEL, "--out", tmp_path / "p", *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert not (tmp_path / "p").exists()


def test_a_folder_in_use_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = call("vectors", MODEL, "--out", tmp_path, "--images", 1)
    assert done.status == 2
    assert "there is something else in the folder. Name an empty folder" in done.err


def test_a_per_tensor_model_has_one_multiplier(tmp_path: Path) -> None:
    path = example("int8_per_tensor")
    assert call("vectors", path, "--out", tmp_path / "p", "--images", 1).status == 0
    pack = read_pack(tmp_path / "p")
    assert pack.tensor("stem", "m").shape == ()
    acc, y = (pack.tensor("stem", t, "real") for t in ("acc", "y"))
    p = pack.layer("stem")["quantization"]["y"]
    zero = np.array(p["zero_point"][0]).astype(p["dtype"])
    m = np.float32(float.fromhex(pack.layer("stem")["multiplier"]["hex"][0]))
    assert np.array_equal(arithmetic.requantize(acc, m, zero), y)


def test_reading_multipliers_checks_the_scheme(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such scheme"):
        read_multipliers(tmp_path / "m.json", load(MODEL), "rne")
