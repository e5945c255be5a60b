"""The wheel holds what the library reads and nothing else, and works with what it declares."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bitbybit
from bitbybit.resnet8.examples import CHECKPOINT, EXAMPLES, RECORDS, example


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


def metadata_of(wheel: Path) -> tuple[list[Requirement], set[str], str]:
    """Return the requirements, the extras, and the long description."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode("utf-8"))
    requirements = [Requirement(text) for text in message.get_all("Requires-Dist", [])]
    return requirements, set(message.get_all("Provides-Extra", [])), str(message.get_payload())


def test_the_wheel_is_the_library_and_what_it_reads(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "bitbybit/py.typed" in names
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in names - metadata} == {"bitbybit"}
    goldens = {path.name for path in (root / "models" / "goldens").glob("*.json")}
    assert {name.removeprefix("bitbybit/models/") for name in names if "/models/" in name} == {
        CHECKPOINT,
        *EXAMPLES.values(),
        *(f"{record}.json" for record in RECORDS),
        *(f"goldens/{name}" for name in goldens),
    }


def test_the_extras_are_for_the_book_training_tests_litert_and_notebooks(wheel: Path) -> None:
    assert metadata_of(wheel)[1] == {"book", "train", "litert", "test", "lab"}


def test_the_description_needs_no_repository_beside_it(
    wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = metadata_of(wheel)[2]
    assert re.findall(r"\]\((?!https:)", text) == []
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, "package.md", "exec"), {})  # noqa: S102 (our own text)
    assert capsys.readouterr().out.startswith("int8 ")


def needed(requirements: list[Requirement], seen: set[str]) -> Iterator[str]:
    """Yield the names of the distributions that these requirements bring along."""
    for requirement in requirements:
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in seen:
            seen.add(requirement.name)
            yield requirement.name
            further = distribution(requirement.name).requires or []
            yield from needed([Requirement(text) for text in further], seen)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, what it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in needed(metadata_of(wheel)[0], set()):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [str(python), "-W", "error", *arguments],
        cwd=folder, env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_public_name_works_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    program = f"""
import pathlib, bitbybit
assert not pathlib.Path(bitbybit.__file__).is_relative_to({str(Path(bitbybit.__file__).parent)!r})
for name in bitbybit.__all__:
    getattr(bitbybit, name)
model = bitbybit.load(bitbybit.example("int8"))
trace = bitbybit.trace(model, bitbybit.samples().images.astype("float32"))
print(bitbybit.prove(model))
print(bitbybit.inspection.tensor_index(bitbybit.example("checkpoint")).format)
print(type(bitbybit.explore("int8")).__name__, len(bitbybit.manifest()["files"]))
"""
    proof, kind, explored = run(installed, "-c", program, folder=tmp_path).splitlines()
    assert proof.startswith("resnet8_int8.onnx: 17 layers equal the goldens; ")
    assert kind == "pytorch"
    assert explored


def test_both_commands_work_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(example("int8").read_bytes())
    command = ("-m", "bitbybit")
    run(installed, *command, "inspect", "m.onnx", "--html", "m.html", folder=tmp_path)
    assert (tmp_path / "m.html").read_text().endswith("</html>\n")
    words = (*command, "verify", "m.onnx", "--images", "2", "--quick")
    assert "EXACT: " in run(installed, *words, folder=tmp_path)
