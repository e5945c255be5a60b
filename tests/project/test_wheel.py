"""The wheel holds the library, its type marker and the models, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel offline, with the build backend of the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index"),
            *("--wheel-dir", str(folder), str(root)),
        ],
        check=True,
    )
    (path,) = folder.glob("bitbybit-*-py3-none-any.whl")
    return path


def test_the_wheel_is_the_library_and_the_models(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "bitbybit/py.typed" in names
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in names - metadata} == {"bitbybit"}
    models = {
        path.relative_to(root).as_posix()
        for path in (root / "models").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert models == {name.removeprefix("bitbybit/") for name in names if "/models/" in name}


def test_the_installed_package_finds_its_parts(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = (
        "import bitbybit, bitbybit.cli, pathlib\n"
        f"assert pathlib.Path(bitbybit.__file__).is_relative_to({str(site)!r}), bitbybit.__file__\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, env={"PYTHONPATH": str(site)}
    )
