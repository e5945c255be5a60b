"""The restricted ``.pt`` reader on files made by hand: none of them needs torch."""

from __future__ import annotations

import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitbybit.errors import BitbybitError, ModelError, UnsupportedError
from bitbybit.model.torch_file import RefusedError, read_torch_file
from tests.support import torch_archive as pt

SIX = np.arange(6, dtype=np.float32)


def two_by_three(path: Path, pickle: bytes) -> Path:
    """An archive with one storage of six floats."""
    return pt.write(path / "model.pt", pickle, {"data/0": SIX.tobytes()})


def test_reads_a_state_dict(tmp_path: Path) -> None:
    path = two_by_three(tmp_path, pt.dictionary(w=pt.tensor("0", 6, (2, 3), (3, 1))))
    file = read_torch_file(path)
    assert file.kind == "state_dict"
    assert list(file.tensors) == ["w"]
    assert (file.tensors["w"].values == SIX.reshape(2, 3)).all()
    assert not file.tensors["w"].values.flags.writeable


def test_reads_strides_and_offsets(tmp_path: Path) -> None:
    pickle = pt.dictionary(
        t=pt.tensor("0", 6, (3, 2), (1, 3)), part=pt.tensor("0", 6, (2,), (2,), offset=1)
    )
    tensors = read_torch_file(two_by_three(tmp_path, pickle)).tensors
    assert (tensors["t"].values == SIX.reshape(2, 3).T).all()
    assert tensors["part"].values.tolist() == [1.0, 3.0]


def test_reads_big_endian_storages(tmp_path: Path) -> None:
    records = {"data/0": SIX.astype(">f4").tobytes(), "byteorder": b"big"}
    path = pt.write(tmp_path / "big.pt", pt.dictionary(w=pt.tensor("0", 6, (6,), (1,))), records)
    assert (read_torch_file(path).tensors["w"].values == SIX).all()


def test_widens_bfloat16(tmp_path: Path) -> None:
    bits = (SIX.view(np.uint32) >> 16).astype(np.uint16)
    tensor = pt.tensor("0", 6, (6,), (1,), kind=b"torch\nBFloat16Storage")
    path = pt.write(tmp_path / "b.pt", pt.dictionary(w=tensor), {"data/0": bits.tobytes()})
    values = read_torch_file(path).tensors["w"].values
    assert values.dtype == np.float32
    assert (values == SIX).all()


def canary_pickles(canary: str) -> dict[str, tuple[bytes, str]]:
    """Pickles that would touch the canary, and the call that the refusal must name."""
    command = pt.text(f"touch {canary}")
    code = pt.text(f"open({canary!r}, 'w')")
    getattr_ = b"cbuiltins\ngetattr\n"
    system = getattr_ + pt.tuple_of(b"ctorch\nos\n", pt.text("system")) + b"R"
    partial = pt.call(b"functools\npartial", b"cos\nsystem\n", command)
    return {
        "reduce": (pt.call(b"os\nsystem", command), "os.system"),
        "posix": (pt.call(b"posix\nsystem", command), "posix.system"),
        "eval": (pt.call(b"builtins\neval", code), "builtins.eval"),
        "exec": (pt.call(b"__builtin__\nexec", code), "__builtin__.exec"),
        "popen": (pt.call(b"subprocess\nPopen", pt.tuple_of(command)), "subprocess.Popen"),
        "inst": (b"(" + command + b"ios\nsystem\n", "INST"),
        "obj": (b"(cos\nsystem\n" + command + b"o", "OBJ"),
        "newobj": (b"csubprocess\nPopen\n" + pt.tuple_of(command) + b"\x81", "subprocess.Popen"),
        "stack_global": (
            pt.text("os") + pt.text("system") + b"\x93" + pt.tuple_of(command) + b"R",
            "os.system",
        ),
        "getattr chain": (system + pt.tuple_of(command) + b"R", "torch.os.system"),
        "partial": (partial + b")R", "functools.partial"),
        "nested pickle": (
            pt.call(b"torch.storage\n_load_from_bytes", b"C\x02N."),
            "torch.storage._load_from_bytes",
        ),
        "torch loader": (pt.call(b"torch\nload", pt.text(canary)), "torch.load"),
        "import": (pt.call(b"builtins\n__import__", pt.text("os")), "builtins.__import__"),
        "build on a function": (
            b"ctorch._utils\n_rebuild_tensor_v2\n" + pt.dictionary(__code__=b"N") + b"b",
            "Name.__setstate__",
        ),
        "persistent": (pt.text("os.system") + b"Q", "persistent identifier"),
        "extension": (b"\x82\x01", "EXT1"),
        "buffer": (b"\x97", "NEXT_BUFFER"),
        "from_type": (
            pt.call(
                b"torch._tensor\n_rebuild_from_type_v2",
                b"cos\nsystem\n",
                b"ctorch\nTensor\n",
                pt.tuple_of(command),
                b"N",
            ),
            "os.system",
        ),
    }


