"""``bitbybit check``: dumps of every form, right and wrong, and each bad input in a sentence."""

from __future__ import annotations

import html.parser
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit import example, load, samples, trace
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.execution.engine import compute
from bitbybit.hardware import Choice, Scheme, check, read_pack, trace_with, write_pack
from tests.support.commands import Done, call

LAYERS = ("stem", "stack2.add", "stack3.conv1", "stack3.shortcut", "pool", "flatten", "dense")
IMAGES = samples().images[:2]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of some layers, with copies in three layouts; not to be changed."""
    folder = tmp_path_factory.mktemp("packs") / "pack"
    choice = Choice(
        layers=LAYERS, formats=("npy", "hex", "bin"), layouts=("NCHW", "NHWC", "NC/8HW8", "im2col")
    )
    write_pack(load(example("int8")), folder, IMAGES, choice)
    return folder


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    folder = tmp_path / "got"
    folder.mkdir()
    return folder


def right(layer: str) -> NDArray[Any]:
    """Return a layer's output, from the engine and not from the pack."""
    return np.array(trace(load(example("int8")), IMAGES.astype(np.float32))[layer])


def words(values: NDArray[Any], lanes: int = 8) -> list[str]:
    """Write bytes as words, lane 0 in the lowest, without the library."""
    raw = values.astype(np.int8).tobytes()
    raw += bytes(-len(raw) % lanes)
    return [raw[i : i + lanes][::-1].hex() for i in range(0, len(raw), lanes)]


def sentence(done: Done) -> str:
    """Return the one sentence of a refused dump."""
    assert done.status == 2, done.text
    assert done.out == ""
    return done.err


@pytest.mark.parametrize("suffix", ["npy", "NCHW.hex", "NHWC.bin", "NC8HW8.hex", "NHWC.npy"])
def test_the_pack_s_own_files_are_a_right_dump(pack: Path, dump: Path, suffix: str) -> None:
    for layer in LAYERS:
        for path in (pack / "real" / layer).glob(f"*.{suffix}"):
            target = dump / "real" / layer / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    done = call("check", pack, "--got", dump)
    assert done.status == 0, done.text
    assert "0 differ" in done.out.splitlines()[-1]


def test_a_few_layers_by_name_in_a_declared_layout(pack: Path, dump: Path) -> None:
    nhwc = right("stack3.conv1").transpose(0, 2, 3, 1)
    (dump / "stack3.conv1.hex").write_text("\n".join(words(nhwc)))
    np.ascontiguousarray(right("stem").transpose(0, 2, 3, 1)).tofile(dump / "stem.bin")
    np.save(dump / "pool.npy", right("pool"))
    (dump / "notes.npy").write_bytes(b"no tensor")
    done = call("check", pack, "--got", dump, "--layout", "NHWC")
    assert done.status == 0, done.text
    assert "not compared: layers that the dump does not hold: stack2.add" in done.out
    assert "names that are no tensor of the pack: notes" in done.out


def test_logits_alone_and_accumulators_alone(pack: Path, dump: Path) -> None:
    np.save(dump / "logits.npy", right("dense"))
    done = call("check", pack, "--got", dump / "logits.npy", "--layer", "dense")
    assert done.status == 0, done.text
    acc = trace(load(example("int8")), IMAGES.astype(np.float32)).accumulator("stack3.conv1")
    arrays: dict[str, Any] = {"stack3.conv1.acc": acc, "dense": right("dense").astype(int)}
    np.savez(dump / "all.npz", **arrays)
    done = call("check", pack, "--got", dump / "all.npz")
    assert done.status == 0, done.text
    assert f"{acc.size + 20:,} elements of 2 tensors, 0 differ" in done.out


def test_the_first_bad_layer_is_diagnosed_and_what_follows_is_said(pack: Path, dump: Path) -> None:
    model = load(example("int8"))
    wrong = np.maximum(right("stack3.shortcut"), 49)
    later = trace(model, IMAGES.astype(np.float32), replaced={"stack3.shortcut": wrong})
    for layer in ("stack2.add", "stack3.shortcut", "pool", "flatten", "dense"):
        (dump / f"{layer}.hex").write_text("\n".join(words(later[layer])))
    done = call("check", pack, "--got", dump)
    assert done.status == 1, done.text
    assert "first layer that differs: stack3.shortcut, tensor y, stimuli real" in done.out
    assert "before it: its inputs match" in done.out
    assert "rails: a ReLU cuts at the zero point" in done.out
    assert "(right for its own inputs under contract)" in done.out
    index = tuple(np.argwhere(wrong != right("stack3.shortcut"))[0])
    flat = np.ravel_multi_index(index, wrong.shape)
    place = f"stack3.shortcut.hex, word {flat // 8}, lane {flat % 8}"
    image, channel, row, column = index
    named = f"image {image}, channel {channel}, row {row}, column {column}"
    assert f"first element: {named}; {place}" in done.out
    assert f"expected: {right('stack3.shortcut')[index]} " in done.out
    found = json.loads(call("check", pack, "--got", dump, "--json").out)
    assert found["first"]["place"] == place
    assert found["diagnosis"]["explained"] is True
    assert sum(found["diagnosis"]["by_channel"]) == found["diagnosis"]["different"]
    numerator, denominator = found["diagnosis"]["first"]["scaled"]["fraction"].split("/")
    value = found["diagnosis"]["first"]["scaled"]["decimal"]
    assert int(numerator) / int(denominator) == value


