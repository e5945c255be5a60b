"""The official Keras weights: read whole, refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bitbybit.errors import ModelError
from bitbybit.resnet8.cifar10 import load_split
from tests.support.resnet8_state import random_state
from workshop.evaluation import accuracy, run_model
from workshop.export import float_model
from workshop.mlperf import keras_names, read_keras

KERNEL = "model_weights/conv2d_1/conv2d_1/kernel:0"


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    """A Keras file of the same model with random weights."""
    path, state = tmp_path / "weights.h5", random_state()
    with h5py.File(path, "w") as file:
        for ours, theirs in keras_names():
            value = state[ours]
            axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim]
            file[theirs] = value.transpose(axes)
    return path


def test_every_tensor_comes_back_in_our_layout(keras_file: Path) -> None:
    expected = {k: v for k, v in random_state().items() if not k.endswith("tracked")}
    found = read_keras(keras_file)
    assert list(found) == list(expected)
    assert all((found[name] == expected[name]).all() for name in expected)


def test_keras_numbers_its_layers_in_graph_order() -> None:
    names = dict(keras_names())
    assert names["stem.weight"] == "model_weights/conv2d/conv2d/kernel:0"
    assert names["stack2.shortcut.weight"] == "model_weights/conv2d_5/conv2d_5/kernel:0"
    last = "model_weights/batch_normalization_6/batch_normalization_6/moving_variance:0"
    assert names["stack3.conv2_bn.running_var"] == last


def replace_kernel(path: Path, kind: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        if kind == "shape":
            file[KERNEL] = np.zeros((3, 3, 16, 32), np.float32)
        elif kind == "type":
            file[KERNEL] = np.zeros((3, 3, 16, 16), np.float64)
        elif kind == "link":
            file[KERNEL] = h5py.ExternalLink("/etc/other.h5", "/kernel")
        elif kind == "external storage":
            size = 4 * 3 * 3 * 16 * 16
            external = [("/etc/hostname", 0, size)]
            shape = (3, 3, 16, 16)
            file.create_dataset(KERNEL, shape, np.float32, external=external)


@pytest.mark.parametrize("kind", ["absent", "shape", "type", "link", "external storage"])
def test_another_file_is_refused(keras_file: Path, kind: str) -> None:
    replace_kernel(keras_file, kind)
    with pytest.raises(ModelError, match=r"conv2d_1/kernel:0: not the Keras weights of ResNet8"):
        read_keras(keras_file)


def test_no_hdf5_at_all(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"not HDF5")
    for path in (tmp_path / "weights.h5", tmp_path / "absent.h5"):
        with pytest.raises(ModelError, match="not a readable HDF5 file"):
            read_keras(path)


@pytest.mark.mlperf
@pytest.mark.dataset
def test_the_official_weights_score_exactly_8719(
    mlperf: Path, dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mlperf.onnx"
    onnx_model = float_model(read_keras(mlperf / "pretrainedResnet.h5"))
    path.write_bytes(onnx_model.SerializeToString())
    test = load_split("test", dataset)
    _, logits = run_model(path, test.images)
    assert accuracy(logits, test.labels)["overall"]["correct"] == 8719