@pytest.mark.parametrize("case", canary_pickles("x"))
def test_refuses_every_call_by_name(case: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle, name = canary_pickles(str(canary))[case]
    with pytest.raises(RefusedError) as error:
        read_torch_file(pt.write(tmp_path / "evil.pt", pickle))
    assert name in str(error.value)
    assert not canary.exists()


def test_the_canary_pickle_would_run_in_an_ordinary_unpickler(tmp_path: Path) -> None:
    """The attack is real: without the restriction the file appears."""
    import pickle

    canary = tmp_path / "canary"
    pickle.loads(b"\x80\x02" + canary_pickles(str(canary))["reduce"][0] + b".")  # noqa: S301
    assert canary.exists()


def test_a_hostile_name_is_escaped(tmp_path: Path) -> None:
    pickle = pt.text("evil\x1b[31m") + pt.text("\u202erun") + b"\x93)R"
    with pytest.raises(RefusedError) as error:
        read_torch_file(pt.write(tmp_path / "evil.pt", pickle))
    assert "\x1b" not in str(error.value)
    assert "\u202e" not in str(error.value)


def sized(**changes: object) -> bytes:
    arguments: dict[str, object] = {"key": "0", "numel": 6, "shape": (2, 3), "stride": (3, 1)}
    return pt.dictionary(w=pt.tensor(**(arguments | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pickle",
    [
        sized(shape=(2**60, 3)),
        sized(shape=(10**6, 10**6), stride=(0, 0)),
        sized(numel=2**40, shape=(2**40,), stride=(1,)),
        sized(numel=7),
        sized(offset=1),
        sized(stride=(4, 1)),
        sized(shape=(-2, 3)),
        sized(stride=(-3, 1)),
        sized(offset=-1),
        sized(shape=(2, 3, 1)),
        sized(shape=(1,) * 33, stride=(1,) * 33),
        sized(key="1"),
        sized(key="../0"),
        sized(kind=b"torch\nDoubleStorage"),
    ],
)
def test_refuses_sizes_that_do_not_fit(pickle: bytes, tmp_path: Path) -> None:
    path = two_by_three(tmp_path, pickle)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            read_torch_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pickle",
    [
        b"r\xff\xff\xff\x7f",
        b"}r\xff\xff\xff\x7f",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fx",
        b"\x8b\xff\xff\xff\x7f",
        b"L" + b"9" * 5000 + b"L\n",
        b"h\x05",
        b"t",
        b"u",
        b"0",
        b"",
    ],
)
def test_a_damaged_pickle_is_a_sentence_and_takes_no_memory(pickle: bytes, tmp_path: Path) -> None:
    path = pt.write(tmp_path / "damaged.pt", pickle)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            read_torch_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_nested_keys_are_not_hashed(tmp_path: Path) -> None:
    """Hashing 60 nested pairs would take 2**60 steps."""
    nest = b"N" + b"2\x86" * 60
    path = two_by_three(tmp_path, b"}(" + nest + pt.tensor("0", 6, (6,), (1,)) + b"u")
    with pytest.raises(ModelError, match="holds no tensor"):
        read_torch_file(path)


def test_nested_values_are_not_printed(tmp_path: Path) -> None:
    """The text of 60 nested pairs would have 2**60 parts."""
    nest = b"N" + b"2\x86" * 60
    scheme = pt.tuple_of(pt.storage("0", 6), b"I0\n", b"))", pt.tuple_of(nest))
    unread = read_torch_file(two_by_three(tmp_path, pt.QTENSOR + scheme + b"R")).unread
    assert unread == {"tensor": "the quantization scheme tuple is not read"}
    for pickle in (
        pt.TENSOR + pt.tuple_of(pt.storage("0", 6), nest, nest, nest) + b"R",
        nest + b"Q",
        nest + b")R",
        nest + b"Nb",
    ):
        with pytest.raises(BitbybitError):
            read_torch_file(two_by_three(tmp_path, pickle))


def test_deep_and_cyclic_structures_end(tmp_path: Path) -> None:
    deep = b"]" * 100_000 + b"a" * 99_999
    with pytest.raises(ModelError, match="holds no tensor"):
        read_torch_file(pt.write(tmp_path / "deep.pt", deep))
    cyclic = b"]q\x00h\x00a" + pt.tensor("0", 6, (6,), (1,)) + b"a"
    assert list(read_torch_file(two_by_three(tmp_path, cyclic)).tensors) == ["1"]


def test_expanded_tensors_repeat_their_values(tmp_path: Path) -> None:
    pickle = pt.dictionary(w=pt.tensor("0", 6, (4, 6), (0, 1)))
    values = read_torch_file(two_by_three(tmp_path, pickle)).tensors["w"].values
    assert (values == np.broadcast_to(SIX, (4, 6))).all()


def test_a_tensor_of_another_kind_is_listed_and_the_rest_is_read(tmp_path: Path) -> None:
    """The file is refused for what contradicts itself, not for what NumPy lacks."""
    size = pt.tuple_of(pt.number(1))
    per_tensor = pt.tuple_of(b"ctorch\nper_tensor_affine\n", b"G?\xf0" + bytes(6), b"NI0\n")
    zero_is_float = pt.tuple_of(b"ctorch\nper_tensor_affine\n", b"I1\n", b"G" + b"\x7f" * 8)
    parts = pt.storage("0", 6), b"I0\n", size, size
    file = read_torch_file(
        two_by_three(
            tmp_path,
            pt.dictionary(
                w=pt.tensor("0", 6, (6,), (1,)),
                z=pt.tensor("0", 3, (3,), (1,), kind=b"torch\nComplexFloatStorage"),
                s=pt.call(b"torch._utils\n_rebuild_sparse_tensor", b"N", b"N"),
                scheme=pt.QTENSOR + pt.tuple_of(*parts, per_tensor) + b"R",
                zero=pt.QTENSOR + pt.tuple_of(*parts, zero_is_float) + b"R",
                scale=b"G\x7f\xf8" + bytes(6),
                count=b"\x8a\x09" + b"\x7f" * 9,
            ),
        )
    )
    assert list(file.tensors) == ["w"]
    assert file.numbers == {}
    assert file.unread == {
        "z": "a storage of class torch.ComplexFloatStorage is not read",
        "s": "_rebuild_sparse_tensor is not read",
        "scheme": "the quantization scheme torch.per_tensor_affine is not read",
        "zero": "its scales are no numbers, or its zero points no integers",
        "scale": "the number is not finite, or beyond 64 bits",
        "count": "the number is not finite, or beyond 64 bits",
    }


def _many(item: bytes, count: int) -> bytes:
    """A list of ``count`` times the same opcodes."""
    return b"](" + item * count + b"e"


BOMBS = {
    "copies of a text": pt.text("x" * 60_000) + b"q\x00" + _many(
        b"c_codecs\nencode\n" + pt.tuple_of(b"h\x00", pt.text("latin1")) + b"R", 1000
    ),
    "copies of a list": _many(b"N", 5000) + b"q\x00"
    + _many(b"cbuiltins\nset\n" + b"h\x00\x85R", 1000),
    "copies of scales": pt.tensor("0", 60_000, (60_000,), (1,)) + b"q\x000"
    + pt.tensor("0", 15_000, (60_000,), (0,), kind=b"torch\nLongStorage") + b"q\x010"
    + pt.storage("0", 240_000, b"torch\nQInt8Storage") + b"q\x020"
    + _many(
        pt.QTENSOR + b"(h\x02I0\nI60000\n\x85I1\n\x85"
        + pt.tuple_of(b"ctorch\nper_channel_affine\n", b"h\x00", b"h\x01", b"I0\n") + b"tR",
        1000,
    ),
    "storages of all lengths": b"]("
    + b"".join(pt.tensor("0", n, (1,), (1,)) for n in range(59_000, 60_000)) + b"e",
    "expanded tensors": b"](" + pt.tensor("0", 9, (4000, 4000), (0, 0)) * 100 + b"e",
    "opcodes": b"N0" * 1_100_000 + b"N",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_small_file_takes_much_memory(bomb: str, tmp_path: Path) -> None:
    """What a file shares, by reference, is not copied without limit."""
    path = pt.write(tmp_path / "bomb.pt", BOMBS[bomb], {"data/0": bytes(240_000)})
    tracemalloc.start()
    try:
        with suppress(ModelError):
            read_torch_file(path)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_reader_who_trusts_a_file_raises_the_budget(tmp_path: Path) -> None:
    path = two_by_three(tmp_path, pt.dictionary(w=pt.tensor("0", 6, (5000, 5000), (0, 0))))
    with pytest.raises(ModelError, match="more elements than its size allows") as error:
        read_torch_file(path)
    assert "budget_factor=8" in str(error.value)
    assert read_torch_file(path, budget_factor=8).tensors["w"].values.shape == (5000, 5000)


def test_refuses_compressed_records(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(10_000_000))
    with pytest.raises(UnsupportedError, match="compressed"):
        read_torch_file(path)


def test_refuses_overlapping_records(tmp_path: Path) -> None:
    path = tmp_path / "overlap.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(10_000))
        for i in range(1, 50):
            info = zipfile.ZipInfo(f"archive/data/{i}")
            first = archive.getinfo("archive/data/0")
            info.header_offset, info.file_size = first.header_offset, first.file_size
            info.compress_size, info.CRC = first.compress_size, first.CRC
            archive.filelist.append(info)
    with pytest.raises(ModelError, match="overlap"):
        read_torch_file(path)


def test_old_formats_are_named(tmp_path: Path) -> None:
    bare = tmp_path / "bare.pt"
    bare.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(UnsupportedError, match=r"before version 1\.6"):
        read_torch_file(bare)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_torch_file(tmp_path / "none.pt")
    with pytest.raises(ModelError, match="not a regular file"):
        read_torch_file(tmp_path)
    for name, data in (("empty.pt", b""), ("text.pt", b"hello"), ("cut.pt", b"PK\x03\x04abc")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=name):
            read_torch_file(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(ModelError, match=r"no data\.pkl"):
        read_torch_file(tmp_path / "other.pt")


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = two_by_three(tmp_path, sized())
    data = path.read_bytes()
    path.write_bytes(data.replace(SIX.tobytes(), SIX[::-1].tobytes(), 1))
    with pytest.raises(ModelError, match="damaged"):
        read_torch_file(path)


def test_a_name_with_an_unknown_escape_is_damage(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_torch_file(pt.write(tmp_path / "escape.pt", b"c__main__\n\\(\n."))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_arbitrary_pickles_end_in_a_sentence(data: bytes, tmp_path: Path) -> None:
    path = pt.write(tmp_path / "fuzz.pt", data)
    with suppress(BitbybitError):
        read_torch_file(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_pickles_end_in_a_sentence(cuts: list[tuple[int, int]], tmp_path: Path) -> None:
    pickle = bytearray(sized())
    for at, byte in cuts:
        pickle[at % len(pickle)] = byte
    with suppress(BitbybitError):
        read_torch_file(two_by_three(tmp_path, bytes(pickle)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5))
def test_mutated_archives_end_in_a_sentence(changes: list[tuple[int, int]], tmp_path: Path) -> None:
    path = two_by_three(tmp_path, sized())
    data = bytearray(path.read_bytes())
    for at, byte in changes:
        data[at % len(data)] = byte
    path.write_bytes(bytes(data))
    with suppress(BitbybitError):
        read_torch_file(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 2_000))
def test_truncated_archives_end_in_a_sentence(length: int, tmp_path: Path) -> None:
    path = two_by_three(tmp_path, sized())
    path.write_bytes(path.read_bytes()[:length])
    with suppress(BitbybitError):
        read_torch_file(path)
