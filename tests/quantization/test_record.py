"""The record: survives its file, and a damaged one is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitbybit.errors import BitbybitError, DataError
from bitbybit.model.types import Conv, QuantizedModel
from bitbybit.quantization import Calibration, Scheme, quantize
from bitbybit.quantization.record import fingerprint, pack, unpack
from tests.support.float_nets import images_for
from workshop.calibration import calibrate

Network = Callable[[str], QuantizedModel]
SCHEMES = (Scheme(weight_bits=4), Scheme(per_channel=False, bias_correction=False))


@pytest.fixture(scope="module")
def record(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = network("small")
    path = tmp_path_factory.mktemp("record") / "calibration.json"
    calibrate(model, [images_for(model)], "mse", SCHEMES, {"dataset": "random"}).save(path)
    return path


def test_saving_what_was_loaded_gives_the_same_bytes(record: Path, tmp_path: Path) -> None:
    Calibration.load(record).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == record.read_bytes()


def test_it_says_what_it_was_made_of(record: Path) -> None:
    content = json.loads(record.read_text())
    assert content["images"] == {"dataset": "random", "count": 12}
    assert {"onnxruntime", "numpy", "session"} <= content["made_with"].keys()
    low, high = content["variants"][0]["ranges"]["stem"].split()
    assert float.fromhex(low) == 0 < float.fromhex(high)
    assert all(word.startswith("0x") for word in (low, high))


def test_a_gptq_record_differs_from_nearest(record: Path) -> None:
    """The packed rounding is really there and really used."""
    variant = Calibration.load(record).variants[0]
    assert any(layer.rounding for layer in variant.layers.values())


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,)])
def test_packing_is_reversible(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-254, 255, shape)
    assert np.array_equal(unpack(pack(values), shape), values)
    assert pack(np.zeros(shape, np.int64)) == ""
    assert not unpack("", shape).any()


@pytest.mark.parametrize("text", ["?", "AAAA", pack(np.ones(3, int)), pack(np.ones(5, int))])
def test_damaged_rounding_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="recorded rounding"):
        unpack(text, (4,))


def test_a_rounding_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(2**24))).decode()
    with pytest.raises(DataError, match="does not fit"):
        unpack(bomb, (4,))


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


FIRST = ("variants", 0)
UNREADABLE = {
    "schema": _set("schema_version", value=99),
    "no variants": _set("variants", value=None),
    "method": _set("method", value="median"),
    "scheme": _set(*FIRST, "scheme", "weight_bits", value=17),
    "scheme field": _set(*FIRST, "scheme", "colour", value="blue"),
    "range": _set(*FIRST, "ranges", "stem", value="0x0p+0"),
    "range of nan": _set(*FIRST, "ranges", "stem", value="0x0p+0 nan"),
    "range upside down": _set(*FIRST, "ranges", "stem", value="0x1p+1 0x1p+0"),
    "scale": _set(*FIRST, "layers", "stem", "scale", value="wide"),
    "scale beyond float32": _set(*FIRST, "layers", "stem", "scale", value="0x1p+1000"),
    "layer": _set(*FIRST, "layers", "stem", value=[]),
}
UNFITTING = {
    "no range": lambda content: content["variants"][0]["ranges"].pop("stem"),
    "no layer": lambda content: content["variants"][0]["layers"].pop("stem"),
    "few scales": _set(*FIRST, "layers", "stem", "scale", value="0x1p-3"),
    "negative scale": _set(*FIRST, "layers", "stem", "scale", value=" ".join(["-0x1p-3"] * 8)),
    "zero point": _set(*FIRST, "layers", "stem", "zero_point", value=99),
    "rounding": _set(*FIRST, "layers", "stem", "rounding", value="####"),
    "rounding beyond": _set(
        *FIRST, "layers", "stem", "rounding", value=pack(np.full((8, 27), 15, np.int64))
    ),
    "few biases": _set(*FIRST, "layers", "stem", "bias", value="0x1p-3"),
    "huge bias": _set(*FIRST, "layers", "stem", "bias", value=" ".join(["0x1p+120"] * 8)),
}


def damaged(record: Path, change: Callable[[Any], object], target: Path) -> Path:
    content = json.loads(record.read_text())
    change(content)
    target.write_text(json.dumps(content))
    return target


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_damaged_record_is_one_sentence(fault: str, record: Path, tmp_path: Path) -> None:
    path = damaged(record, UNREADABLE[fault], tmp_path / "bad.json")
    with pytest.raises(DataError) as caught:
        Calibration.load(path)
    assert str(caught.value).startswith(f"{path}: not a calibration record")


@pytest.mark.parametrize("fault", UNFITTING)
def test_a_record_that_does_not_fit_is_one_sentence(
    fault: str, record: Path, network: Network, tmp_path: Path
) -> None:
    calibration = Calibration.load(damaged(record, UNFITTING[fault], tmp_path / "bad.json"))
    with pytest.raises(BitbybitError) as caught:
        quantize(network("small"), calibration)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00", "[" * 100_000])
def test_a_file_of_something_else_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match="not a calibration record"):
        Calibration.load(tmp_path / "x.json")


def test_bytes_and_missing_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not a calibration record"):
        Calibration.load(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        Calibration.load(tmp_path / "none.json")


def test_the_record_of_another_network_is_refused(record: Path, network: Network) -> None:
    with pytest.raises(DataError, match="belongs to another network"):
        quantize(network("kinds"), Calibration.load(record))


def test_a_scheme_that_was_not_calibrated_is_refused(record: Path, network: Network) -> None:
    with pytest.raises(DataError, match="knows nothing of this scheme"):
        quantize(network("small"), Calibration.load(record), Scheme(weight_bits=7))


def test_the_fingerprint_changes_with_a_single_weight(network: Network) -> None:
    model = network("small")
    stem, *rest = model.layers
    assert isinstance(stem, Conv)
    values = stem.weight.values.copy()
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))
    changed = replace(stem, weight=replace(stem.weight, values=values))
    other = replace(model, layers=(changed, *rest))
    assert fingerprint(replace(model, layers=(replace(stem), *rest))) == fingerprint(model)
    assert fingerprint(other) != fingerprint(model)
