"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from bitbybit import files
from bitbybit.errors import DataError, EnvironmentProblem


def test_text_json_and_bytes_arrive(tmp_path: Path) -> None:
    files.atomic_write_text(tmp_path / "new" / "a.txt", "ä\n")
    files.atomic_write_bytes(tmp_path / "b.bin", b"\0\xff")
    files.atomic_write_json(tmp_path / "c.json", {"z": 1, "a": [1.5]})
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa4\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\0\xff"
    text = (tmp_path / "c.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["z", "a"]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.atomic_write_text(tmp_path / "a", "")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def fill_then_fail(path: Path) -> None:
    path.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(EnvironmentProblem, match=r"a\.txt: .*no space left.*make room"):
        files.atomic_write(target, fill_then_fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_passes_through(tmp_path: Path, error: type[BaseException]) -> None:
    def write(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(error):
        files.atomic_write(tmp_path / "a.txt", write)
    assert list(tmp_path.iterdir()) == []


def test_json_that_cannot_be_said_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.atomic_write_json(tmp_path / "a.json", [float("nan")])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        files.atomic_write_text(tmp_path / "file" / "a.txt", "x")


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EnvironmentProblem, match="not a regular file"):
        files.atomic_write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    real, link, chain = tmp_path / "real" / "a.txt", tmp_path / "link", tmp_path / "chain.txt"
    link.symlink_to("real/a.txt")  # leads to no file yet
    chain.symlink_to(link)
    for text in ("new", "newer"):
        files.atomic_write_text(chain, text)
        assert real.read_text() == text
    assert (link.readlink(), chain.readlink()) == (Path("real/a.txt"), link)
    assert [path.name for path in real.parent.iterdir()] == ["a.txt"]


def test_links_in_a_circle_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(EnvironmentProblem, match="too many levels of symbolic links"):
        files.atomic_write_text(tmp_path / "a", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system has no /proc")
def test_the_file_that_stdout_leads_to_is_not_replaced(tmp_path: Path) -> None:
    # /dev/stdout is such a link. It is not tried itself: a fault would replace it for everybody.
    opened = (tmp_path / "opened").open("w")
    with opened:
        link = tmp_path / "link"
        link.symlink_to(f"/proc/self/fd/{opened.fileno()}")
        for path in (link, Path(f"/proc/self/fd/{opened.fileno()}")):
            with pytest.raises(EnvironmentProblem, match="not a regular file"):
                files.atomic_write_text(path, "x")
        opened.write("still the same file")
    assert link.is_symlink()
    assert (tmp_path / "opened").read_text() == "still the same file"


def test_nothing_is_written_into_the_folder_of_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "_DEVICES", (tmp_path,))
    (tmp_path / "stdout").write_text("stands for a device")
    for name in ("stdout", "new"):
        with pytest.raises(EnvironmentProblem, match="not a regular file"):
            files.atomic_write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"]


@pytest.mark.parametrize("name", ["a" * 250 + ".html", "a" + "ü" * 125 + ".csv", "a." + "b" * 253])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    files.atomic_write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(EnvironmentProblem, match="name too long"):
        files.atomic_write_text(tmp_path / ("a" + name), "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_is_no_other_file_of_the_command(tmp_path: Path) -> None:
    model, link, new = (tmp_path / name for name in ("m.onnx", "link.onnx", "new.csv"))
    model.touch()
    link.symlink_to(model)
    files.require_apart([new, tmp_path / "other.csv"], [model, model])
    for outputs in ([model], [link], [new, tmp_path / "." / "new.csv"]):
        with pytest.raises(DataError, match="overwrite each other"):
            files.require_apart(outputs, [model])
