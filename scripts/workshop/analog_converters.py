"""What converters of few bits do to a network on analog row tiles, measured on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.engine import Trace, trace
from bitbybit.hardware import Converter, analog_codes, analog_trace, full_scale, tile_sums
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import describe_data, describe_file
from workshop.manifest import versions
from workshop.progress import progress

SCHEMA_VERSION = 1
ROWS = (64, 128, 256, 1152)
BITS = (4, 5, 6, 7, 8)
FULL_SCALE = ((128, 6), (128, 8), (128, 10))
ALONE_ROWS = 128
BATCH = 50

Counts = dict[str, Any]
Reaches = dict[str, int]
"""Layer name → the largest magnitude that its converters tell."""


def analog_record(
    file: Path, calibration: Split, test: Split, bundled: NDArray[np.uint8]
) -> dict[str, Any]:
    """Measure a network whose convolutions and dense layers run on analog tiles.

    Parameters
    ----------
    file
        An int8 network.
    calibration, test
        Training images, which choose the calibrated reaches, and the images that are counted.
    bundled : uint8, ``[N, 3, H, W]``
        The sample images: what the record says of them can be computed again without a dataset.

    Returns
    -------
    dict
        ``reaches``: by rows and layer, of the calibration images; ``exact``: correct images of
        the network itself; ``network``: for each kind of converter in all layers the correct
        images, those whose prediction is the network's own, and of the sample images the
        predictions and the codes of the last layer in hex; ``alone``: for each layer with
        converters in it alone, its codes, those that changed, and predictions that changed.
    """
    model = load(file)
    exact = predictions(model, test.images)
    reaches = {rows: calibrated(model, calibration.images, rows) for rows in ROWS}
    kinds = [(rows, bits, "calibrated") for rows in ROWS for bits in BITS]
    kinds += [(rows, bits, "full scale") for rows, bits in FULL_SCALE]
    network = []
    for rows, bits, reach in progress(kinds, "converters"):
        chosen = reaches[rows] if reach == "calibrated" else full_scales(model, rows)
        converters = {name: Converter(bits, size) for name, size in chosen.items()}
        run = partial(analog_trace, rows=rows, converters=converters)
        found = predictions(model, test.images, run)
        network.append(
            {
                "rows": rows,
                "bits": bits,
                "reach": reach,
                "correct": int((found == test.labels).sum()),
                "same": int((found == exact).sum()),
                "bundled": sample(model, run(model, bundled.astype(np.float32))),
            }
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_file(file),
        "versions": versions(),
        "calibration": describe_data(calibration, "train"),
        "data": describe_data(test, "test"),
        "reaches": {str(rows): found for rows, found in reaches.items()},
        "exact": int((exact == test.labels).sum()),
        "network": network,
        "alone": alone(model, test.images, reaches[ALONE_ROWS]),
    }


def weighted(model: QuantizedModel) -> list[str]:
    """Return the names of the layers that go on arrays."""
    return [layer.name for layer in model.layers if isinstance(layer, (Conv, Dense))]


def calibrated(model: QuantizedModel, images: NDArray[np.uint8], rows: int) -> Reaches:
    """Return the largest magnitude of a tile's sum that images reach, layer by layer."""
    found = dict.fromkeys(weighted(model), 0)
    for batch in batches(images):
        own = trace(model, batch)
        for name in found:
            layer = model.layer(name)
            sums = tile_sums(model, layer, own[layer.inputs[0]], rows)
            found[name] = max(found[name], int(np.abs(sums).max()))
    return found


def full_scales(model: QuantizedModel, rows: int) -> Reaches:
    """Return the largest magnitude that any input reaches, layer by layer."""
    return {name: full_scale(model, model.layer(name), rows) for name in weighted(model)}


def batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Yield images as the network takes them."""
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH].astype(np.float32)


def predictions(
    model: QuantizedModel, images: NDArray[np.uint8], run: Callable[..., Trace] = trace
) -> NDArray[np.int64]:
    """Return the class of each image; ``run`` computes a batch, by default exactly."""
    classes = [run(model, batch)[model.outputs[0]].argmax(axis=1) for batch in batches(images)]
    return np.concatenate(classes)


def sample(model: QuantizedModel, found: Trace) -> dict[str, Any]:
    """Return what the record says of the sample images."""
    return {
        "predictions": found[model.outputs[0]].argmax(axis=1).tolist(),
        "codes": found[weighted(model)[-1]].tobytes().hex(),
    }


def alone(model: QuantizedModel, images: NDArray[np.uint8], reaches: Reaches) -> list[Counts]:
    """Count what converters in one layer alone change: its codes, and predictions."""
    out, names = model.outputs[0], weighted(model)
    counts = {(name, bits): np.zeros(3, int) for name in names for bits in BITS}
    for batch in progress(list(batches(images)), "layers alone"):
        own = trace(model, batch)
        for (name, bits), count in counts.items():
            layer, converter = model.layer(name), Converter(bits, reaches[name])
            codes = analog_codes(model, layer, own[layer.inputs[0]], ALONE_ROWS, converter)
            after = trace(model, batch, replaced={name: codes})
            moved = after[out].argmax(axis=1) != own[out].argmax(axis=1)
            count += [codes.size, (codes != own[name]).sum(), moved.sum()]
    keys = ("codes", "changed", "predictions_changed")
    return [
        {"layer": name, "rows": ALONE_ROWS, "bits": bits}
        | dict(zip(keys, count.tolist(), strict=True))
        for (name, bits), count in counts.items()
    ]
