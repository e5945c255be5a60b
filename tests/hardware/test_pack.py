"""A pack of vectors: read by somebody who knows the manifest only, damaged, interrupted."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bitbybit import example, load, ort_trace, samples
from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.hardware import Choice, Pack, read_pack, vectors, write_pack
from bitbybit.hardware.pack import schema, violation
from bitbybit.model.types import FloatIsland
from bitbybit.resnet8.examples import EXAMPLES
from tests.support.foreign import runtime_quantized
from tests.support.models import float_foreign, small
from tests.support.networks import quantized_images
from tests.support.runtime import on_contract_platform

Record = dict[str, Any]
QUANTIZED = [name for name in EXAMPLES if name != "float"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of two sample images, not to be changed."""
    folder = tmp_path_factory.mktemp("packs") / "pack"
    write_pack(load(example("int8")), folder, samples().images[:2])
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of the pack, to be damaged."""
    return shutil.copytree(written, tmp_path / "pack")


def array(folder: Path, entry: Record) -> NDArray[Any]:
    """Read a tensor as the manifest says: header skipped, plain little-endian numbers."""
    content = (folder / entry["file"]).read_bytes()
    assert content[:6] == b"\x93NUMPY"
    begin = 10 + int.from_bytes(content[8:10], "little")
    numbers = np.frombuffer(content[begin:], np.dtype(entry["dtype"]).newbyteorder("<"))
    return numbers.reshape(entry["shape"])


def recomputed(folder: Path, layer: Record, stimuli: str, image: int, channel: int) -> Any:
    """Compute one channel of a convolution in Python integers, by the manifest alone."""
    given = {name: array(folder, entry) for name, entry in layer["tensors"].items()}
    made = layer["vectors"][stimuli]
    x, w = array(folder, made["x"][0])[image], given["w"][channel]
    how, value = layer["attributes"], layer["padding"]["value"]
    (top, left, bottom, right), (down, along) = how["pads"], how["strides"]
    x_zero = layer["quantization"]["x"][0]["zero_point"][0]
    w_zero = layer["quantization"]["w"]["zero_point"][0]
    m = np.float32(float.fromhex(layer["multiplier"]["hex"][channel % len(given["m"])]))
    zero = layer["quantization"]["y"]["zero_point"][0]
    height, width = made["y"]["shape"][2:]
    padded = np.pad(x.astype(int), ((0, 0), (top, bottom), (left, right)), constant_values=value)
    for i in range(height):
        for j in range(width):
            taps = padded[:, i * down : i * down + w.shape[1], j * along : j * along + w.shape[2]]
            pairs = zip(taps.ravel().tolist(), w.ravel().tolist(), strict=True)
            total = sum((a - x_zero) * (b - w_zero) for a, b in pairs)
            acc = total + int(given["b"][channel])
            real = np.float32(acc) * m
            yield i, j, total, acc, int(np.clip(np.rint(real), -128 - zero, 127 - zero)) + zero


@pytest.mark.parametrize("name", ["stem", "stack2.conv1", "stack3.shortcut"])
def test_the_manifest_is_enough_to_recompute_a_layer(written: Path, name: str) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    layer = next(entry for entry in manifest["layers"] if entry["name"] == name)
    made = {t: layer["vectors"]["real"][t] for t in ("sum", "acc", "y")}
    values = {t: array(written, entry)[1, 3] for t, entry in made.items()}
    count = 0
    for i, j, *found in recomputed(written, layer, "real", 1, 3):
        assert [int(values[t][i, j]) for t in ("sum", "acc", "y")] == found
        count += 1
    assert count == values["y"].size


@on_contract_platform
@pytest.mark.parametrize("name", QUANTIZED)
def test_the_codes_are_those_of_the_runtime(name: str, tmp_path: Path) -> None:
    model, images = load(example(name)), samples().images[:1]
    pack, runtime = write_pack(model, tmp_path / "pack", images), ort_trace(model, images)
    assert pack.layers == tuple(layer.name for layer in model.layers)
    for layer in model.layers:
        assert np.array_equal(pack.tensor(layer.name, "y", "real"), runtime[layer.name])
        for place, edge in enumerate(layer.inputs):
            values = pack.tensor(layer.name, "x", "real", place)
            assert np.array_equal(values, runtime[edge])


@on_contract_platform
def test_a_foreign_network_has_vectors_and_its_islands_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(runtime_quantized(float_foreign(), "QDQ", "S8S8"), path)
    model = load(path)
    pack = write_pack(model, tmp_path / "pack")
    runtime = ort_trace(
        model, {n: pack.tensor(_reader(model, n), "x", "real") for n in model.inputs}
    )
    assert any(isinstance(layer, FloatIsland) for layer in model.layers)
    for layer in model.layers:
        entry = pack.layer(layer.name)
        assert bool(entry["reason"]) == isinstance(layer, FloatIsland)
        assert set(entry["vectors"]["real"]) >= {"x", "y"}
        values = pack.tensor(layer.name, "y", "real")
        assert np.array_equal(values, runtime[layer.name], equal_nan=values.dtype.kind == "f")


def _reader(model: Any, edge: str) -> str:
    return str(next(layer.name for layer in model.layers if layer.inputs[0] == edge))


def test_a_pack_is_the_same_byte_for_byte(written: Path, tmp_path: Path) -> None:
    write_pack(load(example("int8")), tmp_path / "again", samples().images[:2])
    assert content(tmp_path / "again") == content(written)


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_manifest_follows_the_schema(written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    published = json.loads((written / "vectors.schema.json").read_text())
    assert published == schema()
    assert violation(manifest, published) == ""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(manifest, published)


def faults() -> dict[str, Callable[[Record], object]]:
    """Return ways to break a manifest."""
    return {
        "no 'model'": lambda m: m.pop("model"),
        "unknown 'extra'": lambda m: m.update(extra=1),
        "stimuli.real.kind is 'imagined'": lambda m: m["stimuli"]["real"].update(kind="imagined"),
        "layers is no array": lambda m: m.update(layers={}),
        "bytes is no integer": lambda m: m["layers"][1]["tensors"]["w"].update(bytes=True),
    }


@pytest.mark.parametrize("said", faults())
def test_a_broken_manifest_is_refused_here_and_by_a_validator(folder: Path, said: str) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    faults()[said](manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=said.replace("[", r"\[")):
        read_pack(folder)
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, schema())


def test_an_edited_vector_is_named(folder: Path) -> None:
    path = folder / "real" / "stem" / "y.npy"
    values = np.load(path)
    values[0, 0, 0, 0] ^= 1
    np.save(path, values)
    with pytest.raises(DataError, match=r"stem/y\.npy: a vector was edited"):
        read_pack(folder)


def test_a_cut_vector_is_named(folder: Path) -> None:
    path = folder / "real" / "stem" / "acc.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"stem/acc\.npy: a vector was cut or edited"):
        read_pack(folder)


def test_a_missing_vector_is_named(folder: Path) -> None:
    (folder / "constants" / "stem" / "w.npy").unlink()
    with pytest.raises(DataError, match=r"stem/w\.npy: a file of the pack is missing"):
        read_pack(folder)


def test_a_vector_that_is_edited_after_reading_is_not_unpickled(folder: Path) -> None:
    pack = read_pack(folder)
    (folder / "real" / "stem" / "y.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="not an array"):
        pack.tensor("stem", "y", "real")
    np.save(folder / "real" / "stem" / "y.npy", np.zeros(3))
    with pytest.raises(DataError, match="not what the manifest says"):
        pack.tensor("stem", "y", "real")


def test_another_model_is_refused(written: Path) -> None:
    with pytest.raises(DataError, match=r"of another model \(expected resnet8_uint8\.onnx"):
        read_pack(written, load(example("uint8")))
    assert read_pack(written, load(example("int8"))).stimuli == ("real",)


@pytest.mark.parametrize(
    ("version", "said"), [(2, "newer version .expected 1, found 2."), (0, "another version")]
)
def test_another_version_is_refused(folder: Path, version: int, said: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    with pytest.raises(DataError, match=said):
        read_pack(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', "[" * 100_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="not the manifest of a pack"):
        read_pack(tmp_path)
    with pytest.raises(DataError, match="there is no pack of vectors here"):
        read_pack(tmp_path / "nowhere")


def test_a_file_outside_the_folder_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["layers"][1]["tensors"]["w"]["file"] = "../pack/constants/stem/w.npy"
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="a file lies outside the folder"):
        read_pack(folder)


def test_what_a_pack_does_not_have_is_said(written: Path) -> None:
    pack = read_pack(written)
    with pytest.raises(DataError, match=r"no such layer .*stack1\.conv1.*found steam"):
        pack.tensor("steam", "y", "real")
    with pytest.raises(DataError, match=r"no such tensor .expected x, sum, acc, y, found z."):
        pack.tensor("stem", "z", "real")
    with pytest.raises(DataError, match="no such tensor"):
        pack.tensor("stem", "x", "real", 1)


class Stopped(Exception):  # noqa: N818
    """The moment at which a run is interrupted."""


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damaged: bool
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 2)
    model, images = small(3), quantized_images((5, 3, 8, 8), 1)
    choice = Choice(stimuli=("real", "directed", "hazard"))
    whole = write_pack(model, tmp_path / "whole", images, choice)
    assert whole.stimuli == ("real-0000", "real-0001", "real-0002", "directed", "hazard")
    for stop_at in (0, 1, 3, len(model.layers), 2 * len(model.layers)):
        seen: list[str] = []

        def stop(what: str, *_: int, limit: int = stop_at, seen: list[str] = seen) -> None:
            seen.append(what)
            if len(seen) > limit:
                raise Stopped

        with pytest.raises(Stopped):
            write_pack(model, tmp_path / "part", images, choice, stop)
    journal = tmp_path / "part" / "unfinished.jsonl"
    journal.write_text(journal.read_text() + '{"half a li')
    with pytest.raises(DataError, match="the pack is unfinished"):
        read_pack(tmp_path / "part")
    with pytest.raises(DataError, match="an unfinished pack of another run"):
        write_pack(model, tmp_path / "part", images[:1])
    if damaged:
        next((tmp_path / "part" / "real-0000").rglob("y.npy")).write_bytes(b"half")
    write_pack(model, tmp_path / "part", images, choice)
    assert content(tmp_path / "part") == content(tmp_path / "whole")


def test_a_whole_pack_is_not_written_again(folder: Path) -> None:
    model, images = load(example("int8")), samples().images[:2]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert isinstance(write_pack(model, folder, images), Pack)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(DataError, match="the folder holds another pack"):
        write_pack(model, folder, images, Choice(layers=("stem",)))


def test_a_temporary_pack_goes_with_whoever_holds_it() -> None:
    pack = write_pack(small(3))
    folder = pack.folder
    assert read_pack(folder).layers == pack.layers
    del pack
    gc.collect()
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="there is something else in the folder"):
        write_pack(small(3), tmp_path)
    with pytest.raises(DataError, match="there is something else in the folder"):
        write_pack(small(3), tmp_path / "notes.txt")
    assert content(tmp_path) == {"notes.txt": b"mine"}


def test_some_layers_only(tmp_path: Path) -> None:
    model = load(example("int8"))
    choice = Choice(layers=("dense", "stem"))
    pack = write_pack(model, tmp_path / "pack", samples().images[:1], choice)
    assert pack.layers == ("stem", "dense")
    with pytest.raises(BitbybitError, match="no such layer"):
        write_pack(model, tmp_path / "none", None, Choice(layers=("steem",)))


def test_a_float_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="it is a float model"):
        write_pack(load(example("float")), tmp_path / "pack")
