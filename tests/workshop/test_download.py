"""The download: whole, resumed, broken off, altered, hostile, and without a place to go."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bitbybit.errors import BitbybitError, DataError, EnvironmentProblem
from bitbybit.resnet8.cifar10 import FOLDER, load_split
from tests.support.fake_cifar10 import pack, write_dataset
from tests.support.file_server import FileServer, serve
from workshop.download import Archive, download, extract


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    batches = write_dataset(tmp_path_factory.mktemp("data"))
    return {f"{FOLDER}/{path.name}": path.read_bytes() for path in sorted(batches.iterdir())}


@pytest.fixture
def served(members: dict[str, bytes]) -> Iterator[tuple[FileServer, Archive]]:
    data, archive = pack(members, "")
    with serve(data) as server:
        yield server, replace(archive, url=server.url)


def test_the_official_archive_is_named_in_full() -> None:
    from workshop.download import CIFAR10

    assert CIFAR10.url.startswith("https://www.cs.toronto.edu/")
    assert (CIFAR10.size, len(CIFAR10.sha256)) == (170498071, 64)


def test_download_verifies_extracts_and_cleans_up(
    served: tuple[FileServer, Archive], members: dict[str, bytes], tmp_path: Path
) -> None:
    server, archive = served
    batches = download(tmp_path / "new" / "folder", archive)
    assert {f"{FOLDER}/{p.name}": p.read_bytes() for p in batches.iterdir()} == members
    assert [p.name for p in batches.parent.iterdir()] == [FOLDER]
    assert len(load_split("train", batches.parent)) == 100
    download(batches.parent, archive)
    assert server.asked == [""]  # nothing is fetched twice


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(
    served: tuple[FileServer, Archive], tmp_path: Path, *, ranges: bool
) -> None:
    server, archive = served
    server.stop_after = 1000
    with pytest.raises(DataError, match=r"did not complete.*Run the command again"):
        download(tmp_path, archive)
    assert [p.name for p in tmp_path.iterdir()] == ["file.tar.gz.partial"]
    server.stop_after, server.ranges = None, ranges
    assert download(tmp_path, archive).is_dir()
    assert server.asked == ["", "bytes=1000-"]


def test_an_unreachable_or_refusing_server(
    served: tuple[FileServer, Archive], tmp_path: Path
) -> None:
    server, archive = served
    server.status = 404
    with pytest.raises(DataError, match="404"):
        download(tmp_path, archive)
    with pytest.raises(DataError, match="did not complete"):
        download(tmp_path, replace(archive, url="http://127.0.0.1:9/file.tar.gz"))


def test_an_altered_archive_is_refused_and_removed(
    served: tuple[FileServer, Archive], tmp_path: Path
) -> None:
    server, archive = served
    server.data = server.data[:-1] + bytes([server.data[-1] ^ 1])
    with pytest.raises(DataError, match=r"not the official CIFAR-10 archive.*SHA-256"):
        download(tmp_path, archive)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_stops_is_cut_off(
    served: tuple[FileServer, Archive], tmp_path: Path
) -> None:
    server, archive = served
    server.data += bytes(1 << 22)
    with pytest.raises(DataError, match=f"{archive.size + 1} of {archive.size} bytes"):
        download(tmp_path, archive)


def test_a_truncated_archive_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    data, archive = pack(members, "http://127.0.0.1/file.tar.gz")
    path = tmp_path / "file.tar.gz"
    path.write_bytes(data[:-100])
    with pytest.raises(DataError, match=f"{archive.size - 100} bytes instead of {archive.size}"):
        extract(path, tmp_path, archive)
    with pytest.raises(DataError, match="No such file"):
        extract(tmp_path / "absent.tar.gz", tmp_path, archive)
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize("name", ["/etc/passwd", f"{FOLDER}/../test_batch", f"{FOLDER}/x/y"])
def test_only_the_wanted_members_leave_the_archive(
    members: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "file.tar.gz"
    data, archive = pack({name: b"evil"} | members, "")
    path.write_bytes(data)
    batches = extract(path, tmp_path / "data", archive)
    assert {f"{FOLDER}/{p.name}" for p in batches.iterdir()} == set(members)
    assert [p.name for p in (tmp_path / "data").iterdir()] == [FOLDER]


def test_links_and_missing_batches_are_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "file.tar.gz"
    short = dict(members)
    del short[f"{FOLDER}/test_batch"]
    with tarfile.open(path, "w:gz") as target:
        info = tarfile.TarInfo(f"{FOLDER}/test_batch")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target.addfile(info)
    _refuse(path, path.read_bytes(), tmp_path)
    _refuse(path, pack(short, "")[0], tmp_path)
    _refuse(path, b"no archive at all", tmp_path)


def _refuse(path: Path, data: bytes, folder: Path) -> None:
    import hashlib

    path.write_bytes(data)
    archive = Archive("", len(data), hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="not the official CIFAR-10 archive"):
        extract(path, folder / "data", archive)
    assert list((folder / "data").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(served: tuple[FileServer, Archive], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        download(tmp_path, served[1])
    tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be(
    served: tuple[FileServer, Archive], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BitbybitError, match="cannot be written"):
        download(tmp_path / "data", served[1])
    assert served[0].asked == []