def test_an_unexplained_dump_has_a_next_step(pack: Path, dump: Path) -> None:
    wrong = right("stem").copy()
    wrong[1, 3, 5, 0] ^= 0x15
    np.save(dump / "stem.npy", wrong)
    done = call("check", pack, "--got", dump)
    assert "Unexplained: none of" in done.out
    assert "next: dump stem.acc too" in done.out
    assert "window: rows 4, 5, 6; columns -1, 0, 1 of the input" in done.out
    assert "padded taps: p.. / p.. / p.., row by row; p lies outside" in done.out
    assert "different by channel: in 1 of 16: 1 in channel 3\n" in done.out


def test_a_file_that_does_not_fit_is_named_once(pack: Path, dump: Path) -> None:
    np.save(dump / "one.npy", right("stem").ravel()[:7])
    said = sentence(call("check", pack, "--got", dump / "one.npy", "--layer", "stem"))
    assert said.count("one.npy") == 1
    np.save(dump / "notes.npy", right("stem"))
    assert "found notes.npy, one.npy" in sentence(call("check", pack, "--got", dump))


def test_a_layer_whose_inputs_were_not_dumped_says_so(pack: Path, dump: Path) -> None:
    np.save(dump / "pool.npy", right("pool") + np.int8(3))
    done = call("check", pack, "--got", dump)
    assert "not all of its inputs were dumped: if the mistake lies before it, dump stack3.add" in (
        done.out
    )


def test_unknown_digits_are_elements_that_were_never_written(pack: Path, dump: Path) -> None:
    lines = words(right("stack3.conv1"))
    lines[-1] = "x" * 16
    lines[-2] = "xx" + lines[-2][2:]
    text = "// after reset\n@0\n" + "\n".join(lines) + " /* end,\n x */\n"
    (dump / "stack3.conv1.mem").write_text(text)
    done = call("check", pack, "--got", dump)
    assert done.status == 1, done.text
    assert f"FAIL: 9 of {8 * len(lines):,} elements differ" in done.out
    assert "got: unknown (hex xx)" in done.out
    assert f"output: not written from element {8 * len(lines) - 9} on: x" in done.out


def test_a_whole_network_of_another_engine_is_recognized(tmp_path: Path, dump: Path) -> None:
    """Its later layers are right under the scheme that explains the first."""
    model = load(example("int8"))
    names = ("stem", "stack1.conv1", "stack1.conv2", "stack1.add")
    pack = write_pack(model, tmp_path / "pack", IMAGES, Choice(layers=names))
    theirs = trace_with(
        model, IMAGES.astype(np.float32), requantize=REQUANTIZERS["double-rounding"]
    )
    for name in names:
        np.save(dump / f"{name}.npy", theirs[name])
    found = check(model, pack, dump)
    assert found.first is not None
    assert found.first.layer == "stem"
    follows = {row.layer: row.follows for row in found.compared}
    assert follows == {
        "stem": "",
        "stack1.conv1": "double-rounding",
        "stack1.conv2": "double-rounding",
        "stack1.add": "contract",
    }


def test_another_scheme_of_the_pack_is_what_is_expected(tmp_path: Path, dump: Path) -> None:
    model = load(example("int8"))
    choice = Choice(layers=("stack3.conv1",), scheme=Scheme("floor"))
    pack = write_pack(model, tmp_path / "pack", IMAGES, choice)
    x = pack.tensor("stack3.conv1", "x", "real")
    np.save(dump / "stack3.conv1.npy", compute(model, model.layer("stack3.conv1"), [x]))
    found = check(model, pack, dump)
    assert found.diagnosis is not None
    assert any("the scheme contract: " in str(e) for e in found.diagnosis.explanations)
    np.save(dump / "stack3.conv1.npy", pack.tensor("stack3.conv1", "y", "real"))
    assert check(model, pack, dump).exit_status == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.reshape(-1)[:-5], "the dump is too short (expected 8192 elements"),
        (lambda v: np.append(v, v[:1]), "the dump is too long (expected 8192 elements"),
        (lambda v: v[:1], "If it holds the first image: --images 1."),
        (lambda v: v.transpose(0, 2, 3, 1), "(expected NCHW, found NHWC). Add --layout NHWC."),
        (lambda v: v.view(np.uint8), "the dump is of another type (expected int8, found uint8)"),
        (lambda v: v.astype(float) + 0.5, "the dump is of another type"),
    ],
)
def test_a_dump_that_does_not_fit_is_refused(
    pack: Path, dump: Path, change: Any, said: str
) -> None:
    np.save(dump / "stack3.conv1.npy", np.ascontiguousarray(change(right("stack3.conv1"))))
    assert said in sentence(call("check", pack, "--got", dump))


