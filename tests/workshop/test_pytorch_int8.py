"""PyTorch's own quantizer: pinned, quiet, and free of this machine's paths."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bitbybit.errors import EnvironmentProblem, ModelError
from bitbybit.resnet8.examples import samples
from tests.support.resnet8_state import random_state
from workshop.evaluation import run_model
from workshop.export import float_model

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def archive() -> bytes:
    from workshop.pytorch_int8 import quantize, to_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every warning of the quantizer is silenced by name
        return to_bytes(quantize(random_state(), samples().images))


def test_it_runs_and_stays_close_to_float(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "int8.pt").write_bytes(archive)
    (tmp_path / "float.onnx").write_bytes(float_model(random_state()).SerializeToString())
    backend, logits = run_model(tmp_path / "int8.pt", samples().images)
    _, reference = run_model(tmp_path / "float.onnx", samples().images)
    assert backend == "pytorch"
    assert np.square(logits - reference).sum() < 0.05 * np.square(reference).sum()


def test_the_archive_names_no_file_of_this_machine(archive: bytes, tmp_path: Path) -> None:
    import torch

    (tmp_path / "int8.pt").write_bytes(archive)
    folder = str(Path(torch.__file__).parent).encode()
    with zipfile.ZipFile(tmp_path / "int8.pt") as opened:
        assert not [name for name in opened.namelist() if name.endswith(".debug_pkl")]
        assert not any(folder in opened.read(name) for name in opened.namelist())


def numbers(archive: bytes) -> dict[str, bytes]:
    """Return the storages; the code beside them counts the modules of its process."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {n: opened.read(n) for n in opened.namelist() if "/data/" in n}


def test_the_numbers_are_repeatable(archive: bytes) -> None:
    from workshop.pytorch_int8 import quantize, to_bytes

    assert numbers(to_bytes(quantize(random_state(), samples().images))) == numbers(archive)
    assert numbers(to_bytes(quantize(random_state(1), samples().images))) != numbers(archive)


def test_padding_is_quantized_without_a_second_rounding() -> None:
    from workshop.pytorch_int8 import quantize

    graph = str(quantize(random_state(), samples().images).graph)
    module = quantize(random_state(), samples().images)
    values = dict(module.named_buffers())
    assert "quantize_per_tensor" in graph
    for before, after in (("stack1", "stack2_pad"), ("stack2", "stack3_pad")):
        assert values[f"{before}_scale_0"] == values[f"{after}_scale_0"]


def test_another_version_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from workshop.pytorch_int8 import quantize

    monkeypatch.setattr(torch, "__version__", "2.0.1+cpu")
    with pytest.raises(EnvironmentProblem, match=r"expected 2\.13\.0, found 2\.0\.1"):
        quantize(random_state(), samples().images)


def test_a_damaged_archive(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "int8.pt"
    path.write_bytes(archive[: len(archive) // 2])
    with pytest.raises(ModelError):
        run_model(path, samples().images)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/constants.pkl", b"")
    with pytest.raises(ModelError, match="PyTorch cannot load this TorchScript archive"):
        run_model(path, samples().images)
