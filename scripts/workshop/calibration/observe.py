"""What a float network's activations look like: one pass over the calibration images.

The float file runs in ONNX Runtime with every activation as an output, image by image, so that
no result depends on how the images were cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bitbybit.errors import DataError
from bitbybit.execution.feed import Feed, batches
from bitbybit.execution.runtime import FloatNetwork
from bitbybit.model.types import Conv, Dense, Layer, QuantizedModel
from bitbybit.quantization.conversion import Weighted, weight_rows
from bitbybit.quantization.edges import CodeEdges
from workshop.calibration.histogram import Histogram

Batch = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(eq=False)
class Moments:
    """Sums over the vectors that a layer multiplies with its weights.

    Symbols: G groups, K products per output value, in the order of :func:`weight_rows`.

    Attributes
    ----------
    count : number of vectors
    total : float64 ``[G, K]``, their sum
    gram : float64 ``[G, K, K]``, the sum of their outer products; ``[G, 0, 0]`` if not wanted
    """

    count: int
    total: NDArray[np.float64]
    gram: NDArray[np.float64]

    @classmethod
    def empty(cls, layer: Weighted, *, gram: bool) -> Moments:
        """Return the sums over no vectors."""
        groups, _, products = weight_rows(layer).shape
        size = products if gram else 0
        return cls(0, np.zeros((groups, products)), np.zeros((groups, size, size)))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add vectors ``[G, P, K]``."""
        self.count += vectors.shape[1]
        self.total += vectors.sum(axis=1, dtype=np.float64)
        if self.gram.size:
            self.gram += np.matmul(vectors.transpose(0, 2, 1), vectors)


@dataclass(eq=False)
class Observations:
    """What one pass saw.

    Attributes
    ----------
    images : how many
    histograms : by canonical edge name
    moments : by name of a convolution or dense layer
    whole : graph inputs whose values were all integers
    """

    images: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)


def observe(
    model: QuantizedModel, images: Iterable[Batch], plan: CodeEdges, *, gram: bool
) -> Observations:
    """Run a float network on calibration images and gather histograms and moments.

    Parameters
    ----------
    model
        A float network, as :func:`bitbybit.load` returns it.
    images
        Batches: graph inputs ``[N, ...]``, or mappings from input names to them.
    plan
        Whose ranges matter.
    gram
        Whether to gather second moments, ``K*K`` float64 per group of each layer.

    Raises
    ------
    DataError
        No image; wrong names, shapes or dtypes; an activation that is not a finite number.
    UnsupportedError
        ONNX Runtime cannot run the model.
    """
    weighted = [layer for layer in model.layers if isinstance(layer, Conv | Dense)]
    origins = list(dict.fromkeys(plan.origin.values()))
    run = FloatNetwork(model, dict.fromkeys([*origins, *(layer.inputs[0] for layer in weighted)]))
    seen = Observations(whole=set(model.inputs))
    seen.histograms = {name: Histogram() for name in origins}
    seen.moments = {layer.name: Moments.empty(layer, gram=gram) for layer in weighted}
    for part in parts(model, images):
        values = run(part)
        seen.images += len(next(iter(part.values())))
        for name in origins:
            _count(seen.histograms[name], values[name], name)
        seen.whole -= {name for name in seen.whole if not _is_whole(part[name])}
        for layer in weighted:
            seen.moments[layer.name].add(input_vectors(layer, values[layer.inputs[0]]))
    if not seen.images:
        raise DataError(
            "there is no calibration image",
            where=model.path.name,
            next_step="Give at least one batch of inputs.",
        )
    return seen


def parts(model: QuantizedModel, images: Iterable[Batch]) -> Iterator[Feed]:
    """Yield the images one by one; a file that fixes N gets N at a time."""
    for batch in images:
        yield from batches(model, batch, 1)


def _count(histogram: Histogram, values: NDArray[Any], name: str) -> None:
    try:
        histogram.add(values)
    except DataError as error:
        raise DataError(
            error.what,
            where=name,
            found=error.found,
            next_step=error.next_step,
        ) from None


def _is_whole(values: NDArray[Any]) -> bool:
    return bool((values == np.rint(values)).all())


def input_vectors(layer: Layer, x: NDArray[Any]) -> NDArray[np.float32]:
    """Return the vectors ``[G, P, K]`` whose products with the weights are a layer's outputs.

    Parameters
    ----------
    layer
        A convolution or dense layer.
    x
        Its input, float32: ``[N, C, H, W]``, or ``[N, K]`` for a dense layer.
    """
    if not isinstance(layer, Conv):
        return np.asarray(x, np.float32).reshape(1, -1, x.shape[-1])
    top, left, bottom, right = layer.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (dh, dw), (sh, sw) = layer.dilations, layer.strides
    kernel = layer.weight.values.shape[2:]
    reach = ((kernel[0] - 1) * dh + 1, (kernel[1] - 1) * dw + 1)
    windows = sliding_window_view(padded, reach, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    n, c, h, w, kh, kw = windows.shape
    groups = windows.reshape(n, layer.group, c // layer.group, h, w, kh, kw)
    ordered = groups.transpose(1, 0, 3, 4, 2, 5, 6)
    return ordered.reshape(layer.group, n * h * w, -1).astype(np.float32, copy=False)
