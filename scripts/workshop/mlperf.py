"""The official Keras weights of MLPerf Tiny's ResNet8, read from HDF5 without TensorFlow.

Source: mlcommons/tiny, ``training/image_classification/trained_models/pretrainedResnet.h5``.
Keras numbers its layers in graph order, and so do :func:`workshop.layers.convolutions`;
a kernel is ``[kH, kW, C, M]`` there and ``[M, C, kH, kW]`` here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError
from workshop.layers import convolutions, state_shapes

_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

_KERAS_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
"""For our shape ``[M, C, kH, kW]`` or ``[M, K]``: which of our axes Keras has first, second..."""


def keras_names() -> Iterator[tuple[str, str]]:
    """Yield (name in the state dict, path in the Keras file) of every tensor."""
    batch_norms = 0
    for index, conv in enumerate(convolutions()):
        yield f"{conv.name}.weight", _path("conv2d", index, "kernel")
        yield f"{conv.name}.bias", _path("conv2d", index, "bias")
        if conv.batch_norm:
            for ours, theirs in _BATCH_NORM.items():
                yield f"{conv.name}_bn.{ours}", _path("batch_normalization", batch_norms, theirs)
            batch_norms += 1
    yield "dense.weight", _path("dense", 0, "kernel")
    yield "dense.bias", _path("dense", 0, "bias")


def _path(kind: str, index: int, tensor: str) -> str:
    layer = f"{kind}_{index}" if index else kind
    return f"model_weights/{layer}/{layer}/{tensor}:0"


def read_keras(path: str | os.PathLike[str]) -> dict[str, NDArray[np.float32]]:
    """Read the Keras file into a state dict of ResNet8.

    Parameters
    ----------
    path
        ``pretrainedResnet.h5``, or another Keras file of the same model.

    Returns
    -------
    dict
        Name and value of each tensor, as :func:`workshop.export.float_model` takes it.

    Raises
    ------
    ModelError
        If the file is not HDF5, or a tensor is absent, kept outside the file, or has another
        shape or type.
    """
    import h5py

    shapes = state_shapes()
    try:
        with h5py.File(path, "r") as file:
            return {
                ours: _tensor(file, theirs, shapes[ours], path) for ours, theirs in keras_names()
            }
    except OSError as error:
        raise ModelError(
            "not a readable HDF5 file",
            where=os.fspath(path),
            expected="pretrainedResnet.h5",
            next_step="Copy it again from mlcommons/tiny.",
        ) from error


def _tensor(
    file: Any, name: str, shape: tuple[int, ...], path: str | os.PathLike[str]
) -> NDArray[np.float32]:
    """Return one tensor in our layout; where it lies and its size are checked before reading."""
    import h5py

    node: Any = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        node = node[part] if isinstance(link, h5py.HardLink) else None
    axes = _KERAS_AXES[len(shape)]
    expected = tuple(shape[axis] for axis in axes)
    inside = isinstance(node, h5py.Dataset) and not node.external and not node.is_virtual
    if not inside or node.shape != expected or node.dtype != np.float32:
        raise ModelError(
            "not the Keras weights of ResNet8",
            where=f"{os.fspath(path)}, {name}",
            expected=f"float32 {list(expected)}",
            found=f"{node.dtype} {list(node.shape)}" if inside else "none in this file",
            next_step="Name pretrainedResnet.h5 of mlcommons/tiny.",
        )
    values: NDArray[np.float32] = node[()]
    return np.ascontiguousarray(values.transpose(np.argsort(axes)))