def test_padded_lanes_are_recognized(pack: Path, dump: Path) -> None:
    padded = np.pad(right("dense"), ((0, 0), (0, 6)), constant_values=7)
    padded.tofile(dump / "dense.bin")
    said = sentence(call("check", pack, "--got", dump))
    assert "It fits the layout NC/8HW8: --layout NC/8HW8." in said
    assert call("check", pack, "--got", dump, "--layout", "NC/8HW8").status == 0


def test_the_first_images_alone(pack: Path, dump: Path) -> None:
    np.save(dump / "stem.npy", right("stem")[:1])
    assert call("check", pack, "--got", dump, "--images", "1").status == 0
    np.save(dump / "stem.npy", right("stem")[:1] ^ np.int8(-128))
    assert call("check", pack, "--got", dump, "--images", "1").status == 1


@pytest.mark.parametrize(("part", "said"), [(1, "big-endian"), (2, "mixed")])
def test_byte_order_is_recognized(pack: Path, dump: Path, part: int, said: str) -> None:
    acc = trace(load(example("int8")), IMAGES.astype(np.float32)).accumulator("dense")
    acc.reshape(-1)[::part].byteswap(inplace=True)
    acc.tofile(dump / "dense.acc.bin")
    found = sentence(call("check", pack, "--got", dump))
    assert f"the byte order (expected little-endian, found {said})" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("00112233445566zg\n", "line 1"),
        ("0011\n", "--word-bits"),
        ("@5\n0011223344556677\n", "the words leave a gap"),
    ],
)
def test_words_that_are_none(pack: Path, dump: Path, text: str, said: str) -> None:
    (dump / "stem.hex").write_text(text)
    assert said in sentence(call("check", pack, "--got", dump))


def test_nothing_compared_is_no_pass(pack: Path, dump: Path) -> None:
    assert "nothing here can be compared" in sentence(call("check", pack, "--got", dump))
    (dump / "layer7.bin").write_bytes(bytes(9))
    said = sentence(call("check", pack, "--got", dump))
    assert "found layer7" in said
    assert "stem.hex" in said
    said = sentence(call("check", pack, "--got", dump / "layer7.bin", "--layer", "layer7"))
    assert "no such layer in the pack" in said
    assert "there is no such file or folder" in sentence(call("check", pack, "--got", dump / "no"))
    assert "no such stimuli" in sentence(call("check", pack, "--got", dump, "--stimuli", "hazard"))


def test_the_likeliest_mistakes_at_the_command_line(pack: Path, dump: Path) -> None:
    assert "--got" in call("check", pack).err
    assert "there is no pack of vectors here" in sentence(call("check", dump, "--got", pack))
    other = example("uint8")
    said = sentence(call("check", pack, "--got", pack, "--model", other))
    assert "the vectors are of another model" in said
    assert "resnet8_uint8.onnx" in said
    assert "--got DUMP" in call("check", "--help").out


def test_an_edited_vector_and_a_newer_manifest_are_refused(pack: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pack, tmp_path / "copy")
    path = copy / "real" / "stem" / "y.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x11")
    assert "a vector was edited" in sentence(call("check", copy, "--got", pack))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    assert "newer version" in sentence(call("check", copy, "--got", pack))


class Page(html.parser.HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_one_file_without_script_and_escaped(pack: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<script>alert(1)"
    hostile.mkdir()
    np.save(hostile / "stem.npy", right("stem") ^ np.int8(-128))
    page = tmp_path / "page.html"
    done = call("check", pack, "--got", hostile, "--html", page)
    assert done.status == 1, done.text
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    found = Page()
    found.feed(text)
    assert found.links == []
    assert {"h1", "h2", "table"} <= found.tags
    assert "FAIL: 32,768 of 32,768 elements differ" in text


def test_every_stimulus_of_a_pack_can_be_checked(tmp_path: Path, dump: Path) -> None:
    model = load(example("int8"))
    choice = Choice(layers=("pool",), stimuli=("real", "hazard"))
    pack = write_pack(model, tmp_path / "pack", IMAGES, choice)
    for stimuli in pack.stimuli:
        np.save(dump / f"{stimuli}.pool.npy", pack.tensor("pool", "y", stimuli))
    found = check(model, read_pack(tmp_path / "pack", model), dump)
    assert found.exit_status == 0
    assert {row.stimuli for row in found.compared} == set(pack.stimuli)
    hazard = pack.stimuli[-1]
    np.save(dump / f"{hazard}.pool.npy", pack.tensor("pool", "y", hazard) ^ np.int8(-128))
    found = check(model, pack, dump)
    assert found.first is not None
    assert (found.first.stimuli, found.inputs) == (hazard, "its inputs are stimuli of the pack")
